"""Keeping within the budget: confirmed first, then what may be dropped, and nothing uncounted."""

from __future__ import annotations

import asyncio
import errno
import threading
from pathlib import Path
from random import Random
from typing import Any

import pytest

from teddy_edge.errors import LogPoisoned
from teddy_edge.eventlog import Entry, EventLog, StoredRecord, next_chain
from teddy_edge.eventlog.files import Files, SystemFiles
from teddy_edge.eventlog.simulated_device import Loss
from teddy_edge.eventlog.simulated_files import FailAt, SimulatedFiles
from teddy_edge.settings import LogSettings

DIRECTORY = Path("/log")
SETTINGS = LogSettings(segment_bytes_max=2048, allocation_bytes=512, budget_bytes=8192)
SAFETY, ACTIVITY, DIAGNOSTICS = 1, 5, 6
CLASSES = (SAFETY, ACTIVITY, DIAGNOSTICS, DIAGNOSTICS)
COUNT = 400


async def long_log(files: Files, directory: Path = DIRECTORY) -> EventLog:
    log = EventLog.open(directory, SETTINGS, files)
    log.start()
    for first in range(1, COUNT + 1, 10):
        entries = [Entry(class_of(seq), b"%d" % seq) for seq in range(first, first + 10)]
        await log.append(entries)
    return log


def class_of(seq: int) -> int:
    return CLASSES[seq % len(CLASSES)]


def seqs(log: EventLog) -> list[int]:
    records = log.read(1, 10_000, 1 << 30)
    assert [record.body for record in records] == [b"%d" % record.seq for record in records]
    return [record.seq for record in records]


def record_fields(record: StoredRecord) -> tuple[int, int, bytes]:
    return record.seq, record.data_class, record.body


async def test_confirmed_segments_go_first_and_only_as_far_as_needed() -> None:
    files = SimulatedFiles()
    log = await long_log(files)
    retained = log.retain(COUNT)
    kept = seqs(log)
    assert kept == list(range(COUNT - len(kept) + 1, COUNT + 1))
    assert retained.removed_records == COUNT - len(kept) > 100
    assert 4096 < retained.bytes_after <= SETTINGS.budget_bytes
    assert (log.first_seq, log.report.complete) == (kept[0], True)
    await log.close()
    again = EventLog.open(DIRECTORY, SETTINGS, files)
    assert seqs(again) == kept
    assert again.report.complete
    assert again.report.gaps == []
    await again.close()


async def test_what_is_not_confirmed_stays_whatever_the_budget_says() -> None:
    log = await long_log(SimulatedFiles())
    retained = log.retain(0)
    assert seqs(log) == list(range(1, COUNT + 1))
    assert retained.removed_records == 0
    assert retained.bytes_after > SETTINGS.budget_bytes
    await log.close()


async def test_the_first_droppable_class_goes_before_the_second_and_is_counted() -> None:
    files = SimulatedFiles()
    log = await long_log(files)
    retained = log.retain(0, [DIAGNOSTICS, ACTIVITY])
    kept = seqs(log)
    lost = sorted(set(range(1, COUNT + 1)) - set(kept))
    assert {class_of(seq) for seq in lost} <= {DIAGNOSTICS, ACTIVITY}
    assert retained.dropped_records.total() == len(lost) == log.report.missing_count
    if retained.dropped_records[ACTIVITY]:
        assert {seq for seq in lost if class_of(seq) == DIAGNOSTICS} >= {
            seq for seq in range(1, max(lost)) if class_of(seq) == DIAGNOSTICS
        }
    assert retained.bytes_after <= SETTINGS.budget_bytes
    await log.close()
    again = EventLog.open(DIRECTORY, SETTINGS, files)
    assert seqs(again) == kept
    assert again.report.missing_count == len(lost)
    gaps = again.report.gaps
    assert sum(gap.record_count for gap in gaps) == len(lost)
    assert again.report.damage == []
    for record in again.read(1, 10_000, 1 << 30):
        if record.chain_before:
            expected = next_chain(record.chain_before, *record_fields(record))
            assert record.chain == expected
    await again.close()


