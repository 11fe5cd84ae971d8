"""However long a command was under way, and whatever the bear knows of the time: it ends, once."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from teddy_edge.clock import NS_PER_S, Trust
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from teddy_edge.messages import CommandEnvelope, Origin
from teddy_edge.testing import FakeClock
from tests.commands.box import EMMA, Box
from tests.commands.test_horizon import YEARS_50_S, open_small_box

DAY_S = 24 * 3600.0
OFFLINE_S = (0.0, 1.0, 60.0, 3600.0, DAY_S, 7 * DAY_S, 30 * DAY_S)
LIVES_S = (None, 0.5, 10.0, DAY_S, 8 * DAY_S, 60 * DAY_S)
INTERRUPTIONS = (None, "daemon", "boot")
OUTAGE_S = 3600.0
NAMES = ("report_safety_violation", "deactivate_child")


class Case(NamedTuple):
    """A command issued while the bear was away."""

    name: str
    offline_s: float
    """How long the broker held it."""
    life_s: float | None
    """From its issue to its deadline."""
    trust: Trust
    """What the bear knows of the time when it is back."""
    interruption: str | None
    """What cut off the first delivery; an hour later it comes again."""

    def expected(self) -> str:
        is_known = self.trust is Trust.SYNCED
        is_known |= self.trust is Trust.SET and self.interruption != "boot"
        if self.life_s is None:
            return "done"
        if not is_known:
            return "rejected" if self.name == "deactivate_child" else "done"
        under_way_s = self.offline_s + (OUTAGE_S if self.interruption else 0)
        return "expired" if under_way_s > self.life_s else "done"


class Bear:
    """One bear's card and clock; each box is a run of its daemon."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.files = SimulatedFiles()
        self.clock = FakeClock()

    async def prepare(self) -> CommandEnvelope:
        """Make the command, and let the time go by that it is under way."""
        async with open_small_box(self.files, self.clock) as box:
            child = (await box.send(box.envelope(data=EMMA))).data
            data = child | {"violation_type": "stranger", "severity": "low"}
            data = data if self.case.name == "report_safety_violation" else child
            envelope = box.envelope(self.case.name, data, expires_in_s=self.case.life_s)
        self.clock.advance(self.case.offline_s)
        if self.case.trust is not Trust.SYNCED:
            right = datetime.fromtimestamp(self.clock.wall_ns() / NS_PER_S, UTC)
            self.boot()
        if self.case.trust is Trust.SET:
            async with open_small_box(self.files, self.clock) as box:
                set_clock = box.envelope("set_clock", {"now": right.isoformat()})
                assert (await box.send(set_clock, Origin.SOCKET)).success
        return envelope

    def boot(self) -> None:
        self.clock.reboot()
        if self.case.trust is not Trust.SYNCED:
            self.clock.step_wall(-YEARS_50_S, Trust.UNSYNCED)

    async def cut_off(self, envelope: CommandEnvelope) -> None:
        """Deliver it while the card is busy, and end before it is done."""
        async with open_small_box(self.files, self.clock) as box:
            box.log.wait_for_room = asyncio.Event().wait  # type: ignore[method-assign, assignment]
            delivery = asyncio.create_task(box.send(envelope))
            await asyncio.sleep(0)
            delivery.cancel()
            with suppress(asyncio.CancelledError):
                await delivery
        if self.case.interruption == "boot":
            self.boot()
        self.clock.advance(OUTAGE_S)

    def ends(self, box: Box, envelope: CommandEnvelope) -> list[str]:
        """The types of all that the log holds of the command."""
        found = [each.type for each in box.records() if each.cause.command_id == envelope.id]
        return sorted(found)


@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize("offline_s", OFFLINE_S)
async def test_every_command_ends_once_however_long_it_was_under_way(
    offline_s: float, trust: Trust
) -> None:
    for name, life_s, interruption in itertools.product(NAMES, LIVES_S, INTERRUPTIONS):
        case = Case(name, offline_s, life_s, trust, interruption)
        assert await live(Bear(case)) == case.expected(), case


async def live(bear: Bear) -> str:
    """Deliver the command, deliver it again, and again after a restart: one end, told each time."""
    envelope = await bear.prepare()
    if bear.case.interruption is not None:
        await bear.cut_off(envelope)
    async with open_small_box(bear.files, bear.clock) as box:
        first = await box.send(envelope)
        bear.clock.advance(90 * DAY_S)
        again = await box.send(envelope)
    bear.boot()
    async with open_small_box(bear.files, bear.clock) as box:
        late = await box.send(envelope)
        of_event = {"deactivate_child": "child_deactivated"}.get(
            bear.case.name, "safety_violation_reported"
        )
        is_done = first.status == "done"
        assert bear.ends(box, envelope) == (
            sorted([of_event, "command_done"]) if is_done else ["command_refused"]
        )
    assert not first.duplicate
    assert again == late == first.model_copy(update={"duplicate": True})
    return first.status


def test_the_deadlines_of_the_matrix_lie_on_both_sides_of_its_delays() -> None:
    cases = (Case(NAMES[0], away, life, Trust.SYNCED, None)
             for away, life in itertools.product(OFFLINE_S, LIVES_S))  # fmt: skip
    ends = [case.expected() for case in cases]
    assert min(ends.count("done"), ends.count("expired")) > 10
    assert timedelta(seconds=max(OFFLINE_S)) == timedelta(days=30)
