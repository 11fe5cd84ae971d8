"""What the next start makes of a directory, told exactly: renames, what is set aside, gaps."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from random import Random
from zlib import crc32

import pytest

from teddy_edge.errors import LogFormatUnsupported
from teddy_edge.eventlog import Damage, Entry, EventLog, Gap, Policy
from teddy_edge.eventlog.files import DAMAGED, NEW, File, SystemFiles
from teddy_edge.eventlog.frame import encode_seal, salt_of
from teddy_edge.eventlog.origin import ORIGIN_NAME
from teddy_edge.eventlog.quarantine import TORN
from teddy_edge.eventlog.recovery import LOCK_NAME, Recovered, Recovery
from teddy_edge.eventlog.segment import (
    HEADER_BYTES,
    decode_header,
    encode_header,
    file_name,
    first_seq_of,
)
from teddy_edge.eventlog.simulated_device import Loss
from teddy_edge.eventlog.simulated_files import FailAt, SimulatedFiles
from tests.eventlog.histories import DIRECTORY, TINY, Layout, append, layouts


async def killed_log(segments: int, count: int = 3) -> tuple[SimulatedFiles, list[Layout]]:
    """A log without a seal at its end; there are `count` records in its last segment."""
    files = SimulatedFiles()
    log = EventLog.open(DIRECTORY, TINY, files)
    log.start()
    while len(layouts(files)) < segments or len(layouts(files)[-1].records) < count:
        await append(log, 1)
    killed = files.copy()
    await log.close()
    return killed, layouts(killed)


def recovered(files: SimulatedFiles) -> Recovered:
    return Recovery(DIRECTORY, TINY, files).run()


def without(segment: Layout, number: int) -> bytes:
    """The segment with one of its records spoilt."""
    frame = segment.frames[number]
    spoilt = bytes(frame.end_bytes - frame.offset_bytes)
    return segment.data[: frame.offset_bytes] + spoilt + segment.data[frame.end_bytes :]


async def _write_four_segments(directory: Path) -> None:
    log = EventLog.open(directory, TINY)
    log.start()
    await asyncio.gather(*[log.append([Entry(5, bytes(300))]) for _ in range(4)])
    await log.close()


def test_the_files_of_the_system_are_put_in_order(tmp_path: Path) -> None:
    asyncio.run(_write_four_segments(tmp_path))
    names = sorted(path.name for path in tmp_path.glob("*.log"))
    assert len(names) == 4
    (tmp_path / names[1]).rename(tmp_path / (names[1] + ".new"))
    (tmp_path / (names[2] + ".new")).write_bytes(b"not finished, and its name is taken")
    (tmp_path / (file_name(99) + ".new")).write_bytes(b"not finished")
    (tmp_path / file_name(77)).write_bytes(b"no segment")
    (tmp_path / (file_name(5) + DAMAGED)).write_bytes(bytes(TINY.quarantine_bytes_max))
    recovered = Recovery(tmp_path, TINY, SystemFiles()).run()
    aside = file_name(77) + DAMAGED
    assert recovered.report.quarantined == [tmp_path / aside]
    behind = recovered.segments[-1].path.name
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == sorted([*names, behind, aside, ORIGIN_NAME, LOCK_NAME])


async def test_the_origin_is_made_again_from_the_segments() -> None:
    files, _ = await killed_log(2)
    path = DIRECTORY / ORIGIN_NAME
    whole = files.content(path)
    lost, spoilt = files.copy(), files.copy()
    lost.remove(path)
    spoilt.damage(path, bytes([whole[0] ^ 1]) + whole[1:])
    for each in (lost, spoilt):
        found = recovered(each)
        assert found.origin.epoch == recovered(files).origin.epoch
        assert not found.report.is_new_epoch
        assert each.content(path) == whole


async def test_gaps_are_told_in_order_wherever_they_are_found() -> None:
    files, segments = await killed_log(4)
    *_, third, last = segments
    broken = without(segments[0], 1)[: segments[0].frames[-1].offset_bytes]
    files.damage(segments[0].path, broken)
    files.remove(segments[1].path)
    files.damage(third.path, b"\0" * HEADER_BYTES + without(third, 2)[HEADER_BYTES:])
    files.damage(last.path, without(last, 0))
    report = recovered(files).report
    lost = [segments[0].seqs[1], third.seqs[2], last.seqs[0]]
    assert report.gaps == [
        Gap(lost[0], lost[0]),
        Gap(segments[1].seqs[0], segments[1].seqs[-1]),
        Gap(lost[1], lost[1]),
        Gap(lost[2], lost[2]),
    ]
    assert report.missing_count == 3 + len(segments[1].seqs)
    hole = segments[0].frames[1]
    assert report.damage == [
        Damage(segments[0].path, hole.offset_bytes, hole.end_bytes - hole.offset_bytes),
        Damage(third.path, 0, HEADER_BYTES),
        Damage(third.path, third.frames[2].offset_bytes, _size_bytes(third, 2)),
        Damage(last.path, HEADER_BYTES, _size_bytes(last, 0)),
    ]
    assert report.quarantined == [last.path.with_name(last.path.name + DAMAGED)]


def _size_bytes(segment: Layout, number: int) -> int:
    frame = segment.frames[number]
    return frame.end_bytes - frame.offset_bytes


async def test_a_log_whose_beginning_is_gone_says_from_where_on_it_is_lost() -> None:
    files, segments = await killed_log(3)
    files.remove(segments[0].path)
    report = recovered(files).report
    assert report.gaps == [Gap(1, segments[0].seqs[-1])]
    assert report.missing_count == len(segments[0].seqs)


async def test_a_long_torn_end_is_counted_whole_and_kept_in_part() -> None:
    files, segments = await killed_log(1)
    (segment,) = segments
    end_bytes = segment.records[-1].end_bytes
    torn = b"t" * (TINY.torn_bytes_max + 100)
    files.damage(segment.path, segment.data[:end_bytes] + torn)
    report = recovered(files).report
    assert report.torn_bytes == len(torn)
    assert report.torn_file is not None
    assert report.torn_file.name == f"{segment.seqs[-1] + 1:020d}{TORN}"
    assert files.content(report.torn_file) == torn[: TINY.torn_bytes_max]


async def test_of_what_was_set_aside_the_newest_stays_up_to_the_limit() -> None:
    files, _ = await killed_log(1)
    limit = TINY.quarantine_bytes_max
    sizes = {file_name(7) + DAMAGED: 1, f"{8:020d}{TORN}": limit - 30, file_name(9) + DAMAGED: 30}
    for name, size_bytes in sizes.items():
        files.damage(DIRECTORY / name, bytes(size_bytes))
    recovered(files)
    oldest, *others = sizes
    names = files.names(DIRECTORY)
    assert oldest not in names
    assert set(names) >= set(others)


async def test_what_was_recovered_is_recovered_again_without_a_change() -> None:
    files, segments = await killed_log(3)
    files.damage(segments[-1].path, without(segments[-1], 1) + b"torn")
    first = recovered(files)
    changes = len(files.journal)
    again = recovered(files)
    assert {change.kind for change in files.journal[changes:]} == {"sync_directory"}
    assert again.origin == first.origin
    assert again.report.gaps == first.report.gaps
    assert again.report.missing_count == first.report.missing_count == 1
    assert again.report.torn_bytes == 0
    assert [first_seq_of(s.path.name) for s in again.segments] == [s.seqs[0] for s in segments]
    last, as_left = again.segments[-1], first.segments[-1]
    assert (last.last_seq, last.chain, last.end_bytes) == (
        as_left.last_seq, as_left.chain, as_left.end_bytes,
    )  # fmt: skip
    assert last.marks == as_left.marks


async def joined_log(*body_sizes: int) -> tuple[SimulatedFiles, dict[Path, bytes], Layout]:
    """Its first segments were joined into one; gives what they were, and a segment of another."""
    files = SimulatedFiles()
    log = EventLog.open(DIRECTORY, TINY, files, policy=Policy(removable=frozenset({5})))
    log.start()
    for size_bytes in body_sizes:
        await log.append([Entry(5, bytes(size_bytes))])
    before = {segment.path: segment.data for segment in layouts(files)[1:-1]}
    while log.retention.reduce(len(body_sizes)):
        pass
    await log.close()
    assert len(layouts(files)) == 2
    _, (other,) = await killed_log(1)
    return files, before, other


async def test_a_segment_that_was_joined_and_left_over_by_a_crash_is_removed() -> None:
    files, joined, _ = await joined_log(500, 500, 500, 500, 500)
    names = files.names(DIRECTORY)
    for path, data in joined.items():
        files.damage(path, data)
    report = recovered(files).report
    assert (files.names(DIRECTORY), report.quarantined) == (names, [])
    assert report.complete
    cut = files.after_crash(len(files.journal), Loss(kept=0), Random(1))
    assert cut.names(DIRECTORY) == names


async def test_a_segment_of_another_log_among_joined_numbers_is_set_aside() -> None:
    files, joined, other = await joined_log(500, 500, 500, 500, 500)
    path = next(iter(joined))
    files.damage(path, other.data)
    report = recovered(files).report
    assert report.quarantined == [path.with_name(path.name + DAMAGED)]
    assert report.complete


async def test_a_segment_that_begins_with_a_number_of_the_one_before_is_set_aside() -> None:
    files, segments = await killed_log(2)
    header = decode_header(segments[0].path, segments[0].data)
    assert header is not None
    for number in (2, segments[0].seqs[-1]):
        doubled = files.copy()
        path = DIRECTORY / file_name(number)
        doubled.damage(path, encode_header(header._replace(first_seq=number)))
        report = recovered(doubled).report
        assert report.quarantined == [path.with_name(path.name + DAMAGED)]
        assert report.complete


async def test_the_chain_goes_on_over_a_damaged_header_and_behind_a_lost_segment() -> None:
    files, segments = await killed_log(4)
    _, lost, headless, last = segments
    files.remove(lost.path)
    files.damage(headless.path, b"\0" + headless.data[1:])
    log = EventLog.open(DIRECTORY, TINY, files)
    before = {record.seq: record.chain_before for record in log.read(1, 1000, 1 << 20)}
    assert before[headless.seqs[0]] == b""
    assert before[last.seqs[0]] == headless.records[-1].chain
    await log.close()
    files.remove(headless.path)
    files.damage(last.path, last.data)
    log = EventLog.open(DIRECTORY, TINY, files)
    (record,) = log.read(last.seqs[0], 1, 1)
    assert record.chain_before == headless.records[-1].chain
    await log.close()


async def test_the_chain_goes_on_over_a_header_that_is_damaged() -> None:
    files, segments = await killed_log(3)
    before, headless, _ = segments
    files.damage(headless.path, b"\0" + headless.data[1:])
    log = EventLog.open(DIRECTORY, TINY, files)
    (record,) = log.read(headless.seqs[0], 1, 1)
    assert record.chain_before == before.records[-1].chain
    await log.close()


async def test_a_finished_segment_that_breaks_off_stays_as_it_is() -> None:
    files, segments = await killed_log(3)
    first, second, _ = segments
    end_bytes = first.records[-1].end_bytes
    files.damage(first.path, first.data[:end_bytes] + b"x")
    files.damage(second.path, second.data[:HEADER_BYTES])
    report = recovered(files).report
    assert report.quarantined == []
    assert report.damage == [Damage(first.path, end_bytes, 1)]
    assert report.gaps == [Gap(second.seqs[0], second.seqs[-1])]
    assert files.content(second.path) == second.data[:HEADER_BYTES]


async def test_what_is_found_spoilt_when_it_is_first_read_joins_the_report_once() -> None:
    files, segments = await killed_log(3)
    spoilt = segments[:2]
    for segment in spoilt:
        files.damage(segment.path, without(segment, 1))
    log = EventLog.open(DIRECTORY, TINY, files)
    assert log.report.complete
    for _ in range(2):
        log.read(1, 1000, 1 << 20)
        assert log.gaps() == [Gap(s.seqs[1], s.seqs[1]) for s in spoilt]
        assert log.report.missing_count == 2
        assert log.report.damage == [
            Damage(s.path, s.frames[1].offset_bytes, _size_bytes(s, 1)) for s in spoilt
        ]
    await log.close()


async def test_a_seal_that_counts_more_records_than_numbers_is_not_believed() -> None:
    files, segments = await killed_log(2)
    first = segments[0]
    header = decode_header(first.path, first.data)
    assert header is not None
    last = first.records[-1]
    salt = salt_of(header.epoch, header.first_seq)
    seal = encode_seal(salt, last.seq, last.chain, len(first.records) + 1)
    files.damage(first.path, first.data[: last.end_bytes] + seal)
    assert recovered(files).report.missing_count == 0


async def test_where_the_last_file_is_no_part_of_the_log_the_one_before_it_is_proven() -> None:
    """Bytes at its end that are no sound record are cut before anything is written behind them."""
    files, segments = await killed_log(2)
    _, (other,) = await killed_log(1)
    last = segments[-1]
    end_bytes = last.records[-1].end_bytes
    files.damage(last.path, last.data[:end_bytes] + b"torn")
    files.damage(DIRECTORY / file_name(77), other.data)
    found = recovered(files)
    assert found.report.torn_bytes == 4
    assert found.report.damage == []
    assert found.report.complete
    (_, proven) = layouts(files)
    assert proven.seqs == last.seqs
    assert proven.frames[-1].is_seal
    assert len(proven.data) == proven.frames[-1].end_bytes


async def test_an_end_in_which_nothing_can_be_read_costs_the_numbers_that_it_may_have_held() -> (
    None
):
    for size_bytes, count in ((4096, 100), (65, 1), (64, 11), (0, 11)):
        files, segments = await killed_log(3)
        last = segments[-1]
        files.damage(last.path, bytes(size_bytes))
        report = recovered(files).report
        first_seq = last.seqs[0]
        assert report.gaps == [Gap(first_seq, first_seq + count - 1)]
        assert not report.complete
        assert report.quarantined == [last.path.with_name(last.path.name + DAMAGED)]
        log = EventLog.open(DIRECTORY, TINY, files)
        log.start()
        assert log.report.gaps == report.gaps
        assert await append(log, 1) == first_seq + count
        assert [r.seq for r in log.read(1, 100, 1 << 20)] == [
            *range(1, first_seq), first_seq + count,
        ]  # fmt: skip
        await log.close()


async def test_an_end_that_cannot_be_read_counts_also_where_a_foreign_file_lies_behind_it() -> None:
    files, segments = await killed_log(3)
    _, (other,) = await killed_log(1)
    files.damage(segments[-1].path, bytes(4096))
    files.damage(DIRECTORY / file_name(5000), other.data)
    report = recovered(files).report
    first_seq = segments[-1].seqs[0]
    assert report.gaps == [Gap(first_seq, first_seq + 99)]
    assert len(report.quarantined) == 2


async def test_a_file_with_a_number_that_no_log_can_have_reached_is_no_lost_end() -> None:
    files, segments = await killed_log(1)
    path = DIRECTORY / file_name(2**62)
    files.damage(path, bytes(4096))
    found = recovered(files)
    assert found.report.complete
    assert found.report.quarantined == [path.with_name(path.name + DAMAGED)]
    assert found.segments[-1].last_seq == segments[-1].seqs[-1]


@pytest.mark.parametrize("kept", [0.0, 0.5])
async def test_numbers_of_a_lost_end_do_not_come_again_after_a_power_cut_either(
    kept: float,
) -> None:
    files, segments = await killed_log(2)
    files.damage(segments[-1].path, bytes(4096))
    begin = len(files.journal)
    expected = recovered(files).report.gaps
    for at in range(begin, len(files.journal) + 1):
        for number in range(5):
            cut = files.after_crash(at, Loss(kept=kept), Random(number))
            found = recovered(cut)
            assert found.report.gaps == expected
            assert found.segments[-1].first_seq == expected[0].last_seq + 1


async def test_a_log_of_which_nothing_can_be_read_is_not_called_complete() -> None:
    files, segments = await killed_log(2)
    for segment in segments:
        files.damage(segment.path, bytes(100))
    report = recovered(files).report
    assert report.is_new_epoch
    assert not report.complete
    assert recovered(SimulatedFiles()).report.complete


async def unnamed_log() -> tuple[SimulatedFiles, File]:
    """A log of which a segment waits for its name, and is not synced."""
    files, segments = await killed_log(3)
    second = segments[1]
    files.remove(second.path)
    unnamed = files.create(second.path.with_name(second.path.name + NEW))
    unnamed.write(0, second.data)
    return files, unnamed


async def test_a_segment_that_waits_for_its_name_is_written_again() -> None:
    """After an fsync that failed the next one says that all is well, and is wrong."""
    files, unnamed = await unnamed_log()
    files.fault = FailAt(0, errno.EIO, "sync")
    with pytest.raises(OSError, match="error"):
        unnamed.sync()
    recovered(files.reopened())
    cut = files.after_crash(len(files.journal), Loss(kept=0), Random(1))
    assert recovered(cut).report.complete


async def test_a_segment_gets_its_name_or_waits_for_it_wherever_the_power_is_cut() -> None:
    files, unnamed = await unnamed_log()
    unnamed.sync()
    files.sync_directory(DIRECTORY)
    begin = len(files.journal)
    recovered(files)
    for at in range(begin, len(files.journal) + 1):
        for number, kept in enumerate((0.0, 0.5, 0.5, 0.5, 1.0)):
            cut = files.after_crash(at, Loss(kept=kept), Random(number))
            assert recovered(cut).report.complete
            assert not [name for name in cut.names(DIRECTORY) if name.endswith(NEW)]


NEARLY_FULL = TINY.model_copy(
    update={"segment_bytes_max": 65536, "allocation_bytes": 0, "reserve_bytes": 65536}
)


async def nearly_full_card(*, damaged: bool, aside: int = 0) -> SimulatedFiles:
    """A killed log on a card that has room for its last segment once more, and little else."""
    files = SimulatedFiles()
    log = EventLog.open(DIRECTORY, NEARLY_FULL, files, essential=[1])
    log.start()
    for number in range(1, 401):
        await log.append([Entry(1, b"%04d" % number + bytes(100))])
    killed = files.copy()
    await log.close()
    (path,) = (DIRECTORY / name for name in killed.names(DIRECTORY) if name.endswith(".log"))
    content = killed.content(path)
    if damaged:
        killed.damage(path, content[:200] + bytes([content[200] ^ 1]) + content[201:])
    killed.remove(DIRECTORY / "reserve")
    for number in range(aside):
        killed.damage(DIRECTORY / (file_name(number + 1) + DAMAGED), bytes(65536))
    used_bytes = sum(len(killed.content(DIRECTORY / n)) for n in killed.names(DIRECTORY))
    room_bytes = 1000 if aside else len(content) + 20_000
    killed.capacity_bytes = used_bytes + room_bytes
    return killed


@pytest.mark.parametrize(("damaged", "aside"), [(True, 0), (False, 0), (False, 4), (True, 4)])
async def test_a_nearly_full_card_boots_before_it_keeps_what_can_be_missed(
    damaged: bool, aside: int
) -> None:
    files = await nearly_full_card(damaged=damaged, aside=aside)
    for _ in range(2):
        log = EventLog.open(DIRECTORY, NEARLY_FULL, files, essential=[1])
        assert log.last_seq == 400
        assert len(log.read(1, 1000, 1 << 20)) == 400 - damaged
        await log.close()


async def test_what_is_kept_aside_makes_room_for_what_is_essential() -> None:
    files = await nearly_full_card(damaged=False, aside=4)
    log = EventLog.open(DIRECTORY, NEARLY_FULL, files, essential=[1])
    log.start()
    files.capacity_bytes += 30_000
    for number in range(300):
        await log.append([Entry(1, b"%04d" % number + bytes(100))])
    await log.close()


async def test_what_comes_behind_a_reduced_end_is_known_to_be_whole() -> None:
    """The file of the last segment is lost, and a reduced one becomes the last."""
    files, policy = SimulatedFiles(), Policy(removable=frozenset({4}))
    log = EventLog.open(DIRECTORY, TINY, files, policy=policy)
    log.start()
    for number in range(30):
        await log.append([Entry(4 if number % 5 else 5, b"%02d" % number)])
    while log.retention.reduce(log.last_seq):
        pass
    await log.close()
    files.remove(max(DIRECTORY / n for n in files.names(DIRECTORY) if n.endswith(".log")))
    for _ in range(2):
        log = EventLog.open(DIRECTORY, TINY, files, policy=policy)
        log.start()
        whole_from_seq = log.whole_from_seq
        for _ in range(20):
            await log.append([Entry(5, b"later")])
        assert log.whole_from_seq == whole_from_seq
        seqs = [record.seq for record in log.read(whole_from_seq, 1000, 1 << 20)]
        assert seqs == list(range(whole_from_seq, log.last_seq + 1))
        await log.close()


async def test_a_new_epoch_is_told_by_the_start_that_completes_it() -> None:
    files, _ = await killed_log(4)
    for name in files.names(DIRECTORY):
        if name.endswith(".log"):
            files.damage(DIRECTORY / name, Random(1).randbytes(300))
    begun_at = len(files.journal)
    recovered(files)
    for at in range(begun_at, len(files.journal) + 1):
        found = files.after_crash(at, Loss(kept=1.0), Random(1))
        assert not recovered(found).report.complete, f"cut at {at}"


async def test_a_newer_version_finds_its_files_as_it_left_them() -> None:
    files, segments = await killed_log(3)
    newer = bytearray(segments[0].data)
    newer[8] = 99
    newer[12:16] = crc32(newer[:12]).to_bytes(4, "little")
    for place in (segments[1].path, DIRECTORY / (file_name(999) + NEW)):
        found = files.copy()
        found.damage(DIRECTORY / ("x" + NEW), b"unfinished")
        found.damage(place, bytes(newer))
        names = found.names(DIRECTORY)
        with pytest.raises(LogFormatUnsupported):
            recovered(found)
        assert found.names(DIRECTORY) == names
