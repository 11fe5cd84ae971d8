"""A duplicate of any age has no second effect, and no sender's clock can deafen the bear."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from teddy_edge.clock import Trust
from teddy_edge.eventlog import EventLog
from teddy_edge.eventlog.files import Files
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from teddy_edge.log_keeper import ESSENTIAL, policy_of
from teddy_edge.messages import CommandEnvelope, Origin, Result
from teddy_edge.settings import CommandSettings, LogSettings
from teddy_edge.testing import FakeClock
from tests.commands.box import EMMA, Box, open_box

DIRECTORY = Path("/log")
REMEMBERED = 4
LIMITS = CommandSettings().model_copy(update={"finished_max": REMEMBERED})
SMALL = LogSettings().model_copy(
    update={"segment_bytes_max": 1024, "allocation_bytes": 512, "command_bytes_max": 1024}
)
"""Some four ends of commands to a segment, and one segment's worth of them kept."""
YEARS_50_S = 50 * 365 * 24 * 3600.0


@asynccontextmanager
async def open_small_box(files: Files, clock: FakeClock) -> AsyncIterator[Box]:
    """A box that forgets soon, on a log that is trimmed soon."""
    log = EventLog.open(DIRECTORY, SMALL, files, essential=ESSENTIAL, policy=policy_of(SMALL))
    log.start()
    box = Box(log, clock, LIMITS, allow_unsigned=True, keep_words=False)
    try:
        yield box
    finally:
        await log.close()


def trim(log: EventLog) -> None:
    """Let retention take what it may, all of it being confirmed."""
    while log.retention.reduce(log.last_seq):
        pass
    while log.retention.trim(log.last_seq):
        pass


async def register(box: Box) -> str:
    """The child that all reports are about."""
    return str((await box.send(box.envelope(data=EMMA))).data["child_id"])


def report(box: Box, child_id: str, ahead_s: float = 0.0) -> CommandEnvelope:
    """A command that has its effect again each time that it is executed."""
    data = {"child_id": child_id, "violation_type": "stranger", "severity": "low"}
    envelope = box.envelope("report_safety_violation", data)
    issued_at = envelope.issued_at + timedelta(seconds=ahead_s)
    return envelope.model_copy(update={"issued_at": issued_at})


async def forget_all(box: Box, child_id: str) -> None:
    """Do so many commands that no earlier one is remembered."""
    for _ in range(REMEMBERED):
        box.clock.advance(1)
        assert (await box.send(report(box, child_id))).success


def code(result: Result) -> str | None:
    return None if result.error is None else result.error.code


def effects(box: Box) -> Counter[Any]:
    """How often each command was executed; no report ever leaves the log."""
    reports = [r for r in box.records() if r.type == "safety_violation_reported"]
    return Counter(record.cause.command_id for record in reports)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("trust", [Trust.SYNCED, Trust.UNSYNCED])
async def test_a_duplicate_of_a_forgotten_command_expires(restart: bool, trust: Trust) -> None:
    files, clock = SimulatedFiles(), FakeClock()
    clock.step_wall(0, trust)
    async with open_small_box(files, clock) as box:
        child_id = await register(box)
        old = report(box, child_id)
        assert (await box.send(old)).success
        await forget_all(box, child_id)
        if not restart:
            late = await box.send(old)
    async with open_small_box(files, clock) as box:
        if restart:
            clock.reboot()
            late = await box.send(old)
        assert (late.status, code(late)) == ("expired", "forgotten")
        assert (await box.send(old)).error == late.error, "it is remembered again"
        assert effects(box)[old.id] == 1
        assert (await box.send(report(box, child_id))).success


async def test_a_duplicate_whose_end_retention_took_expires() -> None:
    files, clock = SimulatedFiles(), FakeClock()
    async with open_small_box(files, clock) as box:
        child_id = await register(box)
        old = []
        for _ in range(REMEMBERED):
            clock.advance(1)
            old.append(report(box, child_id))
            assert (await box.send(old[-1])).success
        for _ in range(40):  # so that a segment of presses ends after the last of the reports
            await box.send(box.envelope("press_button", {"button": "nose"}), Origin.BUTTON)
        trim(box.log)
    async with open_small_box(files, clock) as box:
        kept = {
            record.cause.command_id for record in box.records() if record.type == "command_done"
        }
        assert not kept & {envelope.id for envelope in old}, "else nothing is shown here"
        for envelope in old:
            assert code(await box.send(envelope)) == "forgotten"
        clock.advance(1)
        assert (await box.send(report(box, child_id))).success


async def test_what_comes_in_its_turn_is_never_taken_for_a_duplicate() -> None:
    clock = FakeClock()
    async with open_small_box(SimulatedFiles(), clock) as box:
        child_id = await register(box)
        for _ in range(5 * REMEMBERED):
            clock.advance(0.001)
            assert (await box.send(report(box, child_id))).success


