"""Keeping within the budget: what may leave the log, how, and that nothing goes uncounted."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from teddy_edge.errors import LogFull, LogPoisoned
from teddy_edge.eventlog import Entry, EventLog, LostRange, Policy, next_chain, untold
from teddy_edge.eventlog.files import Files, SystemFiles
from teddy_edge.eventlog.segment import first_seq_of
from teddy_edge.eventlog.simulated_device import Loss
from teddy_edge.eventlog.simulated_files import FailAt, SimulatedFiles
from teddy_edge.eventlog.survey import Gap
from teddy_edge.settings import LogSettings

DIRECTORY = Path("/log")
SAFETY, CONSENT, COMMAND, STATE, ACTIVITY, DIAGNOSTICS = range(1, 7)
CLASSES = (ACTIVITY, CONSENT, DIAGNOSTICS, DIAGNOSTICS, COMMAND, ACTIVITY, SAFETY, ACTIVITY)
POLICY = Policy(
    removable=frozenset({ACTIVITY, DIAGNOSTICS}),
    bounded={COMMAND: 800, STATE: 800},
    droppable=(DIAGNOSTICS, ACTIVITY, STATE, COMMAND),
)
SETTINGS = LogSettings().model_copy(
    update={
        "segment_bytes_max": 2048,
        "allocation_bytes": 512,
        "budget_bytes": 1 << 20,
        "reserve_bytes": 8192,
    }
)
COUNT = 400
ALL = range(1, COUNT + 1)


def opened(files: Files, directory: Path = DIRECTORY, settings: LogSettings = SETTINGS) -> EventLog:
    return EventLog.open(directory, settings, files, essential=(SAFETY, CONSENT), policy=POLICY)


async def long_log(files: Files, directory: Path = DIRECTORY) -> EventLog:
    log = opened(files, directory)
    log.start()
    for first in range(1, COUNT + 1, 10):
        await log.append([Entry(class_of(seq), b"%d" % seq) for seq in range(first, first + 10)])
    return log


def class_of(seq: int) -> int:
    return CLASSES[seq % len(CLASSES)]


def seqs(log: EventLog) -> list[int]:
    """Every number that can be read; what is read is what was written, in an unbroken chain."""
    found = []
    for record in log.read(1, 10_000, 1 << 30):
        assert record.body == b"%d" % record.seq
        assert record.data_class == class_of(record.seq)
        if record.chain_before:
            expected = next_chain(record.chain_before, record.seq, record.data_class, record.body)
            assert record.chain == expected
        found.append(record.seq)
    return found


def of_class(*classes: int) -> set[int]:
    return {seq for seq in ALL if class_of(seq) in classes}


def reduce_all(log: EventLog, confirmed_seq: int) -> int:
    count = 0
    while log.retention.reduce(confirmed_seq):
        count += 1
    return count


async def fill(log: EventLog) -> LogFull:
    """Append activity until it is refused."""
    while True:
        try:
            await log.append([Entry(ACTIVITY, bytes(400))])
        except LogFull as error:
            return error


def segment_count(files: SimulatedFiles) -> int:
    return sum(first_seq_of(name) is not None for name in files.names(DIRECTORY))


async def test_of_a_confirmed_segment_what_the_next_start_needs_stays() -> None:
    files = SimulatedFiles()
    log = await long_log(files)
    assert reduce_all(log, COUNT) > 5
    kept = seqs(log)
    boundary = log.whole_from_seq
    assert kept == [s for s in ALL if s >= boundary or s in of_class(SAFETY, CONSENT, COMMAND)]
    assert boundary > COUNT // 2
    assert (log.report.missing_count, log.gaps(), log.first_seq) == (0, [], 1)
    await log.close()
    again = opened(files)
    assert seqs(again) == kept
    assert (again.report.complete, again.gaps(), again.whole_from_seq) == (True, [], boundary)
    await again.close()


async def test_nothing_is_removed_that_is_not_confirmed() -> None:
    log = await long_log(SimulatedFiles())
    for confirmed in (0, 10, 100, 333):
        reduce_all(log, confirmed)
        log.retention.trim(confirmed)
        assert set(seqs(log)) >= set(range(confirmed + 1, COUNT + 1))
    assert log.whole_from_seq <= 334
    await log.close()


async def test_the_chain_goes_on_where_records_were_removed() -> None:
    log = await long_log(SimulatedFiles())
    reduce_all(log, COUNT)
    records = log.read(1, 10_000, 1 << 30)
    assert all(record.chain_before for record in records)
    await log.close()


async def test_many_removed_segments_leave_few_files() -> None:
    files = SimulatedFiles()
    log = opened(files)
    log.start()
    for _ in range(300):
        await log.append([Entry(ACTIVITY, bytes(300))])
    reduce_all(log, 300)
    assert segment_count(files) == 2
    await log.close()


async def test_the_oldest_ends_of_commands_go_when_they_are_over_their_bound() -> None:
    log = await long_log(SimulatedFiles())
    reduce_all(log, COUNT)
    boundary = log.whole_from_seq
    while log.retention.trim(COUNT):
        pass
    kept = set(seqs(log))
    commands = {s for s in kept & of_class(COMMAND) if s < boundary}
    assert kept >= of_class(SAFETY, CONSENT)
    assert 0 < len(commands) * 43 <= 800
    removed = of_class(COMMAND) - kept
    assert max(removed) < min(commands)
    assert log.report.complete
    await log.close()


async def test_unconfirmed_records_go_class_by_class_and_are_counted_exactly() -> None:
    files = SimulatedFiles()
    log = await long_log(files)
    told: list[LostRange] = []
    while (lost := log.retention.plan(100)) is not None:
        before = len(seqs(log))
        assert log.retention.drop(lost)
        assert before - len(seqs(log)) == lost.count
        assert lost.first_seq > 100
        told.append(lost)
    order = [lost.data_class for lost in told]
    assert order == sorted(order, key=POLICY.droppable.index)
    assert set(order) == {DIAGNOSTICS, ACTIVITY, COMMAND}
    kept = seqs(log)
    assert set(kept) >= of_class(SAFETY, CONSENT) | set(range(1, 101))
    missing = sum(lost.count for lost in told)
    assert missing == COUNT - len(kept) == log.report.missing_count
    assert sum(gap.record_count for gap in log.gaps()) == missing
    assert untold(log.gaps(), told) == []
    await log.close()
    again = opened(files)
    assert seqs(again) == kept
    assert again.report.missing_count == missing
    assert untold(again.gaps(), told) == []
    assert again.report.damage == []
    await again.close()


async def test_a_drop_that_was_done_before_changes_nothing() -> None:
    files = SimulatedFiles()
    log = await long_log(files)
    lost = log.retention.plan(0)
    assert lost is not None
    assert log.retention.drop(lost)
    changes = len(files.journal)
    assert log.retention.drop(lost)
    assert len(files.journal) == changes
    await log.close()


async def test_what_is_lost_stays_lost_where_its_neighbours_are_removed() -> None:
    files = SimulatedFiles()
    log = await long_log(files)
    lost = log.retention.plan(0)
    assert lost is not None
    log.retention.drop(lost)
    reduce_all(log, COUNT)
    assert log.report.missing_count == lost.count
    assert untold(log.gaps(), [lost]) == []
    await log.close()
    again = opened(files)
    seqs(again)
    assert again.report.missing_count == lost.count
    assert untold(again.gaps(), [lost]) == []
    await again.close()


async def _retain_everything(log: EventLog) -> LostRange:
    reduce_all(log, 200)
    log.retention.trim(200)
    lost = log.retention.plan(200)
    assert lost is not None
    log.retention.drop(lost)
    reduce_all(log, COUNT)
    return lost


async def test_a_power_cut_at_any_point_leaves_what_must_stay() -> None:
    random = Random(3)
    files = SimulatedFiles()
    log = await long_log(files)
    begin = len(files.journal)
    lost = await _retain_everything(log)
    kept = set(seqs(log))
    await log.close()
    points = 0
    for at in range(begin, len(files.journal) + 1):
        for loss in (Loss(kept=0), *[Loss(kept=0.5)] * 5, Loss(kept=1)):
            again = opened(files.after_crash(at, loss, random))
            again.retention.drop(lost)
            found = seqs(again)
            assert set(found) >= kept
            assert again.report.missing_count in {0, lost.count}
            assert sum(g.record_count for g in again.gaps()) == again.report.missing_count
            assert again.report.quarantined == []
            await again.close()
            points += 1
    assert points > 200


async def test_a_card_that_refuses_poisons_and_loses_nothing_that_must_stay() -> None:
    number = 0
    while True:
        files = SimulatedFiles()
        log = await long_log(files)
        files.fault = fault = FailAt(
            number, errno.EIO, "create write sync rename remove sync_directory"
        )
        with contextlib.suppress(LogPoisoned):
            await _retain_everything(log)
        await log.close()
        again = opened(files.reopened())
        assert set(seqs(again)) >= of_class(SAFETY, CONSENT)
        assert again.last_seq == COUNT
        await again.close()
        if not fault.fired:
            break
        number += 1
    assert number > 30


@pytest.mark.parametrize("operation", ["open", "read"])
@pytest.mark.parametrize("first_seq", [1, 25, 60])
async def test_a_reader_in_the_middle_of_a_segment_that_is_removed_gets_what_stays(
    operation: str, first_seq: int
) -> None:
    files = SimulatedFiles()
    log = await long_log(files)
    log.read(first_seq, 1, 1)  # the reader knows the places in the segment now

    def remove_meanwhile(called: str, path: Path) -> None:
        if called == operation and first_seq_of(path.name):
            files.fault = lambda *_: None
            reduce_all(log, COUNT)

    files.fault = remove_meanwhile
    found = [record.seq for record in log.read(first_seq, 10_000, 1 << 30)]
    assert [s for s in seqs(log) if s >= first_seq] == found
    assert set(found) >= {s for s in of_class(SAFETY, CONSENT, COMMAND) if s >= first_seq}
    await log.close()


class FilesThatAreReadAtOnce(SimulatedFiles):
    """Let another thread read in the moment in which a segment gets its new content."""

    def __init__(self) -> None:
        super().__init__()
        self.read: Callable[[], None] = lambda: None
        self.readers: list[threading.Thread] = []

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        if first_seq_of(new.name) == 1:
            self.readers.append(threading.Thread(target=self.read))
            self.readers[-1].start()
            self.readers[-1].join(0.2)


async def test_a_reader_never_sees_new_content_through_the_old_index() -> None:
    files = FilesThatAreReadAtOnce()
    log = await long_log(files)
    first_seq = 36
    whole = log.read(first_seq, 10_000, 1 << 30)
    found: list[list[int]] = []
    files.read = lambda: found.append([r.seq for r in log.read(first_seq, 10_000, 1 << 30)])
    lost = log.retention.plan(0)
    assert lost is not None
    assert log.retention.drop(lost)
    for reader in files.readers:
        reader.join()
    staying = {r.seq for r in whole if r.data_class != DIAGNOSTICS}
    assert len(found) == 1
    assert staying <= set(found[0])
    await log.close()


async def test_readers_and_the_writer_go_on_meanwhile(tmp_path: Path) -> None:
    log = await long_log(SystemFiles(), tmp_path / "log")
    stopped = threading.Event()

    def read_on() -> int:
        rounds = 0
        while not stopped.is_set():
            found = seqs(log)
            protected = [s for s in range(1, found[-1]) if class_of(s) in (SAFETY, CONSENT)]
            assert [s for s in found if class_of(s) in (SAFETY, CONSENT)][: len(protected)] == (
                protected
            )
            rounds += 1
        return rounds

    reading = asyncio.create_task(asyncio.to_thread(read_on))
    for first in range(COUNT + 1, COUNT + 300, 10):
        await log.append([Entry(class_of(s), b"%d" % s) for s in range(first, first + 10)])
        await asyncio.to_thread(log.retention.reduce, first - 200)
        lost = await asyncio.to_thread(log.retention.plan, first - 200)
        if lost is not None:
            await asyncio.to_thread(log.retention.drop, lost)
    stopped.set()
    assert await reading > 0
    await log.close()


async def test_over_the_budget_only_protected_records_are_taken() -> None:
    settings = SETTINGS.model_copy(update={"budget_bytes": 20_000})
    log = opened(SimulatedFiles(), settings=settings)
    log.start()
    refused = await fill(log)
    last_seq = log.last_seq
    assert (refused.reserve_bytes, refused.budget_bytes) == (8192, 20_000)
    assert str(refused) == "the log in /log is over its budget of 20000 bytes"
    for data_class in (SAFETY, CONSENT):
        assert await log.append([Entry(data_class, b"must be known")]) == log.last_seq
    assert await log.append([Entry(ACTIVITY, b"why"), Entry(SAFETY, b"what")]) == last_seq + 4
    with pytest.raises(LogFull):
        log.append([Entry(ACTIVITY, bytes(400))])
    assert log.retention.shortage_bytes() > 0
    reduce_all(log, log.last_seq)
    log.measure_room()
    assert await log.append([Entry(ACTIVITY, b"again")]) == last_seq + 5
    await log.close()


async def test_on_a_full_card_safety_is_recorded_and_all_goes_on_when_there_is_room_again() -> None:
    files = SimulatedFiles()
    files.capacity_bytes = 40_000
    log = opened(files)
    log.start()
    await fill(log)
    for _ in range(10):
        await log.append([Entry(SAFETY, b"must be known")])
    last_seq = log.last_seq
    files.capacity_bytes = 80_000
    log.measure_room()
    assert await log.append([Entry(ACTIVITY, b"again")]) == last_seq + 1
    await log.close()
    again = opened(files)
    assert len(again.read(1, 1000, 1 << 30)) == last_seq + 1
    await again.close()


async def test_a_card_without_any_room_refuses_to_rewrite_and_nothing_breaks() -> None:
    files = SimulatedFiles()
    log = await long_log(files)
    lost = log.retention.plan(200)
    assert lost is not None
    files.capacity_bytes = 0
    assert not log.retention.reduce(200)
    assert not log.retention.drop(lost)
    assert seqs(log) == list(ALL)
    assert not [name for name in files.names(DIRECTORY) if name.endswith(".new")]
    files.capacity_bytes = 1 << 30
    assert log.retention.reduce(200)
    assert log.retention.drop(lost)
    await log.close()


def test_what_is_untold_sums_up_with_what_was_told() -> None:
    gaps = [Gap(1, 4), Gap(8, 8), Gap(10, 20)]
    assert untold(gaps, []) == [LostRange(1, 4, 4), LostRange(8, 8, 1), LostRange(10, 20, 11)]
    assert untold(gaps, [LostRange(1, 4, 4), LostRange(8, 20, 12, 6)]) == []
    assert untold(gaps, [LostRange(8, 20, 11, 6)]) == [LostRange(1, 4, 4), LostRange(8, 20, 1)]
    assert untold(gaps, [LostRange(3, 9, 3, 6)]) == [LostRange(1, 2, 2), LostRange(10, 20, 11)]
    assert untold(gaps, [LostRange(1, 20, 10, 6), LostRange(8, 12, 4, 5)]) == [LostRange(1, 20, 2)]
