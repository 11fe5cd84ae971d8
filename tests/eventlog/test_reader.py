"""Reading by number: what stays in memory, and what happens when a file goes under the reader."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from teddy_edge.eventlog import Entry, EventLog, Policy
from teddy_edge.eventlog.reader import INDEXES_MAX, Reader
from teddy_edge.eventlog.recovery import Recovery
from teddy_edge.eventlog.segment import first_seq_of
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from tests.eventlog.histories import DIRECTORY, TINY, layouts, write_history

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