async def test_a_power_cut_during_retention_leaves_what_must_stay() -> None:
    random = Random(3)
    points = 0
    for confirmed in (0, 150, COUNT):
        files = SimulatedFiles()
        log = await long_log(files)
        begin = len(files.journal)
        log.retain(confirmed, [DIAGNOSTICS, ACTIVITY])
        kept = set(seqs(log))
        await log.close()
        for at in range(begin, len(files.journal) + 1):
            for loss in (Loss(kept=0), Loss(kept=0.5), Loss(kept=1)):
                crashed = files.after_crash(at, loss, random)
                again = EventLog.open(DIRECTORY, SETTINGS, crashed)
                found = set(seqs(again))
                assert found >= kept
                assert {s for s in range(1, COUNT + 1) if class_of(s) == SAFETY} - found <= set(
                    range(1, confirmed + 1)
                )
                covered = COUNT - again.first_seq + 1
                assert again.report.missing_count == covered - len(found)
                await again.close()
                points += 1
    assert points > 100


async def test_a_card_that_refuses_poisons_and_loses_nothing_that_must_stay() -> None:
    number = 0
    while True:
        files = SimulatedFiles()
        log = await long_log(files)
        files.fault = fault = FailAt(
            number, errno.EIO, "create write sync rename remove sync_directory"
        )
        if not fault.fired and _retains(log):
            await log.close()
            break
        await log.close()
        again = EventLog.open(DIRECTORY, SETTINGS, files.reopened())
        found = seqs(again)
        assert [s for s in found if class_of(s) == SAFETY] == [
            s for s in range(found[0], COUNT + 1) if class_of(s) == SAFETY
        ]
        assert found[0] <= 201
        await again.close()
        number += 1
    assert number > 10


def _retains(log: EventLog) -> bool:
    try:
        log.retain(200, [DIAGNOSTICS, ACTIVITY])
    except LogPoisoned:
        return False
    return True


@pytest.mark.parametrize("droppable", [[], [DIAGNOSTICS]], ids=["remove", "drop"])
async def test_readers_and_the_writer_go_on_meanwhile(tmp_path: Path, droppable: list[int]) -> None:
    log = await long_log(SystemFiles(), tmp_path / "log")
    stopped = threading.Event()

    def read_on() -> int:
        rounds = 0
        while not stopped.is_set():
            found = seqs(log)
            assert found == sorted(found)
            covered = range(found[0], found[-1])
            assert {s for s in covered if class_of(s) == SAFETY} <= set(found)
            if not droppable:
                assert found[:-1] == list(covered)
            rounds += 1
        return rounds

    reading = asyncio.create_task(asyncio.to_thread(read_on))
    for first in range(COUNT + 1, COUNT + 400, 10):
        await log.append([Entry(class_of(s), b"%d" % s) for s in range(first, first + 10)])
        await asyncio.to_thread(log.retain, first - 200, droppable)
    stopped.set()
    assert await reading > 0
    await log.close()


async def read_while(
    log: EventLog, files: SimulatedFiles, nth: int, *args: Any, first_seq: int = 1
) -> list[int]:
    """Read, and run retention when a segment is opened for the nth time."""
    opened = 0

    def fault(operation: str, path: Path) -> None:
        nonlocal opened
        opened += operation == "open" and path.suffix == ".log"
        if opened == nth:
            opened += 1
            log.retain(*args)

    files.fault = fault
    return [record.seq for record in log.read(first_seq, 10_000, 1 << 30)]


async def test_a_file_that_is_replaced_while_it_is_read_is_read_again() -> None:
    """Offsets in the old file mean nothing in the new one: only what was dropped may be absent."""
    for first_seq in (1, 35, 39):
        for nth in range(1, 12):
            files = SimulatedFiles()
            log = await long_log(files)
            found = await read_while(log, files, nth, 0, [DIAGNOSTICS], first_seq=first_seq)
            kept = {s for s in range(first_seq, COUNT + 1) if class_of(s) != DIAGNOSTICS}
            assert kept <= set(found)
            assert found == sorted(set(found))
            await log.close()


async def test_what_retention_takes_during_a_read_is_no_jump_in_it() -> None:
    for nth in range(1, 30):
        files = SimulatedFiles()
        log = await long_log(files)
        found = await read_while(log, files, nth, 300)
        assert found == list(range(found[0], found[-1] + 1))
        assert found[0] in (1, log.first_seq)
        following = [record.seq for record in log.read(found[-1] + 1, 10_000, 1 << 30)]
        expected = max(found[-1] + 1, log.first_seq)
        assert following == list(range(expected, COUNT + 1))
        await log.close()
