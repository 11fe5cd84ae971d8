"""A parent tells the time where no network does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from teddy_edge.clock import NS_PER_S, Trust
from teddy_edge.messages import Actor, CommandEnvelope, Origin, Result
from teddy_edge.testing import FakeClock
from tests.commands.box import PARENT, Box, open_box

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def lost_in_time() -> FakeClock:
    clock = FakeClock(wall_ns=0)
    clock.step_wall(0, Trust.UNSYNCED)
    return clock


async def set_clock(box: Box, now: object = NOW.isoformat(), actor: Actor = PARENT) -> Result:
    return await box.send(box.envelope("set_clock", {"now": now}, actor=actor), Origin.SOCKET)


def wall(box: Box) -> datetime:
    return datetime.fromtimestamp(box.clock.wall_ns() / NS_PER_S, UTC)


async def test_the_time_that_a_parent_tells_is_the_bears_until_the_next_boot(
    tmp_path: Path,
) -> None:
    clock = lost_in_time()
    async with open_box(tmp_path, clock=clock) as box:
        assert (await set_clock(box)).success
        clock.advance(60)
        clock.step_wall(-(10**9), Trust.UNSYNCED)  # the kernel's own has no say while it is lost
        assert (wall(box), clock.trust()) == (NOW + timedelta(seconds=60), Trust.SET)
    fresh = lost_in_time()  # another process
    fresh.advance(3600)
    async with open_box(tmp_path, clock=fresh) as box:
        assert (wall(box), fresh.trust()) == (NOW + timedelta(seconds=3600), Trust.SET)
    fresh = lost_in_time()
    fresh.reboot()
    async with open_box(tmp_path, clock=fresh) as box:
        assert (fresh.wall_ns(), fresh.trust()) == (0, Trust.UNSYNCED)


async def test_the_time_counts_from_when_it_came_not_from_when_the_card_was_ready(
    tmp_path: Path,
) -> None:
    clock = lost_in_time()
    async with open_box(tmp_path, clock=clock) as box:
        envelope = box.envelope("set_clock", {"now": NOW.isoformat()})
        clock.advance(5)
        assert (await box.bus.execute(envelope, Origin.MQTT, 0)).success
        assert wall(box) == NOW + timedelta(seconds=5)


async def test_a_network_knows_better_than_a_parent(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        refused = await set_clock(box)
        assert refused.error is not None
        assert refused.error.code == "time_known"
    clock = lost_in_time()
    async with open_box(tmp_path / "lost", clock=clock) as box:
        assert (await set_clock(box)).success
        assert (await set_clock(box, (NOW + timedelta(hours=1)).isoformat())).success
        assert wall(box) == NOW + timedelta(hours=1)
        clock.step_wall(1_900_000_000, Trust.SYNCED)
        assert clock.wall_ns() == 1_900_000_000 * NS_PER_S


@pytest.mark.parametrize("role", ["support", "maker"])
async def test_nobody_else_sets_the_clock(tmp_path: Path, role: Any) -> None:
    async with open_box(tmp_path, clock=lost_in_time()) as box:
        refused = await set_clock(box, actor=Actor(id="somebody", role=role))
        assert refused.error is not None
        assert (refused.error.code, refused.error.field) == ("wrong_role", "actor.role")
        assert box.clock.trust() is Trust.UNSYNCED


@pytest.mark.parametrize(
    "now", [0, "today", "2026-11-23T10:00:00", "1970-01-01T00:00:00Z", "9999-01-01T00:00:00Z"]
)
async def test_what_cannot_be_the_time_is_refused(tmp_path: Path, now: object) -> None:
    async with open_box(tmp_path, clock=lost_in_time()) as box:
        refused = await set_clock(box, now)
        assert refused.error is not None
        assert (refused.error.code, refused.error.field) == ("invalid", "data.now")


def issued(box: Box, name: str, data: dict[str, Any] | None, at: datetime) -> CommandEnvelope:
    """As `fleet send` makes it: it has a day."""
    given = {"issued_at": at, "expires_at": at + timedelta(days=1)}
    return box.envelope(name, data).model_copy(update=given)


@pytest.mark.parametrize("wrong", [NOW - timedelta(days=2), NOW + timedelta(days=36 * 365)])
async def test_a_time_that_was_told_wrongly_keeps_nothing_out_that_corrects_it(
    tmp_path: Path, wrong: datetime
) -> None:
    """As by a command that a broker had kept for days, or by a wrong year."""
    async with open_box(tmp_path, clock=lost_in_time()) as box:
        await box.send(issued(box, "set_clock", {"now": wrong.isoformat()}, min(wrong, NOW)))
        assert box.clock.trust() is Trust.SET
        again = await box.send(issued(box, "set_clock", {"now": NOW.isoformat()}, NOW))
        assert again.success, again.error
        assert abs(box.clock.wall_ns() / 1e9 - NOW.timestamp()) < 1
        assert (await box.send(issued(box, "register_child", None, NOW))).success


async def test_an_older_time_lets_nothing_through_that_cannot_be_taken_back(
    tmp_path: Path,
) -> None:
    """A broker kept two commands for three days: the time, and what was in time only then."""
    async with open_box(tmp_path, clock=lost_in_time()) as box:
        child_id = (await box.send(issued(box, "register_child", None, NOW))).data["child_id"]
        now = NOW + timedelta(days=3)
        assert (await set_clock(box, now.isoformat())).success
        kept = issued(box, "set_clock", {"now": NOW.isoformat()}, NOW)
        assert (await box.send(kept)).success, "a time that was told wrongly can be corrected"
        late = issued(box, "deactivate_child", {"child_id": child_id, "reason": "x"}, NOW)
        assert (await box.send(late)).status == "expired"
        in_time = issued(box, "deactivate_child", {"child_id": child_id, "reason": "x"}, now)
        assert (await box.send(in_time)).success
