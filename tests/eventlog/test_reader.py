"""Reading by number: what stays in memory, and what happens when a file goes under the reader."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from teddy_edge.eventlog import Entry, EventLog, Policy
from teddy_edge.eventlog.reader import Reader
from teddy_edge.eventlog.recovery import Recovery
from teddy_edge.eventlog.segment import INDEXES_MAX, first_seq_of
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from tests.eventlog.histories import DIRECTORY, TINY, append, layouts, write_history

SEGMENTS = INDEXES_MAX + 8


async def test_only_the_indexes_that_were_made_last_are_kept() -> None:
    files = SimulatedFiles()
    log = await write_history(files, [5] * SEGMENTS)
    await log.close()
    recovered = Recovery(DIRECTORY, TINY, files).run()
    finished = recovered.segments[:-1]
    assert len(finished) > INDEXES_MAX
    reader = Reader(recovered.segments, files, recovered.report, threading.Lock())
    assert len(reader.read(1, 10_000, 1 << 30)) == 5 * SEGMENTS
    assert [segment for segment in finished if segment.marks] == finished[-INDEXES_MAX:]
    assert len(reader.read(1, 1, 1)) == 1
    assert [s for s in finished if s.marks] == [finished[0], *finished[1 - INDEXES_MAX :]]


@pytest.mark.parametrize("was_read_before", [False, True])
async def test_a_segment_that_somebody_else_removed_is_an_error_of_the_system(
    was_read_before: bool,
) -> None:
    files = SimulatedFiles()
    await (await write_history(files)).close()
    log = EventLog.open(DIRECTORY, TINY, files)
    if was_read_before:
        log.read(1, 1, 1)
    files.remove(layouts(files)[0].path)
    with pytest.raises(FileNotFoundError):
        log.read(1, 10, 1000)
    await log.close()


@pytest.mark.parametrize("at", ["open", "read"])
async def test_what_is_dropped_while_its_segment_is_first_read_is_counted_once(at: str) -> None:
    files = SimulatedFiles()
    policy = Policy(droppable=(6,))
    log = EventLog.open(DIRECTORY, TINY, files, policy=policy)
    log.start()
    for number in range(30):
        await log.append([Entry(5 + number % 2, b"some ten bytes")])
    await log.close()
    again = EventLog.open(DIRECTORY, TINY, files, policy=policy)
    lost = again.retention.plan(0)
    assert lost is not None

    def drop_meanwhile(operation: str, path: Path) -> None:
        if operation == at and first_seq_of(path.name):
            files.fault = lambda *_: None
            assert again.retention.drop(lost)

    files.fault = drop_meanwhile
    assert len(again.read(1, 1000, 1 << 20)) == 30 - lost.count
    assert again.report.missing_count == lost.count
    await again.close()


async def test_an_end_that_is_spoilt_while_the_log_is_open_is_a_gap_as_well() -> None:
    files = SimulatedFiles()
    await (await write_history(files, [1] * 30)).close()
    log = EventLog.open(DIRECTORY, TINY, files)
    place = layouts(files)[1]
    files.damage(place.path, place.data[:-120] + bytes(120))
    found = {record.seq for record in log.read(1, 1000, 1 << 20)}
    lost = set(range(1, 31)) - found
    assert lost
    assert {s for gap in log.gaps() for s in range(gap.first_seq, gap.last_seq + 1)} == lost
    assert log.report.missing_count == len(lost)
    await log.close()


async def test_a_log_that_grows_keeps_no_more_indexes_than_one_that_is_read() -> None:
    log = EventLog.open(DIRECTORY, TINY, SimulatedFiles())
    log.start()
    for _ in range(8 * INDEXES_MAX):
        await append(log, 1)
    indexed = [segment for segment in log._segments if segment.marks is not None]
    assert len(log._segments) > len(indexed)
    assert len(indexed) <= INDEXES_MAX + 1
    assert [r.seq for r in log.read(1, 10_000, 1 << 20)] == list(range(1, log.last_seq + 1))
    await log.close()
