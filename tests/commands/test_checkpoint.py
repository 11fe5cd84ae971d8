"""A start from a checkpoint knows what a start from the whole log knows, and reads little of it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from teddy_edge import __version__
from teddy_edge.commands import Checkpoint, WriteState
from teddy_edge.commands import checkpoint as checkpoints
from teddy_edge.commands.checkpoint import decoded, encoded
from teddy_edge.commands.ends import Finished, Sender
from teddy_edge.domain.bear import STREAM
from teddy_edge.eventlog import Entry, EventLog, StoredRecord
from teddy_edge.eventlog.simulated_device import Loss
from teddy_edge.eventlog.simulated_files import FailAt, SimulatedFiles
from teddy_edge.events import Cause, ClockSynced, RecordsLost, encode_event
from teddy_edge.log_keeper import ESSENTIAL, policy_of
from teddy_edge.messages import Origin, Result
from teddy_edge.settings import CommandSettings, LogSettings
from teddy_edge.testing import FakeClock
from tests.commands.box import EMMA, Box

DIRECTORY = Path("/log")
FILE = Path("/data/checkpoint")
LIMITS = CommandSettings().model_copy(update={"finished_max": 20, "checkpoint_records": 100})
SMALL = LogSettings().model_copy(
    update={"segment_bytes_max": 4096, "allocation_bytes": 512, "command_bytes_max": 1024}
)
ROOM_BYTES = 10_000


class Counting(WriteState):
    """Counts the records that it takes up."""

    taken = 0

    def take(self, stored: StoredRecord) -> None:
        super().take(stored)
        self.taken += 1


def new_state(clock: FakeClock | None = None, limits: CommandSettings = LIMITS) -> Counting:
    return Counting(clock or FakeClock(), limits)


def checkpoint(log: EventLog, files: SimulatedFiles) -> Checkpoint:
    return Checkpoint(FILE, log, new_state, limits=LIMITS, room_bytes=ROOM_BYTES, files=files)


def begun(log: EventLog, files: SimulatedFiles) -> Counting:
    state = checkpoint(log, files).begin()
    assert isinstance(state, Counting)
    return state


def replayed(log: EventLog) -> WriteState:
    """What all of the log makes."""
    state = new_state()
    while state.follow(log):
        pass
    return state


@asynccontextmanager
async def open_box(files: SimulatedFiles) -> AsyncIterator[Box]:
    log = EventLog.open(DIRECTORY, SMALL, files, essential=ESSENTIAL, policy=policy_of(SMALL))
    log.start()
    try:
        yield Box(log, FakeClock(), LIMITS, allow_unsigned=True, keep_words=False)
    finally:
        await log.close()


async def live(box: Box, random: Random, commands: int) -> list[Result]:
    """Do a bit of everything that decisions rest on; gives how it ended."""
    ends: list[Result] = []
    children, talks = [""], [""]
    for number in range(commands):
        box.clock.advance(1)
        child_id = random.choice(children)
        ends_or_starts = "deactivate_child" if number % 5 == 0 else "start_conversation"
        asked: list[tuple[str, dict[str, Any]]] = [
            ("register_child", {**EMMA, "udid": f"u{random.randrange(commands)}"}),
            ("start_conversation", {"child_id": child_id}),
            ("end_conversation", {"conversation_id": random.choice(talks)}),
            ("press_button", {"button": "left_paw"}),
            ("fly", {}),
            (ends_or_starts, {"child_id": child_id}),
        ]
        name, data = random.choice(asked)
        origin = Origin.BUTTON if name == "press_button" else Origin.MQTT
        ends.append(await box.send(box.envelope(name, data), origin))
        children += [ends[-1].data["child_id"]] if "child_id" in ends[-1].data else []
        talks += [ends[-1].data["conversation_id"]] if "conversation_id" in ends[-1].data else []
    synced = ClockSynced(str(box.clock.boot_id), 1, 2, "synced")
    await box.journal.note(synced)
    await box.journal.note(RecordsLost(1, 2, 2, "no room for activity", None, None))
    return ends


@pytest.mark.parametrize("seed", range(5))
async def test_what_a_checkpoint_and_the_rest_make_is_what_the_whole_log_makes(seed: int) -> None:
    files, random = SimulatedFiles(), Random(seed)
    async with open_box(files) as box:
        for _ in range(3):
            await live(box, random, 25)
            assert begun(box.log, files).state() == replayed(box.log).state()
            await checkpoint(box.log, files).advance()
            taken_up = begun(box.log, files)
            assert taken_up.state() == replayed(box.log).state()
            assert taken_up.taken == 0
        ends = await live(box, random, 10)
        begins = begun(box.log, files)
        assert 0 < begins.taken <= 40, "what stands in the checkpoint is not read again"
        assert begins.state() == replayed(box.log).state()
        newest = [end for end in ends if end.command_id is not None]
        assert begins.ends.newest(len(newest)) == newest


async def test_a_state_at_any_record_continues_to_the_same_end() -> None:
    files = SimulatedFiles()
    async with open_box(files) as box:
        await live(box, Random(1), 30)
        whole = replayed(box.log).state()
        passing = new_state()
        for stored in box.log.read(1, 1000, 1 << 20):
            passing.take(stored)
            continued = new_state()
            content = decoded(encoded(passing.state()))
            assert content is not None
            continued.restore(content)
            while continued.follow(box.log):
                pass
            assert continued.state() == whole


async def test_a_checkpoint_that_was_changed_is_not_believed() -> None:
    files = SimulatedFiles()
    async with open_box(files) as box:
        await live(box, Random(2), 10)
        await checkpoint(box.log, files).advance()
        whole, sound = replayed(box.log).state(), files.content(FILE)
        for damaged in (b"", bytes(4), sound[:-1], sound[:3], bytes(len(sound)), b"x" + sound[1:]):
            files.damage(FILE, damaged)
            state = begun(box.log, files)
            assert (state.taken, state.state()) == (box.log.last_seq, whole)
        for at in range(0, len(sound), 97):
            files.damage(FILE, sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
            assert begun(box.log, files).taken == box.log.last_seq


@pytest.mark.parametrize(
    ("at", "other"),
    [(0, [2, __version__, 20, 1]), (0, [1, "0.0.0", 20, 1]), (1, UUID(int=7).bytes)],
)
async def test_a_checkpoint_of_another_version_or_log_is_not_believed(
    at: int, other: object
) -> None:
    files = SimulatedFiles()
    async with open_box(files) as box:
        await live(box, Random(3), 10)
        await checkpoint(box.log, files).advance()
        content = decoded(files.content(FILE))
        assert content is not None
        content[at] = other
        files.damage(FILE, encoded(content))
        assert begun(box.log, files).taken == box.log.last_seq


async def test_a_log_that_lost_its_end_and_went_on_is_read_from_its_beginning() -> None:
    files = SimulatedFiles()
    async with open_box(files) as box:
        await live(box, Random(4), 10)
    shorter = files.copy()
    async with open_box(files) as box:
        await live(box, Random(5), 10)
        await checkpoint(box.log, files).advance()
        at = checkpoint(box.log, files)
        at.begin()
        assert at.seq == box.log.last_seq
    shorter.damage(FILE, files.content(FILE))
    async with open_box(shorter) as box:
        assert begun(box.log, shorter).taken == box.log.last_seq, "its record is not there"
        while box.log.last_seq <= at.seq:
            await live(box, Random(6), 10)
        assert begun(box.log, shorter).taken == box.log.last_seq, "its number was given again"


async def test_a_checkpoint_whose_record_retention_took_is_proven_by_the_next_one() -> None:
    files = SimulatedFiles()
    async with open_box(files) as box:
        for number in range(30):
            await box.send(box.envelope("press_button", {"button": f"b{number}"}), Origin.BUTTON)
        state = replayed(box.log)
        fill = encode_event(ClockSynced("", 0, 0, ""), STREAM, Cause(), box.clock)
        await box.log.append([Entry(5, fill)])
        await checkpoint(box.log, files).advance()
        while len(box.log.read(1, 1000, 1 << 20)) < 60:
            await box.log.append([Entry(3, fill)])
        while box.log.retention.reduce(box.log.last_seq):
            pass
        assert state.seq + 1 not in {s.seq for s in box.log.read(1, 1000, 1 << 20)}
        assert begun(box.log, files).taken == box.log.last_seq - state.seq - 1
        content = decoded(files.content(FILE))
        assert content is not None
        content[2][1] = bytes(16)
        files.damage(FILE, encoded(content))
        assert begun(box.log, files).taken == len(box.log.read(1, 1000, 1 << 20))


async def test_a_power_cut_while_it_is_written_leaves_one_that_can_be_used() -> None:
    files, random = SimulatedFiles(), Random(7)
    async with open_box(files) as box:
        await live(box, random, 10)
        await checkpoint(box.log, files).advance()
        await live(box, random, 10)
        begin_at = len(files.journal)
        await checkpoint(box.log, files).advance()
        changes = range(begin_at, len(files.journal) + 1)
        whole = replayed(box.log).state()
    for at in changes:
        for loss in (Loss(), Loss(kept=0.5, torn=0.3), Loss(kept=1.0)):
            found = files.after_crash(at, loss, random)
            async with open_box(found) as box:
                state = begun(box.log, found)
                assert state.taken < box.log.last_seq, "one of the two is there"
                assert state.state() == whole


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "sync_directory"])
async def test_a_card_that_refuses_the_checkpoint_costs_the_next_start_and_nothing_else(
    operation: str,
) -> None:
    files = SimulatedFiles()
    async with open_box(files) as box:
        await live(box, Random(8), 10)
        fault = FailAt(0, errno.EIO, operation)
        files.fault = fault
        await checkpoint(box.log, files).advance()
        assert fault.fired
        assert begun(box.log, files).state() == replayed(box.log).state()
        assert (await box.send(box.envelope())).success


async def test_a_nearly_full_card_keeps_its_room_for_the_log() -> None:
    files = SimulatedFiles()
    async with open_box(files) as box:
        await live(box, Random(9), 10)
        files.capacity_bytes = files.capacity_bytes - files.free_bytes(DIRECTORY) + ROOM_BYTES
        await checkpoint(box.log, files).advance()
        assert FILE.name not in files.names(FILE.parent)


async def test_it_is_written_again_once_the_log_has_grown_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "POLL_S", 0.001)
    files = SimulatedFiles()
    async with open_box(files) as box:
        at = checkpoint(box.log, files)
        running = asyncio.create_task(at.run())
        while box.log.last_seq < 95:
            await live(box, Random(box.log.last_seq), 1)
        await asyncio.sleep(0.05)
        assert at.seq == 0
        await live(box, Random(10), 20)
        async with asyncio.timeout(60):
            while at.seq < 100:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        running.cancel()


async def test_a_start_that_read_much_leaves_a_checkpoint_for_the_next_one() -> None:
    """Who switches the bear off soon does not make the next start as long."""
    files = SimulatedFiles()
    async with open_box(files) as box:
        while box.log.last_seq < 100:
            await live(box, Random(box.log.last_seq), 10)
        assert begun(box.log, files).taken == box.log.last_seq
        state = begun(box.log, files)
        assert (state.taken, state.state()) == (0, replayed(box.log).state())


async def test_a_checkpoint_that_cannot_be_written_is_tried_again_when_the_log_has_grown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To read the log each time that one looks would never end on a full card."""
    monkeypatch.setattr(checkpoints, "POLL_S", 0.001)
    made: list[Counting] = []

    def counted() -> Counting:
        made.append(new_state())
        return made[-1]

    files = SimulatedFiles()
    async with open_box(files) as box:
        while box.log.last_seq < 100:
            await live(box, Random(box.log.last_seq), 10)
        last_seq = box.log.last_seq
        files.fault = FailAt(0, errno.EIO, "create", onwards=True)
        at = Checkpoint(FILE, box.log, counted, limits=LIMITS, room_bytes=0, files=files)
        running = asyncio.create_task(at.run())
        await asyncio.sleep(0.2)
        running.cancel()
        assert sum(state.taken for state in made) <= last_seq


