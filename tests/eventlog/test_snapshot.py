"""A log seen from outside, without its owner: what counts as part of it, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from teddy_edge.errors import LogFormatUnsupported, LogNotFound
from teddy_edge.eventlog import Damage, Entry, EventLog, Gap, Policy
from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.files import NEW, File
from teddy_edge.eventlog.inspection import Defect, Kind, verify
from teddy_edge.eventlog.origin import ORIGIN_NAME
from teddy_edge.eventlog.segment import (
    HEADER_BYTES,
    Header,
    decode_header,
    encode_header,
    file_name,
)
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from teddy_edge.eventlog.snapshot import Snapshot, Statistics
from tests.eventlog.histories import (
    APPEND_SIZES,
    DIRECTORY,
    TINY,
    append,
    closed_log,
    layouts,
    write_history,
)

LAST = sum(APPEND_SIZES)
REMOVABLE = 6
POLICY = Policy(removable=frozenset({REMOVABLE}))


async def log_of_single_records(files: SimulatedFiles) -> EventLog:
    """Every record has a segment of its own."""
    log = EventLog.open(DIRECTORY, TINY, files, policy=POLICY)
    log.start()
    for data_class in (5, REMOVABLE, REMOVABLE, 5, 5):
        await log.append([Entry(data_class, bytes(500))])
    assert len(layouts(files)) == 5
    return log


class Meanwhile:
    """A fault that only lets something happen, right before the Nth read of a file (0 is first).

    The first read of a segment is that of its header, when the segments are listed.
    """

    def __init__(self, path: Path, number: int, happen: Callable[[], object]) -> None:
        self._path = path
        self._number = number
        self._happen = happen

    def __call__(self, operation: str, path: Path) -> None:
        if operation == "read" and path == self._path:
            self._number -= 1
            if self._number == -1:
                self._happen()


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
    assert verify(DIRECTORY, files).defects == []
    assert [record.seq for record in Snapshot(DIRECTORY, files).records()] == [1, 4, 5]


async def test_a_record_behind_a_damaged_header_is_linked_to_the_segment_before() -> None:
    files, segments = await closed_log()
    segment = segments[1]
    files.damage(segment.path, b"\0" + segment.data[1:])
    records = {record.seq: record for record in Snapshot(DIRECTORY, files).records()}
    first_seq = segment.seqs[0]
    assert records[first_seq].chain_before == records[first_seq - 1].chain


async def test_a_log_begins_at_1_also_without_a_sound_origin_file() -> None:
    files = SimulatedFiles()
    log = await write_history(files, [5] * 4)
    await log.close()
    first = layouts(files)[0]
    origin = DIRECTORY / ORIGIN_NAME
    of_the_origin = Defect(Kind.ORIGIN, origin, 0, 0, None)
    missing = Defect(Kind.MISSING, first.path, 0, 0, Gap(1, first.seqs[-1]))
    files.damage(origin, b"garbage")
    without = files.copy()
    without.remove(origin)
    for unsound in (files, without):
        assert verify(DIRECTORY, unsound).defects == [of_the_origin]
        unsound.remove(first.path)
        verification = verify(DIRECTORY, unsound)
        assert verification.defects == [of_the_origin, missing]
        assert (verification.first_seq, verification.epoch) == (1, log.epoch)


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
    for size in (1, 2, 2):
        await append(log, size)
    (segment,) = layouts(files)
    for frame in segment.records:
        size_bytes = frame.end_bytes - frame.offset_bytes
        data = bytearray(segment.data)
        data[frame.offset_bytes : frame.end_bytes] = bytes(size_bytes)
        holed = files.copy()
        holed.damage(segment.path, bytes(data))
        is_proven = frame.seq <= 3
        assert verify(DIRECTORY, holed).is_whole is not is_proven
    await log.close()


async def test_a_first_commit_whose_first_record_is_torn_is_unfinished() -> None:
    files = SimulatedFiles()
    log = await write_history(files, (3,))
    (segment,) = layouts(files)
    first, *_, last = segment.records
    data = segment.data[:HEADER_BYTES] + bytes(first.size_bytes) + segment.data[first.end_bytes :]
    files.damage(segment.path, data)
    verification = verify(DIRECTORY, files)
    size_bytes = last.end_bytes - HEADER_BYTES
    assert verification.is_whole
    assert verification.unfinished == Damage(segment.path, HEADER_BYTES, size_bytes)
    await log.close()


async def test_a_torn_append_is_unfinished_also_where_another_of_its_commit_is_whole() -> None:
    files = SimulatedFiles()
    log = await write_history(files, (1, 1, 1))
    (segment,) = layouts(files)
    first, torn, whole = segment.records
    header = decode_header(segment.path, segment.data)
    assert header is not None
    salt = framing.salt_of(header.epoch, header.first_seq)
    same_commit = framing.encode(
        salt, 1, whole.flags, whole.data_class, whole.seq, whole.body, whole.chain
    )
    data = segment.data[: first.end_bytes] + bytes(torn.size_bytes) + same_commit
    files.damage(segment.path, data)
    verification = verify(DIRECTORY, files)
    size_bytes = whole.end_bytes - first.end_bytes
    assert verification.is_whole
    assert verification.unfinished == Damage(segment.path, first.end_bytes, size_bytes)
    await log.close()


async def test_a_hole_in_the_last_commit_of_a_finished_segment_is_damage() -> None:
    files = SimulatedFiles()
    await (await write_history(files, [2] * 6)).close()
    segment = layouts(files)[0]
    torn, end_bytes = segment.records[-2], segment.records[-1].end_bytes
    data = segment.data[: torn.offset_bytes] + bytes(torn.size_bytes)
    files.damage(segment.path, data + segment.data[torn.end_bytes : end_bytes])
    lost = Gap(torn.seq, torn.seq)
    assert verify(DIRECTORY, files).defects == [
        Defect(Kind.BYTES, segment.path, torn.offset_bytes, torn.size_bytes, lost),
        Defect(Kind.END, segment.path, end_bytes, 0, None),
    ]


async def test_a_file_that_waits_for_its_name_is_a_segment_if_it_has_a_header() -> None:
    files, segments = await closed_log()
    for segment in segments:
        waiting = files.copy()
        waiting.rename(segment.path, segment.path.with_name(segment.path.name + NEW))
        assert verify(DIRECTORY, waiting).is_whole
    files.damage(DIRECTORY / (file_name(LAST + 1) + NEW), b"not yet written")
    assert Snapshot(DIRECTORY, files).names() == [segment.path.name for segment in segments]
    start = b"TEDDYLOG" + (2).to_bytes(4, "little")
    newer = DIRECTORY / (file_name(LAST + 1) + NEW)
    files.damage(newer, start + crc32(start).to_bytes(4, "little"))
    with pytest.raises(LogFormatUnsupported) as caught:
        Snapshot(DIRECTORY, files)
    assert caught.value.path == newer


class NamedMeanwhile(SimulatedFiles):
    """The list of names is old: one of them has lost its suffix since."""

    def __init__(self, files: SimulatedFiles, waiting: str) -> None:
        super().__init__()
        self._under = files
        self._waiting = waiting

    def names(self, directory: Path) -> list[str]:
        return [n + NEW * (n == self._waiting) for n in self._under.names(directory)]

    def open(self, path: Path, *, writable: bool = False) -> File:
        return self._under.open(path, writable=writable)


async def test_a_segment_that_gets_its_name_meanwhile_is_read_under_it() -> None:
    files, segments = await closed_log()
    for segment in segments:
        assert verify(DIRECTORY, NamedMeanwhile(files, segment.path.name)).is_whole
    looks = 0

    def hide_twice(operation: str, path: Path) -> OSError | None:
        nonlocal looks
        is_look = (operation, path) == ("open", segments[0].path)
        looks += is_look
        is_hidden = is_look and looks == 2  # the first look reads the header only
        return FileNotFoundError() if is_hidden else None

    files.fault = hide_twice
    assert verify(DIRECTORY, files).is_whole


async def test_a_file_that_is_another_segment_when_it_is_read_is_looked_for_again() -> None:
    files = SimulatedFiles()
    log = EventLog.open(DIRECTORY, TINY, files, policy=POLICY)
    log.start()
    for _ in range(20):
        await append(log, 1)

    def become_the_next() -> None:
        assert log.retention.reduce(log.last_seq)
        (spare,) = (name for name in files.names(DIRECTORY) if name.endswith(".spare"))
        header = encode_header(Header(log.epoch, log.last_seq + 1, log.chain_at(log.last_seq)))
        files.open(DIRECTORY / spare, writable=True).write(0, header)

    files.fault = Meanwhile(DIRECTORY / file_name(1), 1, become_the_next)
    verification = verify(DIRECTORY, files)
    assert verification.defects == []
    assert verification.record_count == 20
    await log.close()
