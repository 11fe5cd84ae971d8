"""The cache: answers that are kept, answers that are dropped, and nobody else's answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from teddy_edge.messages import Actor, QueryEnvelope
from teddy_edge.queries import QueryCache
from teddy_edge.queries.cache import ENTRY_BYTES_MAX
from teddy_edge.testing import FakeClock
from tests.commands.box import PARENT
from tests.queries.asking import DEVICE, STRANGER, SUPPORT, open_asker

KEY_OF_A_PROCESS = """
from uuid import UUID
from teddy_edge.messages import Actor, QueryEnvelope
from teddy_edge.queries import QueryCache
from teddy_edge.testing import FakeClock
actor = Actor(id="parent-123", role="parent")
asked = QueryEnvelope(id=UUID(int=1), name="get_child_profile", actor=actor, data={"child_id": "c"})
print(QueryCache(FakeClock(), 10).key(asked).hex())
"""


def asked(data: dict[str, Any], actor: Actor = PARENT, name: str = "q") -> QueryEnvelope:
    return QueryEnvelope(id=uuid4(), name=name, actor=actor, data=data)


def test_a_kept_answer_is_given_until_its_time_is_over() -> None:
    clock = FakeClock()
    cache = QueryCache(clock, 10)
    cache.put(b"key", '{"a": 1}', ["row"], ttl_s=30)
    clock.advance(29.999)
    assert cache.get(b"key") == {"a": 1}
    clock.advance(0.001)
    assert cache.get(b"key") is None
    assert (cache.hits, cache.misses, cache.hit_rate(), len(cache)) == (1, 1, 0.5, 0)


def test_a_step_of_the_wall_clock_ages_no_answer() -> None:
    clock = FakeClock()
    cache = QueryCache(clock, 10)
    cache.put(b"key", "{}", ["row"], ttl_s=30)
    clock.step_wall(50 * 365 * 24 * 3600, clock.trust())
    assert cache.get(b"key") == {}


def test_at_the_limit_the_least_recently_used_answer_goes() -> None:
    cache = QueryCache(FakeClock(), 2)
    cache.put(b"old", "{}", ["row"], ttl_s=30)
    cache.put(b"new", "{}", ["row"], ttl_s=30)
    assert cache.get(b"old") is not None
    cache.put(b"newest", "{}", ["row"], ttl_s=30)
    assert cache.get(b"new") is None
    assert cache.get(b"old") is not None
    assert (len(cache), cache.evictions) == (2, 1)


def test_an_answer_that_is_too_long_is_not_kept() -> None:
    cache = QueryCache(FakeClock(), 10)
    cache.put(b"key", '{"a": "' + "x" * ENTRY_BYTES_MAX + '"}', ["row"], ttl_s=30)
    assert len(cache) == 0


def test_a_changed_row_drops_the_answers_made_of_it_and_no_others() -> None:
    cache = QueryCache(FakeClock(), 10)
    cache.put(b"one", "{}", ["shared", "first"], ttl_s=30)
    cache.put(b"two", "{}", ["shared", "second"], ttl_s=30)
    cache.put(b"three", "{}", ["third"], ttl_s=30)
    cache.invalidate(["first", "unknown"])
    assert [cache.get(key) for key in (b"one", b"two", b"three")] == [None, {}, {}]
    cache.invalidate(["shared"])
    assert [cache.get(key) for key in (b"one", b"two", b"three")] == [None, None, {}]


def test_nothing_is_remembered_of_the_rows_of_answers_that_are_gone() -> None:
    clock = FakeClock()
    cache = QueryCache(clock, 2)
    for number in range(100):
        cache.put(bytes([number]), "{}", [f"row-{number}"], ttl_s=30)
    clock.advance(31)
    assert [cache.get(bytes([number])) for number in range(100)] == [None] * 100
    assert cache._keys_of_row == {}


def test_keys_differ_by_who_asks_and_what() -> None:
    cache = QueryCache(FakeClock(), 10)
    keys = {
        cache.key(asked({"child_id": "c"})),
        cache.key(asked({"child_id": "d"})),
        cache.key(asked({"child_id": "c"}, name="p")),
        cache.key(asked({"child_id": "c"}, STRANGER)),
        cache.key(asked({"child_id": "c"}, Actor(id=PARENT.id, role="support"))),
        cache.key(asked({"child_id": "c", "limit": 1})),
    }
    assert len(keys) == 6
    assert cache.key(asked({"b": 1, "a": 2})) == cache.key(asked({"a": 2, "b": 1}))


def test_a_key_cannot_be_guessed_from_another_process() -> None:
    given = [
        subprocess.run(
            [sys.executable, "-c", KEY_OF_A_PROCESS], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    actor = Actor(id="parent-123", role="parent")
    envelope = QueryEnvelope(
        id=UUID(int=1), name="get_child_profile", actor=actor, data={"child_id": "c"}
    )
    here = QueryCache(FakeClock(), 10).key(envelope).hex() + "\n"
    assert len({*given, here}) == 3


async def test_the_second_answer_comes_from_the_cache_and_is_the_same(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        first, second = await asker.ask(), await asker.ask()
        assert first.data == second.data
        assert (asker.bus.cache.hits, asker.bus.cache.misses) == (1, 1)


async def test_what_an_asker_does_to_an_answer_shows_in_no_other(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.send(
            "update_child_profile",
            child_id=asker.child_id,
            changes={"preferences": {"interests": ["moon"]}},
        )
        for _ in range(3):
            profile = await asker.data("get_child_profile")
            assert profile["preferences"] == {"interests": ["moon"]}
            profile["preferences"]["interests"].append("forged")
        row = await asker.read_models.get(f"child/{asker.child_id}")
        assert row is not None
        assert row["preferences"] == {"interests": ["moon"]}


async def test_nobody_gets_the_answer_that_was_kept_for_somebody_else(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.data("get_child_profile")
        masked = await asker.data("get_child_profile", SUPPORT)
        assert masked["name"] != "Emma"
        assert await asker.refused("get_child_profile", STRANGER, child_id=asker.child_id) == (
            "unknown_child",
            "data.child_id",
        )
        assert (await asker.data("get_child_profile", DEVICE))["name"] == "Emma"


@pytest.mark.parametrize(
    "query", ["get_child_profile", "get_child_safety_report", "get_child_analytics"]
)
async def test_a_new_violation_is_in_the_very_next_answer_and_other_children_stay_cached(
    tmp_path: Path, query: str
) -> None:
    async with open_asker(tmp_path) as asker:
        other = await asker.register(name="Omar")
        before = await asker.data(query)
        await asker.data(query, child_id=other)
        await asker.violate("critical")
        after = await asker.data(query)
        assert (before["violation_count"], after["violation_count"]) == (0, 1)
        assert asker.bus.cache.hits == 0
        await asker.data(query, child_id=other)
        assert asker.bus.cache.hits == 1
        assert asker.bus.cache.hit_rate() == 0.25


async def test_a_new_child_is_in_the_very_next_list(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        for count in (1, 2, 3):
            listed = await asker.data("get_children_by_parent", parent_id=PARENT.id)
            found = await asker.data("search_children", search_term="")
            assert (len(listed["children"]), len(found["children"])) == (count, count)
            await asker.register()


async def test_a_rebuild_drops_the_answers_of_rows_that_were_tampered_with(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.read_models.include(asker.box.log.last_seq)
        await asker.read_models.write()
        key = f"child/{asker.child_id}"
        row = await asker.read_models.get(key)
        assert row is not None
        at = await asker.read_models._card.position()
        await asker.read_models._card.write({key: {**row, "name": "Forged"}}, at)
        assert (await asker.data("get_child_profile"))["name"] == "Forged"
        await asker.read_models.rebuild()
        assert (await asker.data("get_child_profile"))["name"] == "Emma"


async def test_each_family_of_answers_lives_as_long_as_the_settings_say(tmp_path: Path) -> None:
    async with open_asker(
        tmp_path,
        child_profile_ttl_s=10,
        parent_children_ttl_s=20,
        safety_report_ttl_s=30,
        analytics_ttl_s=40,
    ) as asker:
        queries = {
            "get_child_profile": 10,
            "get_children_by_parent": 20,
            "get_child_safety_report": 30,
            "get_child_analytics": 40,
        }
        for query in queries:
            await asker.data(query, **_of(query, asker.child_id))
        for age_s in (9, 19, 29, 39):
            asker.clock.advance(age_s - (0 if age_s == 9 else age_s - 10))
            asker.bus.cache.hits = 0
            for query, ttl_s in queries.items():
                if ttl_s == age_s + 1:
                    await asker.data(query, **_of(query, asker.child_id))
            assert asker.bus.cache.hits == 1


def _of(query: str, child_id: str) -> dict[str, str]:
    return {"parent_id": PARENT.id} if query == "get_children_by_parent" else {"child_id": child_id}
