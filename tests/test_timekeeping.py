"""When the time becomes known it is recorded, once, and what was known stays known for the boot."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from teddy_edge.clock import NS_PER_S, KnownTime, SystemClock, Trust
from teddy_edge.errors import LogOverloaded
from teddy_edge.events import ClockSynced, Event
from teddy_edge.settings import ClockSettings
from teddy_edge.testing import FakeClock
from teddy_edge.timekeeping import TimeKeeper

YEARS_50_S = 50 * 365 * 24 * 3600


class Bear:
    """A time keeper and what it records."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.keeper = TimeKeeper(clock, ClockSettings(poll_s=0.001))
        self.noted: list[ClockSynced] = []
        self.has_noted = asyncio.Event()
        self.is_full = False

    async def note(self, event: Event) -> int:
        assert isinstance(event, ClockSynced)
        if self.is_full:
            raise LogOverloaded(0, 0)
        self.noted.append(event)
        self.has_noted.set()
        self.keeper.apply(event)
        return len(self.noted)

    async def look(self) -> int:
        await self.keeper.look(self.note)
        return len(self.noted)


@pytest.fixture
def bear() -> Bear:
    clock = FakeClock()
    clock.step_wall(-YEARS_50_S, Trust.UNSYNCED)
    return Bear(clock)


async def test_nothing_is_recorded_while_nobody_knows_the_time(bear: Bear) -> None:
    assert await bear.look() == 0


async def test_what_both_clocks_show_is_recorded_once_the_time_is_known(bear: Bear) -> None:
    bear.clock.advance(30)
    bear.clock.step_wall(YEARS_50_S, Trust.SYNCED)
    assert await bear.look() == 1
    clock = bear.clock
    assert bear.noted[0] == ClockSynced(
        str(clock.boot_id), 30 * NS_PER_S, clock.wall_ns(), "synced"
    )
    clock.advance(3600)
    assert await bear.look() == 1


@pytest.mark.parametrize("step_s", [2.0, -2.0, YEARS_50_S, -YEARS_50_S])
async def test_a_known_time_that_is_set_is_recorded_again(bear: Bear, step_s: float) -> None:
    bear.clock.step_wall(0, Trust.SYNCED)
    await bear.look()
    bear.clock.step_wall(0.5, Trust.SYNCED)
    assert await bear.look() == 1
    bear.clock.step_wall(step_s, Trust.SYNCED)
    assert await bear.look() == 2
    assert bear.noted[1].wall_ns == bear.clock.wall_ns()


async def test_a_parents_time_is_replaced_by_a_networks(bear: Bear) -> None:
    told = ClockSynced(str(bear.clock.boot_id), 0, 1_900_000_000 * NS_PER_S, "set")
    await bear.note(told)
    assert await bear.look() == 1
    bear.clock.step_wall(0, Trust.SYNCED)
    assert await bear.look() == 2
    assert bear.noted[1].trust == "synced"
    bear.clock.step_wall(77, Trust.UNSYNCED)
    assert bear.clock.trust() is Trust.SYNCED
    assert await bear.look() == 2


async def test_a_time_server_that_goes_away_takes_no_knowledge_with_it(bear: Bear) -> None:
    bear.clock.step_wall(YEARS_50_S, Trust.SYNCED)
    await bear.look()
    known_ns = bear.clock.wall_ns()
    bear.clock.step_wall(-YEARS_50_S, Trust.UNSYNCED)
    bear.clock.advance(9 * 3600)
    assert bear.clock.wall_ns() == known_ns + 9 * 3600 * NS_PER_S
    assert bear.clock.trust() is Trust.SYNCED
    assert await bear.look() == 1


async def test_after_a_restart_it_is_known_and_after_a_boot_it_is_not(bear: Bear) -> None:
    bear.clock.step_wall(YEARS_50_S, Trust.SYNCED)
    await bear.look()
    again = Bear(bear.clock)
    again.keeper.apply(bear.noted[0])
    assert await again.look() == 0
    bear.clock.reboot()
    bear.clock.step_wall(0, Trust.UNSYNCED)
    booted = Bear(bear.clock)
    booted.keeper.apply(bear.noted[0])
    assert bear.clock.trust() is Trust.UNSYNCED
    assert await booted.look() == 0


async def test_what_finds_no_room_is_recorded_later(bear: Bear) -> None:
    bear.clock.step_wall(0, Trust.SYNCED)
    bear.is_full = True
    assert await bear.look() == 0
    bear.is_full = False
    assert await bear.look() == 1


async def test_it_goes_on_looking(bear: Bear) -> None:
    running = asyncio.create_task(bear.keeper.run(bear.note))
    await asyncio.sleep(0)
    bear.clock.step_wall(0, Trust.SYNCED)
    async with asyncio.timeout(60):
        await bear.has_noted.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_the_machines_clock_is_asked_and_holds_what_it_is_told() -> None:
    clock = SystemClock()
    assert isinstance(clock.boot_id, uuid.UUID)
    kernels = clock.trust()
    assert kernels in {Trust.SYNCED, Trust.UNSYNCED}
    clock.hold(KnownTime(10**18, Trust.SET))
    if kernels is Trust.SYNCED:
        assert clock.trust() is Trust.SYNCED
    else:
        assert clock.trust() is Trust.SET
        before_ns = clock.monotonic_ns()
        assert before_ns <= clock.wall_ns() - 10**18 <= clock.monotonic_ns()
