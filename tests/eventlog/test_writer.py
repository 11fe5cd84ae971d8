"""The writer: what it takes into one batch, and what it puts into a file."""

from __future__ import annotations

import contextlib
import errno
import threading
from pathlib import Path

import pytest

from teddy_edge.errors import LogPoisoned
from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.eventlog.frame import FIRST, FRAME_BYTES_MIN, LAST, POSITION_MAX, SEAL_BYTES
from teddy_edge.eventlog.segment import HEADER_BYTES, file_name
from teddy_edge.eventlog.simulated_files import FailAt, SimulatedFiles
from teddy_edge.eventlog.writer import Append, WriteQueue, framed_bytes
from tests.eventlog.histories import DIRECTORY, TINY, layouts

RECORD = Entry(5, bytes(20))
RECORD_BYTES = FRAME_BYTES_MIN + 20


def taken(sizes: list[tuple[int, int]], bytes_max: int) -> list[int]:
    """How many appends each batch has, until nothing waits; a size is (entries, bytes)."""
    queue = WriteQueue()
    for number, (entry_count, size_bytes) in enumerate(sizes):
        queue.put(Append(number, [RECORD] * entry_count, size_bytes))
    queue.close()
    counts = []
    while batch := queue.take(bytes_max):
        counts.append(len(batch))
    return counts


def test_a_batch_has_what_fits_its_bytes_and_at_least_one() -> None:
    assert taken([(1, 50), (1, 50), (1, 50)], 100) == [2, 1]
    assert taken([(1, 50), (1, 51), (1, 49)], 100) == [1, 2]
    assert taken([(1, 500), (1, 1)], 100) == [1, 1]
    assert taken([], 100) == []


def test_a_batch_has_no_more_records_than_have_positions() -> None:
    assert taken([(POSITION_MAX - 1, 1), (1, 1), (1, 1)], 100) == [2, 1]
    assert taken([(POSITION_MAX - 1, 1), (2, 1)], 100) == [1, 1]


def test_entries_take_their_bodies_and_their_frames() -> None:
    assert framed_bytes([Entry(1, b"12345"), Entry(2, b"")]) == 2 * FRAME_BYTES_MIN + 5


async def size_after_each_append(count: int, entry: Entry = RECORD) -> list[int]:
    """Of the last segment file, while it is written to."""
    files = SimulatedFiles()
    log = EventLog.open(DIRECTORY, TINY, files)
    log.start()
    sizes = []
    for _ in range(count):
        await log.append([entry])
        sizes.append(len(layouts(files)[-1].data))
    await log.close()
    return sizes


async def test_room_is_written_ahead_once_for_many_commits_and_never_beyond_the_segment() -> None:
    ahead = HEADER_BYTES + RECORD_BYTES + TINY.allocation_bytes
    full = TINY.segment_bytes_max + SEAL_BYTES
    assert await size_after_each_append(8) == [ahead] * 5 + [full] * 2 + [ahead]


async def test_no_room_is_written_behind_a_record_that_fills_its_segment() -> None:
    entry = Entry(5, bytes(TINY.segment_bytes_max))
    assert (
        await size_after_each_append(2, entry)
        == [HEADER_BYTES + FRAME_BYTES_MIN + TINY.segment_bytes_max] * 2
    )


async def test_no_room_is_written_behind_a_commit_that_is_larger_than_the_room() -> None:
    entry = Entry(5, bytes(TINY.allocation_bytes - FRAME_BYTES_MIN + 1))
    end = HEADER_BYTES + TINY.allocation_bytes + 1
    assert await size_after_each_append(1, entry) == [end]


async def log_of_one_commit(*append_sizes: int) -> SimulatedFiles:
    """What is appended while the device is busy with the first record is one commit."""
    files, is_busy, goes_on = SimulatedFiles(), threading.Event(), threading.Event()
    log = EventLog.open(DIRECTORY, TINY, files)
    log.start()

    def hold_up(operation: str, path: Path) -> None:
        if operation == "sync":
            is_busy.set()
            goes_on.wait()

    files.fault = hold_up
    first = log.append([RECORD])
    is_busy.wait()
    others = [log.append([RECORD] * size) for size in append_sizes]
    goes_on.set()
    last_seqs = [await future for future in [first, *others]]
    assert last_seqs[-1] == 1 + sum(append_sizes)
    await log.close()
    return files


async def test_a_commit_numbers_its_records_and_marks_where_its_appends_begin_and_end() -> None:
    (segment,) = layouts(await log_of_one_commit(3, 1))
    assert [(frame.position, frame.flags) for frame in segment.records] == [
        (0, FIRST | LAST), (0, FIRST), (1, 0), (2, LAST), (3, FIRST | LAST),
    ]  # fmt: skip


async def test_a_commit_that_crosses_a_segments_end_splits_between_two_appends() -> None:
    segments = layouts(await log_of_one_commit(2, 3, 3, 2))
    assert [(s.seqs[0], s.seqs[-1]) for s in segments] == [(1, 6), (7, 11)]
    assert [frame.position for frame in segments[1].records] == [0, 1, 2, 3, 4]


async def test_a_log_that_was_only_opened_is_left_as_it_is() -> None:
    files = await log_of_one_commit(1)
    before = {name: files.content(DIRECTORY / name) for name in files.names(DIRECTORY)}
    log = EventLog.open(DIRECTORY, TINY, files)
    log.start()
    await log.close()
    assert {name: files.content(DIRECTORY / name) for name in files.names(DIRECTORY)} == before


async def refusal(operations: str, number: int, append_count: int) -> LogPoisoned:
    """Let a call fail after the log was opened; gives what the log's end is told with."""
    files = SimulatedFiles()
    log = EventLog.open(DIRECTORY, TINY, files)
    files.fault = FailAt(number, errno.EIO, operations)
    log.start()
    with contextlib.suppress(LogPoisoned):
        for _ in range(append_count):
            await log.append([RECORD])
    await log.close()
    with pytest.raises(LogPoisoned) as caught:
        await log.watch()
    return caught.value


@pytest.mark.parametrize(
    ("operations", "number", "append_count", "named", "path"),
    [
        ("open", 0, 1, "open", DIRECTORY / file_name(1)),
        ("write", 0, 1, "write", DIRECTORY / file_name(1)),
        ("sync", 0, 1, "fdatasync", DIRECTORY / file_name(1)),
        ("truncate", 0, 1, "seal", DIRECTORY / file_name(1)),
        ("create", 0, 8, "create of a segment", DIRECTORY),
    ],
)
async def test_what_the_card_refused_is_named_with_its_file(
    operations: str, number: int, append_count: int, named: str, path: Path
) -> None:
    error = await refusal(operations, number, append_count)
    assert (error.operation, error.path) == (named, path)
