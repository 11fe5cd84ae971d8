"""What parents are likely to ask first is answered before they ask."""

from __future__ import annotations

from pathlib import Path

from teddy_edge.queries.warm_up import likely_queries
from tests.commands.box import EMMA
from tests.queries.asking import Asker, open_asker


async def warmed(asker: Asker, children_max: int = 100) -> int:
    """Warm up; gives how many answers the cache took."""
    likely = await likely_queries(asker.read_models.get, asker.clock, children_max)
    return await asker.bus.warm_up(likely)


async def test_a_parents_first_questions_hit_the_cache(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.ask()
        asker.bus.cache.invalidate([f"child/{asker.child_id}"])
        hits, total = asker.bus.cache.hits, asker.bus.meter.total
        assert await warmed(asker) == 2
        assert (asker.bus.cache.hits, asker.bus.meter.total) == (hits, total)
        answer = await asker.ask()
        listed = await asker.ask("get_children_by_parent", {"parent_id": "parent-123"})
        assert asker.bus.cache.hits == hits + 2
        assert answer.data is not None
        assert listed.data is not None
        assert listed.data["children"] == [answer.data]


async def test_only_the_newest_active_children_are_warmed(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        box = asker.box
        for number in range(3):
            child = {**EMMA, "udid": f"u{number}", "parent_id": f"parent-{number}"}
            result = await box.send(box.envelope(data=child))
        await box.send(box.envelope("deactivate_child", {"child_id": result.data["child_id"]}))
        await asker.read_models.include(box.log.last_seq)
        assert await warmed(asker, children_max=2) == 2
        assert await warmed(asker, children_max=0) == 0


async def test_what_changed_since_the_warm_up_is_not_answered_from_it(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.ask()
        await warmed(asker)
        box = asker.box
        changes = {"child_id": asker.child_id, "changes": {"age": 8}}
        await box.send(box.envelope("update_child_profile", changes))
        answer = await asker.ask()
        assert answer.data is not None
        assert answer.data["age"] == 8