async def test_what_the_bear_stamps_itself_neither_moves_the_horizon_nor_falls_behind_it() -> None:
    clock = FakeClock()
    async with open_small_box(SimulatedFiles(), clock) as box:
        child_id = await register(box)
        clock.step_wall(YEARS_50_S, Trust.UNSYNCED)
        for _ in range(2 * REMEMBERED):
            press = box.envelope("press_button", {"button": "left_paw"})
            assert (await box.send(press, Origin.BUTTON)).success
        clock.step_wall(-2 * YEARS_50_S, Trust.UNSYNCED)
        for origin in (Origin.SOCKET, Origin.LIBRARY):
            assert (await box.send(report(box, child_id), origin)).success
        clock.step_wall(YEARS_50_S, Trust.SYNCED)
        clock.advance(1)
        assert (await box.send(report(box, child_id))).success


@pytest.mark.parametrize(
    ("trust", "ahead_s_max"),
    [
        (Trust.SYNCED, LIMITS.skew_s_max),
        (Trust.SET, LIMITS.unsynced_skew_s_max),
        (Trust.UNSYNCED, LIMITS.unsynced_skew_s_max),
    ],
)
async def test_a_sender_whose_clock_is_ahead_is_refused_and_no_other(
    trust: Trust, ahead_s_max: int
) -> None:
    clock = FakeClock()
    async with open_small_box(SimulatedFiles(), clock) as box:
        child_id = await register(box)
        clock.step_wall(0, trust)
        ahead = await box.send(report(box, child_id, ahead_s_max + 1))
        assert (ahead.status, code(ahead)) == ("rejected", "issued_ahead")
        assert (await box.send(report(box, child_id))).success
        await forget_all(box, child_id)
        await forget_all(box, child_id)


async def test_while_the_time_is_not_known_the_senders_tell_it() -> None:
    clock = FakeClock(wall_ns=0)
    clock.step_wall(0, Trust.UNSYNCED)
    async with open_small_box(SimulatedFiles(), clock) as box:
        child_id = await register(box)
        assert (await box.send(report(box, child_id, YEARS_50_S))).status == "rejected"
    clock = FakeClock(wall_ns=0)
    clock.step_wall(0, Trust.UNSYNCED)
    async with open_small_box(SimulatedFiles(), clock) as box:
        first = box.envelope(data=EMMA)
        later = first.issued_at + timedelta(seconds=YEARS_50_S)
        result = await box.send(first.model_copy(update={"issued_at": later}))
        next_day = report(box, str(result.data["child_id"]), YEARS_50_S + 24 * 3600)
        assert (await box.send(next_day)).success


async def test_a_time_as_late_as_can_be_written_is_no_defect(tmp_path: Path) -> None:
    clock = FakeClock()
    clock.step_wall(0, Trust.UNSYNCED)
    async with open_box(tmp_path, clock=clock) as box:
        envelope = box.envelope(data=EMMA)
        last = envelope.issued_at.replace(year=9999)
        assert (await box.send(envelope.model_copy(update={"issued_at": last}))).success


STEPS = {
    "new": 40, "again": 25, "local": 3, "wait": 15, "restart": 6, "trim": 6, "trust": 4, "step": 1,
}  # fmt: skip
"""What happens, and how often in a hundred."""
SKEWS_S = (0.0,) * 8 + (-3600.0, -1.0, 200.0, 4e5, YEARS_50_S)
WAITS_S = (0.001, 60.0, 24 * 3600.0)


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_happens_a_command_has_one_effect_and_each_delivery_an_end(
    seed: int,
) -> None:
    random = Random(seed)
    steps = random.choices([*STEPS], [*STEPS.values()], k=250)
    files, clock, sent = SimulatedFiles(), FakeClock(), list[CommandEnvelope]()
    child_id = ""
    while steps:
        async with open_small_box(files, clock) as box:
            child_id = child_id or await register(box)
            while steps and (step := steps.pop()) != "restart":
                await take(step, random, box, child_id, sent)
            assert max(effects(box).values(), default=0) <= 1
        if random.random() < 0.5:
            clock.reboot()
    assert len(sent) > 50


async def take(
    step: str, random: Random, box: Box, child_id: str, sent: list[CommandEnvelope]
) -> None:
    clock = box.clock
    if step == "new":
        clock.advance(0.001)
        sent.append(report(box, child_id, random.choice(SKEWS_S)))
        await deliver(box, sent[-1])
    elif step == "again" and sent:
        await deliver(box, random.choice(sent))
    elif step == "local":
        await deliver(box, report(box, child_id), Origin.SOCKET)
    elif step == "wait":
        clock.advance(random.choice(WAITS_S))
    elif step == "step":
        clock.step_wall(random.choice((-YEARS_50_S, YEARS_50_S)), clock.trust())
    elif step == "trust":
        clock.step_wall(0, random.choice([*Trust]))
    elif step == "trim":
        trim(box.log)


async def deliver(box: Box, envelope: CommandEnvelope, origin: Origin = Origin.MQTT) -> None:
    """A delivery comes to an end that the log holds; right after that, the same end again."""
    first = await box.send(envelope, origin)
    assert first.status in {"done", "rejected", "expired"}
    assert first.seq > 0
    again = await box.send(envelope, origin)
    assert again == first.model_copy(update={"duplicate": True})
