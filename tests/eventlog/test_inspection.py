"""Looking at a log from outside."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from uuid import UUID
from zlib import crc32

import pytest

from teddy_edge.errors import LogFormatUnsupported, LogNotFound
from teddy_edge.eventlog import Damage, Entry, EventLog, Gap, Policy
from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.files import File, Files
from teddy_edge.eventlog.inspection import Defect, Kind, Verifier, verify
from teddy_edge.eventlog.segment import (
    HEADER_BYTES,
    Header,
    decode_header,
    encode_header,
    file_name,
)
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from teddy_edge.eventlog.snapshot import ClassStatistics, Snapshot, Statistics
from teddy_edge.settings import LogSettings
from tests.eventlog.histories import (
    APPEND_SIZES,
    DIRECTORY,
    TINY,
    Layout,
    body_of,
    closed_log,
    layouts,
    write_history,
)

LAST = sum(APPEND_SIZES)


def statistics_of(files: SimulatedFiles) -> Statistics:
    statistics = Statistics()
    for view in Snapshot(DIRECTORY, files).segments():
        statistics.take(view)
    return statistics


async def test_a_log_that_was_closed_and_one_that_is_open_are_whole() -> None:
    files = SimulatedFiles()
    log = await write_history(files)
    for state in ("open", "closed"):
        verification = verify(DIRECTORY, files)
        assert verification.is_whole, state
        assert verification.epoch == log.epoch
        assert (verification.first_seq, verification.last_seq) == (1, LAST)
        assert verification.record_count == LAST
        if state == "open":
            await log.close()


async def test_every_spoilt_byte_is_found_with_its_segment_and_offset() -> None:
    files, segments = await closed_log()
    for segment in segments:
        for offset in range(len(segment.data)):
            spoilt = files.copy()
            data = bytearray(segment.data)
            data[offset] ^= 0xFF
            spoilt.damage(segment.path, bytes(data))
            verification = verify(DIRECTORY, spoilt)
            lost = [f.seq for f in segment.records if f.offset_bytes <= offset < f.end_bytes]
            assert verification.gaps == [Gap(seq, seq) for seq in lost]
            is_last_seal = segment is segments[-1] and offset >= segment.frames[-1].offset_bytes
            if not is_last_seal:
                (defect,) = verification.defects
                assert defect.path == segment.path
                assert defect.kind is _kind_at(segment, offset)
                assert 0 <= offset - defect.offset_bytes < defect.size_bytes


def _kind_at(segment: Layout, offset_bytes: int) -> Kind:
    if offset_bytes < HEADER_BYTES:
        return Kind.HEADER
    return Kind.BYTES if offset_bytes < segment.frames[-1].offset_bytes else Kind.END


async def test_looking_changes_nothing() -> None:
    files, segments = await closed_log()
    files.damage(segments[-1].path, segments[-1].data[:-20])
    before = {name: files.content(DIRECTORY / name) for name in files.names(DIRECTORY)}
    verify(DIRECTORY, files)
    statistics_of(files)
    assert {name: files.content(DIRECTORY / name) for name in files.names(DIRECTORY)} == before


async def test_a_record_that_was_altered_with_its_checksum_breaks_the_chain() -> None:
    files, segments = await closed_log()
    for segment in segments:
        for frame in segment.records:
            header = decode_header(segment.path, segment.data)
            assert header is not None
            forged = framing.encode(
                framing.salt_of(header.epoch, header.first_seq), frame.position, frame.flags,
                frame.data_class, frame.seq, b"X" + frame.body[1:], frame.chain,
            )  # fmt: skip
            altered = files.copy()
            data = segment.data[: frame.offset_bytes] + forged + segment.data[frame.end_bytes :]
            altered.damage(segment.path, data)
            verification = verify(DIRECTORY, altered)
            assert verification.chain_breaks == [frame.seq]
            place = (segment.path, frame.offset_bytes, len(forged))
            concerned = Gap(frame.seq, frame.seq)
            assert verification.defects == [Defect(Kind.ALTERED, *place, concerned)]


async def test_a_header_that_was_altered_with_its_checksum_breaks_the_chain() -> None:
    files, segments = await closed_log()
    for segment in segments:
        header = decode_header(segment.path, segment.data)
        assert header is not None
        forged = encode_header(header._replace(chain=b"forged chain val"))
        altered = files.copy()
        altered.damage(segment.path, forged + segment.data[HEADER_BYTES:])
        first = segment.records[0]
        concerned = Gap(first.seq, first.seq)
        size_bytes = first.end_bytes - first.offset_bytes
        assert verify(DIRECTORY, altered).defects == [
            Defect(Kind.ALTERED, segment.path, 0, HEADER_BYTES, concerned),
            Defect(Kind.ALTERED, segment.path, HEADER_BYTES, size_bytes, concerned),
        ]


async def test_the_chain_is_checked_behind_a_gap_too() -> None:
    files, segments = await closed_log()
    segment = segments[0]
    gone, altered = segment.records[1], segment.records[3]
    header = decode_header(segment.path, segment.data)
    assert header is not None
    forged = framing.encode(
        framing.salt_of(header.epoch, header.first_seq), 0, altered.flags, altered.data_class,
        altered.seq, b"X" + altered.body[1:], altered.chain,
    )  # fmt: skip
    data = (
        segment.data[: gone.offset_bytes]
        + segment.data[gone.end_bytes : altered.offset_bytes]
        + forged
        + segment.data[altered.end_bytes :]
    )
    files.damage(segment.path, data)
    verification = verify(DIRECTORY, files)
    assert verification.chain_breaks == [altered.seq]
    assert verification.gaps == [Gap(gone.seq, gone.seq)]


async def test_a_break_off_before_a_segment_that_does_not_belong_is_told() -> None:
    files, segments = await closed_log()
    *_, finished, last = segments
    size_bytes = finished.frames[-1].offset_bytes
    files.damage(finished.path, finished.data[:size_bytes])
    files.damage(last.path, b"nothing that can be read")
    assert verify(DIRECTORY, files).defects == [
        Defect(Kind.FOREIGN, last.path, 0, 24, None),
        Defect(Kind.END, finished.path, size_bytes, 0, None),
    ]


async def test_what_retention_removed_is_counted_over_all_segments() -> None:
    files = SimulatedFiles()
    policy = Policy(removable=frozenset({6}))
    settings = LogSettings(segment_bytes_max=4096, allocation_bytes=512)
    log = EventLog.open(DIRECTORY, settings, files, policy=policy)
    log.start()
    for number in range(300):
        await log.append([Entry(5 + number % 2, bytes(100))])
    while log.retention.reduce(300):
        pass
    await log.close()
    verification = verify(DIRECTORY, files)
    kept = sum(1 for _ in Snapshot(DIRECTORY, files).records())
    assert verification.is_whole
    assert verification.segment_count == len(layouts(files)) > 3
    assert (verification.record_count, verification.removed_count) == (kept, 300 - kept)
    assert kept < 200


async def test_two_records_that_changed_places_break_the_chain() -> None:
    files, segments = await closed_log()
    segment = segments[0]
    header = decode_header(segment.path, segment.data)
    assert header is not None
    first, second = segment.records[:2]
    salt = framing.salt_of(header.epoch, header.first_seq)
    swapped = b"".join(
        framing.encode(salt, 0, 3, frame.data_class, seq, frame.body, frame.chain)
        for seq, frame in ((first.seq, second), (second.seq, first))
    )
    data = segment.data[: first.offset_bytes] + swapped + segment.data[second.end_bytes :]
    files.damage(segment.path, data)
    assert verify(DIRECTORY, files).chain_breaks == [first.seq, second.seq, second.seq + 1]


async def test_a_check_from_a_number_on_misses_nothing_before_it() -> None:
    files, segments = await closed_log()
    first_seq = segments[1].seqs[0]
    for gone in ([], segments[:1]):
        for segment in gone:
            files.remove(segment.path)
        snapshot = Snapshot(DIRECTORY, files)
        verifier = Verifier(snapshot)
        verifier.begin_at(first_seq)
        verifier.begin_at(1)
        for view in snapshot.segments(first_seq):
            verifier.take(view)
        verification = verifier.finish()
        assert verification.is_whole
        assert verification.record_count == LAST - first_seq + 1


async def test_a_segment_of_another_log_is_named() -> None:
    files, segments = await closed_log()
    _, others = await closed_log()
    files.damage(segments[1].path, others[1].data)
    verification = verify(DIRECTORY, files)
    lost = Gap(segments[1].seqs[0], segments[1].seqs[-1])
    assert verification.defects == [
        Defect(Kind.FOREIGN, segments[1].path, 0, len(others[1].data), None),
        Defect(Kind.MISSING, segments[1].path, 0, 0, lost),
    ]


async def test_records_are_given_from_any_number_on() -> None:
    files, _ = await closed_log()
    for first_seq in (1, 7, LAST, LAST + 1):
        records = list(Snapshot(DIRECTORY, files).records(first_seq))
        assert [record.seq for record in records] == list(range(first_seq, LAST + 1))
        assert [record.body for record in records] == [body_of(record.seq) for record in records]


async def test_statistics_count_each_data_class() -> None:
    files = SimulatedFiles()
    log = EventLog.open(DIRECTORY, LogSettings(), files)
    log.start()
    await log.append([Entry(1, b"12345"), Entry(6, b"1"), Entry(6, b"22")])
    statistics = statistics_of(files)
    assert statistics.classes == {1: ClassStatistics(1, 5), 6: ClassStatistics(2, 3)}
    assert (statistics.segment_count, statistics.record_count) == (1, 3)
    assert statistics.first is not None
    assert statistics.last is not None
    assert (statistics.first.seq, statistics.last.body) == (1, b"22")
    assert statistics.size_bytes == len(files.content(DIRECTORY / file_name(1)))
    await log.close()


async def test_a_directory_without_a_log_is_said_to_be_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(LogNotFound):
            verify(path)


async def test_a_newer_format_is_no_damage() -> None:
    files, segments = await closed_log()
    data = bytearray(segments[1].data)
    data[8] = 9
    data[12:16] = crc32(data[:12]).to_bytes(4, "little")
    files.damage(segments[1].path, bytes(data))
    with pytest.raises(LogFormatUnsupported):
        verify(DIRECTORY, files)


async def test_a_log_under_load_is_always_whole(tmp_path: Path) -> None:
    settings = LogSettings(segment_bytes_max=4096, allocation_bytes=1000)
    log = EventLog.open(tmp_path, settings)
    log.start()

    async def produce() -> None:
        for number in range(100):
            await log.append([Entry(5, b"x" * number)] * 3)

    producing = [asyncio.create_task(produce()) for _ in range(8)]
    while not all(task.done() for task in producing):
        verification = await asyncio.to_thread(verify, tmp_path)
        assert verification.is_whole
    await log.close()
    assert verify(tmp_path).record_count == 2400


async def test_a_log_that_breaks_off_is_unfinished_and_not_damaged() -> None:
    files = SimulatedFiles()
    await write_history(files)
    *before, last = layouts(files)
    for end in range(HEADER_BYTES, len(last.data) + 1):
        torn = files.copy()
        torn.damage(last.path, last.data[:end])
        verification = verify(DIRECTORY, torn)
        assert verification.is_whole
        kept = [frame for frame in last.records if frame.end_bytes <= end]
        unfinished = verification.unfinished
        unfinished_bytes = 0 if unfinished is None else unfinished.size_bytes
        whole_bytes = kept[-1].end_bytes if kept else HEADER_BYTES
        assert verification.last_seq <= (kept[-1].seq if kept else before[-1].seqs[-1])
        content_bytes = len(last.data[:end].rstrip(b"\0"))
        assert unfinished_bytes >= content_bytes - whole_bytes


async def test_a_hole_in_the_last_commit_is_unfinished_with_all_of_its_append() -> None:
    files = SimulatedFiles()
    await write_history(files, (1, 1, 3))
    (last,) = layouts(files)
    kept, end_bytes = last.records[1], last.records[-1].end_bytes
    unfinished = Damage(last.path, kept.end_bytes, end_bytes - kept.end_bytes)
    for torn in last.records[2:4]:
        size_bytes = torn.end_bytes - torn.offset_bytes
        data = last.data[: torn.offset_bytes] + bytes(size_bytes) + last.data[torn.end_bytes :]
        files.damage(last.path, data)
        verification = verify(DIRECTORY, files)
        assert verification.is_whole
        assert (verification.last_seq, verification.record_count) == (2, 2)
        assert verification.unfinished == unfinished
        assert [record.seq for record in Snapshot(DIRECTORY, files).records()] == [1, 2]


async def test_a_finished_segment_that_breaks_off_is_damaged_where_it_breaks_off() -> None:
    files, segments = await closed_log()
    finished = segments[0]
    for frame in finished.frames:
        cut = files.copy()
        cut.damage(finished.path, finished.data[: frame.offset_bytes])
        lost = None if frame.is_seal else Gap(frame.seq, finished.seqs[-1])
        assert verify(DIRECTORY, cut).defects == [
            Defect(Kind.END, finished.path, frame.offset_bytes, 0, lost)
        ]


async def test_a_segment_that_is_gone_is_named_with_its_records() -> None:
    files, segments = await closed_log()
    for gone in segments[:-1]:
        left = files.copy()
        left.remove(gone.path)
        lost = Gap(gone.seqs[0], gone.seqs[-1])
        assert verify(DIRECTORY, left).defects == [Defect(Kind.MISSING, gone.path, 0, 0, lost)]


async def test_records_that_were_cut_out_with_their_bytes_are_missed() -> None:
    files, segments = await closed_log()
    segment = segments[0]
    gone = segment.records[1]
    data = segment.data[: gone.offset_bytes] + segment.data[gone.end_bytes :]
    files.damage(segment.path, data)
    assert verify(DIRECTORY, files).defects == [
        Defect(Kind.CUT_OUT, segment.path, gone.offset_bytes, 0, Gap(gone.seq, gone.seq))
    ]


async def test_what_recovery_put_aside_is_listed() -> None:
    files = SimulatedFiles()
    await write_history(files)
    last = layouts(files)[-1]
    files.damage(last.path, last.data[: last.frames[-1].end_bytes] + b"torn")
    started = files.reopened()
    log = EventLog.open(DIRECTORY, LogSettings(), started)
    verification = verify(DIRECTORY, started)
    await log.close()
    assert verification.is_whole
    assert verification.kept_aside == [(log.report.torn_file, 4)]


def show_early(files: SimulatedFiles, path: Path, offset_bytes: int, size_bytes: int) -> None:
    """Let the first look at a segment show a part of it as it was before it was written."""
    whole = files.content(path)
    early = whole[:offset_bytes] + bytes(size_bytes) + whole[offset_bytes + size_bytes :]
    reads = 0

    def fault(operation: str, its_path: Path) -> None:
        nonlocal reads
        if (operation, its_path) == ("read", path):
            reads += 1
            files.damage(path, early if reads == 2 else whole)  # the first read is of the header

    files.fault = fault


async def test_a_page_that_was_read_before_it_was_written_is_no_damage() -> None:
    files = SimulatedFiles()
    await write_history(files)
    last = layouts(files)[-1]
    for frame in last.frames:
        size_bytes = frame.end_bytes - frame.offset_bytes
        show_early(files, last.path, frame.offset_bytes, size_bytes)
        verification = verify(DIRECTORY, files)
        assert verification.is_whole
        assert verification.last_seq == LAST


REMOVABLE, STAYING = 6, 5


async def log_to_reduce(files: Files) -> EventLog:
    """Of the numbers 1, 21 and 41 is what stays; each segment holds nine records."""
    log = EventLog.open(DIRECTORY, TINY, files, policy=Policy(removable=frozenset({REMOVABLE})))
    log.start()
    for number in range(60):
        await log.append([Entry(REMOVABLE if number % 20 else STAYING, b"record %02d" % number)])
    return log


@pytest.mark.parametrize("taken", range(7))
@pytest.mark.parametrize("reduced", range(1, 7))
async def test_segments_that_retention_joins_while_they_are_read_are_not_missed(
    taken: int, reduced: int
) -> None:
    files = SimulatedFiles()
    log = await log_to_reduce(files)
    snapshot = Snapshot(DIRECTORY, files)
    verifier, statistics = Verifier(snapshot), Statistics()
    seqs: list[int] = []
    for number, view in enumerate(snapshot.segments()):
        verifier.take(view)
        statistics.take(view)
        seqs += [record.seq for record in view.records()]
        for _ in range(reduced if number == taken else 0):
            log.retention.reduce(log.last_seq)
    verification = verifier.finish()
    assert verification.defects == []
    assert verification.record_count + verification.removed_count == 60
    assert verification.record_count == statistics.record_count == len(seqs)
    assert seqs == sorted(set(seqs))
    assert {1, 21, 41} <= set(seqs)
    assert verification.segment_count == statistics.segment_count <= 7
    assert statistics.size_bytes <= 7 * 700
    await log.close()


async def test_a_join_while_a_log_is_read_from_a_number_on_hides_nothing() -> None:
    for first_seq in range(1, 61):
        files = SimulatedFiles()
        log = await log_to_reduce(files)
        snapshot = Snapshot(DIRECTORY, files)
        while log.retention.reduce(log.last_seq):
            pass
        seqs = [record.seq for record in snapshot.records(first_seq)]
        assert seqs == [seq for seq in (1, 21, 41, *range(55, 61)) if seq >= first_seq]
        await log.close()


async def test_a_copy_between_the_steps_of_a_join_is_whole_and_gives_no_record_that_has_left() -> (
    None
):
    files = SimulatedFiles()
    log = await log_to_reduce(files)
    copies: list[SimulatedFiles] = []

    def copy(operation: str, path: Path) -> None:
        if operation in {"remove", "rename"} and path.suffix in {".log", ".spare"}:
            copies.append(files.copy())

    files.fault = copy
    while log.retention.reduce(log.last_seq):
        pass
    assert len(copies) > 10
    for copied in copies:
        assert verify(DIRECTORY, copied).defects == []
        for first_seq in (1, 11, 19, 30):
            found = [record.seq for record in Snapshot(DIRECTORY, copied).records(first_seq)]
            opened = EventLog.open(DIRECTORY, TINY, copied.copy())
            assert found == [record.seq for record in opened.read(first_seq, 100, 1 << 20)]
            await opened.close()
    await log.close()


async def test_what_was_begun_after_the_first_look_is_not_read() -> None:
    files = SimulatedFiles()
    log = await log_to_reduce(files)
    snapshot = Snapshot(DIRECTORY, files)
    while log.retention.reduce(log.last_seq):
        pass
    for _ in range(20):
        await log.append([Entry(STAYING, b"record")])
    assert [record.seq for record in snapshot.records()][-1] < 70
    await log.close()


class Overlooking(SimulatedFiles):
    """The first listing does not give a name: it was changed right then."""

    def __init__(self, files: SimulatedFiles, name: str) -> None:
        super().__init__()
        self._under = files
        self._name: str | None = name

    def names(self, directory: Path) -> list[str]:
        hidden, self._name = self._name, None
        return [name for name in self._under.names(directory) if name != hidden]

    def open(self, path: Path, *, writable: bool = False) -> File:
        return self._under.open(path, writable=writable)


async def test_a_segment_that_a_listing_overlooked_is_not_missed() -> None:
    files, segments = await closed_log()
    for segment in segments[:-1]:
        verification = verify(DIRECTORY, Overlooking(files, segment.path.name))
        assert verification.defects == []
        assert verification.record_count == LAST


async def test_a_segment_within_another_is_foreign_unless_it_was_joined_to_that() -> None:
    files = SimulatedFiles()
    log = await log_to_reduce(files)
    path = DIRECTORY / file_name(5)
    of_this_log, of_another = (
        encode_header(Header(epoch, 5, bytes(16))) for epoch in (log.epoch, UUID(int=1))
    )
    foreign = [Defect(Kind.FOREIGN, path, 0, HEADER_BYTES, None)]
    for header in (of_this_log, of_another):
        copied = files.copy()
        copied.damage(path, header)
        assert verify(DIRECTORY, copied).defects == foreign
    assert log.retention.reduce(log.last_seq)
    for header, expected in ((of_this_log, []), (of_another, foreign)):
        copied = files.copy()
        copied.damage(path, header)
        assert verify(DIRECTORY, copied).defects == expected
    await log.close()


async def test_a_log_that_retention_works_on_is_always_whole(tmp_path: Path) -> None:
    settings = LogSettings(segment_bytes_max=4096, allocation_bytes=1000)
    policy = Policy(removable=frozenset({REMOVABLE}))
    log = EventLog.open(tmp_path, settings, policy=policy)
    log.start()
    looks = 0

    async def produce() -> None:
        for _ in range(100):
            await log.append([Entry(STAYING, bytes(100)), *[Entry(REMOVABLE, bytes(100))] * 15])

    async def keep() -> None:
        while not producing.done():
            await asyncio.to_thread(log.retention.reduce, log.last_seq - 500)

    producing = asyncio.create_task(produce())
    keeping = asyncio.create_task(keep())
    while not keeping.done():
        assert (await asyncio.to_thread(verify, tmp_path)).defects == []
        looks += 1
    assert looks > 10
    await log.close()


async def test_what_is_no_file_is_damage_and_hides_nothing_of_the_rest() -> None:
    files, segments = await closed_log()
    torn = DIRECTORY / "1.torn"
    files.damage(torn, b"torn")
    refused: set[Path] = set()
    error = errno.EINVAL

    def refuse(operation: str, path: Path) -> OSError | None:
        return OSError(error, "is refused") if operation == "open" and path in refused else None

    files.fault = refuse
    for segment in segments:
        refused = {segment.path}
        verification = verify(DIRECTORY, files)
        unreadable = Defect(Kind.UNREADABLE, segment.path, 0, 0, None)
        lost = Gap(segment.seqs[0], segment.seqs[-1])
        missing = Defect(Kind.MISSING, segment.path, 0, 0, lost)
        is_last = segment is segments[-1]
        assert verification.defects == ([unreadable] if is_last else [unreadable, missing])
        assert verification.record_count == LAST - len(segment.seqs)
        assert verification.kept_aside == [(torn, 4)]
    refused = {torn}
    verification = verify(DIRECTORY, files)
    assert verification.defects == [Defect(Kind.UNREADABLE, torn, 0, 0, None)]
    assert verification.kept_aside == []
    for path in (torn, segments[0].path):
        refused, error = {path}, errno.EACCES
        with pytest.raises(OSError, match="refused"):
            verify(DIRECTORY, files)


async def test_what_a_bear_at_work_no_longer_keeps_aside_is_no_damage() -> None:
    files, _ = await closed_log()
    torn = DIRECTORY / "1.torn"
    files.damage(torn, b"torn")

    def remove_first(operation: str, path: Path) -> None:
        if (operation, path) == ("open", torn):
            files.remove(torn)

    files.fault = remove_first
    verification = verify(DIRECTORY, files)
    assert verification.is_whole
    assert verification.kept_aside == []
