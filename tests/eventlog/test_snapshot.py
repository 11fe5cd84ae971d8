"""A log seen from outside, without its owner: what counts as part of it, and what does not."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import pytest

from teddy_edge.errors import LogFormatUnsupported, LogNotFound
from teddy_edge.eventlog import Damage, Entry, EventLog, Policy
from teddy_edge.eventlog.inspection import Defect, Kind, verify
from teddy_edge.eventlog.origin import ORIGIN_NAME
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from teddy_edge.eventlog.snapshot import Snapshot, Statistics
from tests.eventlog.histories import (
    APPEND_SIZES,
    DIRECTORY,
    TINY,
    Layout,
    append,
    layouts,
    write_history,
)

LAST = sum(APPEND_SIZES)
REMOVABLE = 6
POLICY = Policy(removable=frozenset({REMOVABLE}))


async def closed_log() -> tuple[SimulatedFiles, list[Layout]]:
    files = SimulatedFiles()
    await (await write_history(files)).close()
    return files, layouts(files)


async def log_of_single_records(files: SimulatedFiles) -> EventLog:
    """Every record has a segment of its own."""
    log = EventLog.open(DIRECTORY, TINY, files, policy=POLICY)
    log.start()
    for data_class in (5, REMOVABLE, REMOVABLE, 5, 5):
        await log.append([Entry(data_class, bytes(500))])
    assert len(layouts(files)) == 5
    return log


async def test_it_gives_every_record_as_the_owner_gives_it() -> None:
    files = SimulatedFiles()
    log = await write_history(files)
    assert list(Snapshot(DIRECTORY, files).records()) == log.read(1, 1000, 1 << 20)
    await log.close()


async def test_a_first_segment_of_one_record_is_part_of_it() -> None:
    files = SimulatedFiles()
    await (await log_of_single_records(files)).close()
    snapshot = Snapshot(DIRECTORY, files)
    assert snapshot.names() == files.names(DIRECTORY)[: len(snapshot.names())]
    assert [record.seq for record in snapshot.records()] == [1, 2, 3, 4, 5]
    assert [view.segment.first_seq for view in snapshot.segments()] == [1, 2, 3, 4, 5]


async def test_only_the_segments_from_a_number_on_are_read_for_it() -> None:
    files, segments = await closed_log()
    snapshot = Snapshot(DIRECTORY, files)
    names = [segment.path.name for segment in segments]
    for number, segment in enumerate(segments):
        for seq in segment.seqs:
            assert snapshot.names(seq) == names[number:]


async def test_statistics_count_every_segment() -> None:
    files, segments = await closed_log()
    statistics = Statistics()
    for view in Snapshot(DIRECTORY, files).segments():
        assert view.segment.path == view.path
        statistics.take(view)
    assert statistics.segment_count == len(segments)
    assert statistics.size_bytes == sum(len(segment.data) for segment in segments)


async def test_a_segment_that_retention_joined_and_a_crash_left_over_is_no_part_of_it() -> None:
    files = SimulatedFiles()
    log = await log_of_single_records(files)
    before = {segment.path: segment.data for segment in layouts(files)}
    while log.retention.reduce(5):
        pass
    await log.close()
    joined = [path for path in before if path.name not in files.names(DIRECTORY)]
    assert joined
    for path in joined:
        files.damage(path, before[path])
    assert verify(DIRECTORY, files).defects == [
        Defect(Kind.FOREIGN, path, 0, len(before[path]), None) for path in joined
    ]
    assert [record.seq for record in Snapshot(DIRECTORY, files).records()] == [1, 4, 5]


async def test_a_record_behind_a_damaged_header_is_linked_to_the_segment_before() -> None:
    files, segments = await closed_log()
    segment = segments[1]
    files.damage(segment.path, b"\0" + segment.data[1:])
    records = {record.seq: record for record in Snapshot(DIRECTORY, files).records()}
    first_seq = segment.seqs[0]
    assert records[first_seq].chain_before == records[first_seq - 1].chain


async def test_without_its_origin_file_it_begins_with_its_first_segment() -> None:
    files = SimulatedFiles()
    await (await write_history(files, [5] * 4)).close()
    segments = layouts(files)
    files.remove(DIRECTORY / ORIGIN_NAME)
    files.remove(segments[0].path)
    assert verify(DIRECTORY, files).is_whole
    files.remove(segments[2].path)
    verification = verify(DIRECTORY, files)
    assert verification.first_seq == segments[1].seqs[0]
    assert [defect.kind for defect in verification.defects] == [Kind.MISSING]


async def test_a_directory_with_segments_or_an_origin_alone_is_no_log() -> None:
    files, segments = await closed_log()
    unsound = files.copy()
    unsound.remove(DIRECTORY / ORIGIN_NAME)
    for segment in segments:
        unsound.damage(segment.path, b"no header")
        files.remove(segment.path)
    for directory in (files, unsound):
        with pytest.raises(LogNotFound) as caught:
            Snapshot(DIRECTORY, directory)
        assert caught.value.path == DIRECTORY


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogNotFound) as caught:
        Snapshot(tmp_path / "missing")
    assert caught.value.path == tmp_path / "missing"


async def test_a_segment_of_a_newer_format_is_named() -> None:
    files, segments = await closed_log()
    data = bytearray(segments[1].data)
    data[8] = 9
    data[12:16] = crc32(data[:12]).to_bytes(4, "little")
    files.damage(segments[1].path, bytes(data))
    with pytest.raises(LogFormatUnsupported) as caught:
        Snapshot(DIRECTORY, files)
    assert caught.value.path == segments[1].path


async def test_a_torn_end_is_unfinished_from_the_last_whole_append_on() -> None:
    files = SimulatedFiles()
    log = await write_history(files, (1, 1, 1))
    assert verify(DIRECTORY, files).unfinished is None
    await log.close()
    assert verify(DIRECTORY, files).unfinished is None
    (segment,) = layouts(files)
    end_bytes = segment.records[-1].end_bytes
    files.damage(segment.path, segment.data[:end_bytes] + b"torn")
    assert verify(DIRECTORY, files).unfinished == Damage(segment.path, end_bytes, 4)


async def test_a_hole_before_the_last_commit_is_damage_although_no_seal_follows() -> None:
    files = SimulatedFiles()
    log = EventLog.open(DIRECTORY, TINY, files)
    log.start()
    for size in (1, 1, 2):
        await append(log, size)
    (segment,) = layouts(files)
    for frame in segment.records:
        size_bytes = frame.end_bytes - frame.offset_bytes
        data = bytearray(segment.data)
        data[frame.offset_bytes : frame.end_bytes] = bytes(size_bytes)
        holed = files.copy()
        holed.damage(segment.path, bytes(data))
        is_proven = frame.seq <= 2
        assert verify(DIRECTORY, holed).is_whole is not is_proven
    await log.close()