async def test_a_checkpoint_made_under_other_limits_is_not_believed() -> None:
    """What was forgotten under a lower one would stay forgotten under a higher one."""
    files = SimulatedFiles()
    async with open_box(files) as box:
        await live(box, Random(3), 40)
        await checkpoint(box.log, files).advance()
        more = LIMITS.model_copy(update={"finished_max": 1000})
        at = Checkpoint(
            FILE, box.log, lambda: new_state(limits=more), limits=more, room_bytes=0, files=files
        )
        state = at.begin()
        assert isinstance(state, Counting)
        assert state.taken == box.log.last_seq


async def test_one_end_is_kept_however_large_it_is() -> None:
    ends = new_state(limits=LIMITS.model_copy(update={"finished_bytes_max": 10})).ends
    result = Result(command_id=UUID(int=1), name="x", status="done", seq=1, data={"x": "y" * 100})
    ends.remember(Finished(result, Sender("x", "a", "parent")))
    assert ends.newest(1) == [result]


async def test_ends_that_are_over_the_limit_in_bytes_are_forgotten_behind_the_horizon() -> None:
    limits = LIMITS.model_copy(update={"finished_bytes_max": 1500})
    log = EventLog.open(DIRECTORY, SMALL, SimulatedFiles())
    log.start()
    box = Box(log, FakeClock(), limits, allow_unsigned=True, keep_words=False)
    first = box.envelope("fly", {"x": 1})
    register = box.envelope()
    assert (await box.send(register)).success
    for _ in range(15):
        await box.send(box.envelope("fly", {}))
    late = await box.send(register)
    assert late.error is not None
    assert late.error.code == "forgotten"
    assert len(box.state.ends.newest(100)) < 15
    assert (await box.send(first)).status == "rejected"
    await log.close()
