"""Lists and searches: pages that stay put, and who finds whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from teddy_edge.messages import Actor
from tests.commands.box import PARENT
from tests.queries.asking import DEVICE, STRANGER, SUPPORT, Asker, open_asker


def names(data: dict[str, Any]) -> list[str]:
    return [child["name"] for child in data["children"]]


async def found(asker: Asker, actor: Actor = PARENT, **criteria: Any) -> list[str]:
    return names(await asker.data("search_children", actor, **{"search_term": "", **criteria}))


@pytest.mark.parametrize("query", ["get_children_by_parent", "search_children"])
async def test_pages_of_children_stay_put_while_children_are_added(
    tmp_path: Path, query: str
) -> None:
    async with open_asker(tmp_path) as asker:
        for number in range(1, 24):
            await asker.register(name=f"Child {number}")
        seen: list[str] = []
        cursor: str | None = "0"
        pages = 0
        while cursor is not None:
            page = await asker.data(query, parent_id=PARENT.id, limit=5, cursor=cursor)
            seen += names(page)
            cursor, pages = page["next_cursor"], pages + 1
            if pages < 4:
                await asker.register(name=f"Late {pages}")
                await asker.register(name="Somebody else's", parent_id=STRANGER.id)
        expected = ["Emma", *[f"Child {number}" for number in range(1, 24)]]
        assert seen == [*expected, "Late 1", "Late 2", "Late 3"]
        assert page["total"] == 27


async def test_pages_of_conversations_stay_put_while_conversations_are_added(
    tmp_path: Path,
) -> None:
    async with open_asker(tmp_path) as asker:
        talks = [await asker.talk() for _ in range(13)]
        seen: list[str] = []
        cursor = None
        while True:
            page = await asker.data(
                "get_conversations", child_id=asker.child_id, limit=4, cursor=cursor
            )
            seen += [talk["id"] for talk in page["conversations"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            await asker.talk()
        assert seen == talks[::-1]


async def test_a_cursor_beyond_the_end_gives_an_empty_page(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        for query in ("get_children_by_parent", "search_children"):
            page = await asker.data(query, parent_id=PARENT.id, cursor="999999999999")
            assert (page["children"], page["next_cursor"]) == ([], None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "data.limit"),
        ({"limit": 101}, "data.limit"),
        ({"cursor": "-1"}, "data.cursor"),
        ({"cursor": "x"}, "data.cursor"),
        ({"cursor": 5}, "data.cursor"),
        ({"age_min": -1}, "data.age_min"),
        ({"search_term": "x" * 65}, "data.search_term"),
        ({"order_by": "name"}, "data"),
    ],
)
async def test_a_wrong_field_of_a_search_is_named(
    tmp_path: Path, query: dict[str, Any], field: str
) -> None:
    async with open_asker(tmp_path) as asker:
        assert await asker.refused("search_children", **query) == ("invalid", field)


@pytest.mark.parametrize(
    ("name", "term"),
    [
        ("Emma", "em"),
        ("Emma", "MM"),
        ("Jörg Groß", "GROSS"),
        ("Zoë", "zoe\N{COMBINING DIAERESIS}"),
        ("Zoe\N{COMBINING DIAERESIS}", "ZOË"),
        ("Ἀχιλλεύς", "ΑΧΙΛΛΕΎΣ"[2:]),
        ("عمر", "عم"),
    ],
)
async def test_a_child_is_found_by_a_part_of_the_name_however_it_is_spelt(
    tmp_path: Path, name: str, term: str
) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.register(name=name, age=3)
        assert await found(asker, search_term=term, age_max=3) == [name]
        assert await found(asker, search_term=term + "?") == []


async def test_both_ends_of_an_age_range_belong_to_it(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        for age in (5, 6, 8, 9):
            await asker.register(name=f"Age {age}", age=age)
        assert await found(asker, age_min=6, age_max=8) == ["Emma", "Age 6", "Age 8"]
        assert await found(asker, age_min=8, age_max=6) == []


async def test_a_parent_searches_among_their_own_children_alone(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.register(name="Emil", parent_id=STRANGER.id)
        assert await found(asker, search_term="Em") == ["Emma"]
        assert await found(asker, STRANGER, search_term="Em") == ["Emil"]
        assert await found(asker, DEVICE, search_term="Em") == ["Emma", "Emil"]
        asked = {"search_term": "", "parent_id": PARENT.id}
        assert await asker.refused("search_children", STRANGER, **asked) == (
            "not_allowed",
            "data.parent_id",
        )
        assert await asker.refused("get_children_by_parent", STRANGER, parent_id=PARENT.id) == (
            "not_allowed",
            "data.parent_id",
        )


@pytest.mark.parametrize("role", ["guardian", "maker"])
@pytest.mark.parametrize(
    "query",
    [
        "get_child_profile",
        "get_child_safety_report",
        "get_child_analytics",
        "get_conversations",
        "get_children_by_parent",
        "search_children",
    ],
)
async def test_who_has_no_right_gets_nothing(tmp_path: Path, query: str, role: Any) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.violate("high")
        key = "parent_id" if "children" in query else "child_id"
        data = {key: PARENT.id if key == "parent_id" else asker.child_id}
        await asker.data(query, **data)
        for actor in (Actor(id=PARENT.id, role=role), STRANGER):
            code, _ = await asker.refused(query, actor, **data)
            assert code == ("not_allowed" if key == "parent_id" else "unknown_child")


async def test_support_sees_that_there_are_children_and_not_who_they_are(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.send(
            "update_child_profile",
            child_id=asker.child_id,
            changes={"preferences": {"interests": ["secret treehouse"]}},
        )
        await asker.talk()
        await asker.violate("high")
        shown = [
            await asker.data("get_child_profile", SUPPORT),
            await asker.data("get_children_by_parent", SUPPORT, parent_id=PARENT.id),
            await asker.data("search_children", SUPPORT, search_term=""),
            await asker.data("get_conversations", SUPPORT, child_id=asker.child_id),
            await asker.data("get_child_safety_report", SUPPORT),
            await asker.data("get_child_analytics", SUPPORT),
        ]
        assert shown[0]["age"] == 7
        assert shown[3]["total"] == 1
        for secret in ("Emma", "treehouse", "device-456", "unique-device", "parent-123",
                       "about the moon", "where do you live"):  # fmt: skip
            assert secret not in str(shown)
        assert await found(asker, SUPPORT, search_term="Emma") == []


async def test_an_expensive_question_is_limited_for_each_asker_with_a_clear_wait(
    tmp_path: Path,
) -> None:
    async with open_asker(tmp_path, expensive_per_minute=4) as asker:
        data = {"search_term": ""}
        for limit in range(1, 5):
            await asker.data("search_children", **data, limit=limit)
        answer = await asker.ask("search_children", {**data, "limit": 5})
        assert answer.error is not None
        assert (answer.error.code, answer.error.message) == ("rate_limited", "ask again in 15 s")
        await asker.data("search_children", **data, limit=4)  # from the cache
        await asker.data("get_child_profile")  # not expensive
        await asker.data("search_children", DEVICE, **data, limit=5)  # somebody else
        asker.clock.advance(14)
        answer = await asker.ask("search_children", {**data, "limit": 5})
        assert answer.error is not None
        assert answer.error.message == "ask again in 1 s"
        asker.clock.advance(1)
        await asker.data("search_children", **data, limit=5)


async def test_an_answer_never_claims_an_event_that_came_while_it_was_made(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        get, read_at = asker.read_models.get, []

        async def get_and_be_overtaken(key: str) -> dict[str, Any] | None:
            row = await get(key)
            read_at.append(asker.read_models.position)
            await asker.violate("critical")
            await asker.read_models.include(asker.box.log.last_seq)
            return row

        asker.read_models.get = get_and_be_overtaken  # type: ignore[method-assign]
        answer = await asker.ask()
        asker.read_models.get = get  # type: ignore[method-assign]
        assert answer.data is not None
        assert (answer.data["violation_count"], answer.seq) == (0, read_at[0])
        assert len(asker.bus.cache) == 0
        assert (await asker.data("get_child_profile"))["violation_count"] == 1
