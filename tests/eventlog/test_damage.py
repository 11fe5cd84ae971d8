"""Every way in which a small log can be damaged: it opens, and loses only what was damaged."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import pytest

from teddy_edge.errors import LogFormatUnsupported
from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.eventlog.files import BLOCK_BYTES
from teddy_edge.eventlog.origin import ORIGIN_NAME, decode_origin
from teddy_edge.eventlog.segment import HEADER_BYTES, file_name
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from tests.eventlog.histories import (
    APPEND_SIZES,
    DIRECTORY,
    TINY,
    Found,
    Layout,
    append,
    closed_log,
    examine,
    layouts,
    write_history,
)

ALL = list(range(1, sum(APPEND_SIZES) + 1))


async def killed_log() -> tuple[SimulatedFiles, list[Layout]]:
    """A log whose process died without closing it."""
    files = SimulatedFiles()
    log = await write_history(files)
    killed = files.copy()
    await log.close()
    return killed, layouts(killed)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def expect(found: Found, lost: Iterable[int]) -> None:
    """Exactly these are lost, and the report says so."""
    lost = sorted(lost)
    assert found.seqs == [seq for seq in ALL if seq not in lost]
    assert found.gap_seqs == lost
    assert found.missing_count == len(lost)


async def test_a_log_that_was_closed_is_whole() -> None:
    files, _ = await closed_log()
    expect(await examine(files), [])


async def test_a_log_that_was_killed_is_whole() -> None:
    files, _ = await killed_log()
    expect(await examine(files), [])


async def test_every_flipped_bit_of_a_closed_log_loses_at_most_the_record_it_lies_in() -> None:
    files, segments = await closed_log()
    for segment in segments:
        for bit in range(len(segment.data) * 8):
            damaged = files.copy()
            damaged.damage(segment.path, flipped(segment.data, bit))
            expect(await examine(damaged), _records_at(segment, bit // 8))


def _records_at(segment: Layout, offset_bytes: int) -> list[int]:
    return [f.seq for f in segment.records if f.offset_bytes <= offset_bytes < f.end_bytes]


async def test_a_flipped_bit_in_the_last_commit_of_a_killed_log_loses_at_most_that_append() -> None:
    """Without a seal nobody can tell it from a write that was torn: half an append goes too."""
    files, segments = await killed_log()
    segment = segments[-1]
    last = segment.records[-1]
    last_append = [f for f in segment.records if f.seq >= last.seq - last.position]
    for bit in range(len(segment.data) * 8):
        damaged = files.copy()
        damaged.damage(segment.path, flipped(segment.data, bit))
        found = await examine(damaged)
        lost = _records_at(segment, bit // 8)
        if set(lost) & {frame.seq for frame in last_append}:
            assert found.seqs == ALL[: -len(last_append)]
            assert found.missing_count == 0
            assert found.torn_bytes > 0
        else:
            expect(found, lost)


async def test_every_flipped_bit_of_the_origin_file_loses_nothing() -> None:
    files, _ = await closed_log()
    path = DIRECTORY / ORIGIN_NAME
    whole = files.content(path)
    for bit in range(len(whole) * 8):
        damaged = files.copy()
        damaged.damage(path, flipped(whole, bit))
        expect(await examine(damaged), [])
        assert damaged.content(path) == whole


async def test_the_last_segment_cut_at_any_byte_keeps_every_whole_append_before_it() -> None:
    for files, segments in (await closed_log(), await killed_log()):
        segment = segments[-1]
        before = [seq for earlier in segments[:-1] for seq in earlier.seqs]
        for size in range(len(segment.data)):
            damaged = files.copy()
            damaged.damage(segment.path, segment.data[:size])
            found = await examine(damaged)
            assert found.seqs == before + _whole_appends(segment, size)
            lost = range(segment.seqs[0], found.last_seq + 1) if size < HEADER_BYTES else []
            assert found.gap_seqs == list(lost)
            assert found.torn_bytes == _torn_bytes(segment, size)


def _whole_appends(segment: Layout, size: int) -> list[int]:
    ends = {frame.seq: frame.end_bytes for frame in segment.records}
    whole: list[int] = []
    seq = 1
    for length in APPEND_SIZES:
        seqs = range(seq, seq + length)
        seq += length
        if seqs[0] in ends and ends[seqs[-1]] <= size:
            whole += seqs
    return whole


def _torn_bytes(segment: Layout, size: int) -> int:
    kept = [f for f in segment.frames if f.end_bytes <= size]
    whole = _whole_appends(segment, size)
    kept_end = max([HEADER_BYTES, *(f.end_bytes for f in kept if f.seq in whole)])
    return max(len(segment.data[:size].rstrip(b"\0")) - kept_end, 0) if kept or size else 0


@pytest.mark.parametrize("filling", [b"", b"\0", b"\xff"], ids=["cut", "zeros", "ones"])
async def test_an_earlier_segment_spoilt_from_a_record_on_loses_the_rest_of_it(
    filling: bytes,
) -> None:
    files, segments = await closed_log()
    for segment in segments[:-1]:
        for border in [HEADER_BYTES, *(frame.end_bytes for frame in segment.records)]:
            damaged = files.copy()
            size = len(segment.data) - border
            damaged.damage(segment.path, segment.data[:border] + filling * size)
            expect(
                await examine(damaged), [f.seq for f in segment.records if f.offset_bytes >= border]
            )


@pytest.mark.parametrize("filling", [b"\0", b"\xff"], ids=["zeros", "ones"])
async def test_the_last_segment_spoilt_from_a_record_on_keeps_what_is_before(
    filling: bytes,
) -> None:
    files, segments = await closed_log()
    segment = segments[-1]
    before = [seq for earlier in segments[:-1] for seq in earlier.seqs]
    for border in [HEADER_BYTES, *(frame.end_bytes for frame in segment.records)]:
        for more in (0, 1, 5000):
            damaged = files.copy()
            size = len(segment.data) - border + more
            damaged.damage(segment.path, segment.data[:border] + filling * size)
            found = await examine(damaged)
            assert found.seqs == before + _whole_appends(segment, border)


@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"\xc1rec"], ids=["zeros", "ones", "marks"])
async def test_bytes_after_the_last_record_lose_nothing(filling: bytes) -> None:
    for files, segments in (await closed_log(), await killed_log()):
        for more in (1, 47, 512, 5000):
            damaged = files.copy()
            damaged.damage(segments[-1].path, segments[-1].data + filling * more)
            expect(await examine(damaged), [])


async def test_a_spoilt_block_in_any_segment_loses_only_the_records_that_touch_it() -> None:
    files, segments = await closed_log()
    for segment in segments:
        for begin in range(0, len(segment.data), 16):
            for filling in (b"\0", b"\xff"):
                damaged = files.copy()
                end = min(begin + 64, len(segment.data))
                data = segment.data[:begin] + filling * (end - begin) + segment.data[end:]
                damaged.damage(segment.path, data)
                touched = [
                    f.seq for f in segment.records if f.offset_bytes < end and f.end_bytes > begin
                ]
                found = await examine(damaged)
                if segment is segments[-1] and end > segment.frames[-1].offset_bytes:
                    assert set(found.seqs) >= set(ALL) - set(_last_appends(touched))
                else:
                    expect(found, touched)


def _last_appends(touched: list[int]) -> list[int]:
    return list(range(min(touched, default=ALL[-1]), ALL[-1] + 1))


@pytest.mark.parametrize("which", [0, 1, -2, -1])
async def test_a_missing_segment_is_a_gap_unless_nothing_comes_after_it(which: int) -> None:
    files, segments = await closed_log()
    files.remove(segments[which].path)
    found = await examine(files)
    if which == -1:
        assert found.seqs == ALL[: -len(segments[-1].seqs)]
    else:
        expect(found, segments[which].seqs)


@pytest.mark.parametrize("which", [0, 1, -2, -1])
@pytest.mark.parametrize("content", [b"", bytes(4096), b"\xff" * 4096], ids=["empty", "0", "1"])
async def test_a_segment_without_content_is_set_aside_and_is_a_gap(
    which: int, content: bytes
) -> None:
    files, segments = await closed_log()
    files.damage(segments[which].path, content)
    found = await examine(files)
    if which == -1:
        assert found.seqs == ALL[: -len(segments[-1].seqs)]
    else:
        expect(found, segments[which].seqs)
    assert segments[which].path.name + ".damaged" in files.names(DIRECTORY)


async def test_a_segment_under_a_second_name_changes_nothing() -> None:
    files, segments = await closed_log()
    for segment in segments:
        for number in (2, 5, 7, 1_000_000):
            doubled = files.copy()
            doubled.damage(DIRECTORY / file_name(number), segment.data)
            expect(await examine(doubled), [])


async def test_a_segment_of_another_log_is_set_aside() -> None:
    files, segments = await closed_log()
    _, others = await closed_log()
    files.damage(segments[1].path, others[1].data)
    expect(await examine(files), segments[1].seqs)


async def test_a_record_of_another_log_in_free_space_does_not_come_back_to_life() -> None:
    files, segments = await killed_log()
    last = segments[-1]
    for others_are in ("another log", "an older segment"):
        _, others = await closed_log()
        source = others[-1] if others_are == "another log" else segments[0]
        for frame in source.records:
            stale = files.copy()
            end = last.records[-1].end_bytes
            record = source.data[frame.offset_bytes : frame.end_bytes]
            stale.damage(last.path, last.data[:end] + record + bytes(100))
            expect(await examine(stale), [])


async def test_the_next_record_of_a_log_that_was_longer_does_not_come_back_to_life() -> None:
    """Two logs that give the same numbers at the same offsets differ in their epoch alone."""
    files, segments = await killed_log()
    longer = SimulatedFiles()
    await (await write_history(longer, [*APPEND_SIZES, 1, 1])).close()
    end = segments[-1].records[-1].end_bytes
    files.damage(segments[-1].path, segments[-1].data[:end] + layouts(longer)[-1].data[end:])
    expect(await examine(files), [])


async def test_a_name_lost_after_the_rename_is_given_again() -> None:
    files, segments = await closed_log()
    for segment in segments:
        unnamed = files.copy()
        unnamed.rename(segment.path, segment.path.with_name(segment.path.name + ".new"))
        expect(await examine(unnamed), [])


async def test_where_nothing_survives_a_log_of_another_epoch_begins() -> None:
    files, segments = await closed_log()
    for segment in segments:
        files.damage(segment.path, b"\xff" * 100)
    origin = decode_origin(files.content(DIRECTORY / ORIGIN_NAME))
    log = EventLog.open(DIRECTORY, TINY, files)
    await log.close()
    assert origin is not None
    assert log.epoch != origin.epoch
    old = files.names(DIRECTORY)
    assert log.last_seq == 0
    assert [segment.path.name + ".damaged" in old for segment in segments] == [True] * len(segments)
    assert (await examine(files)).seqs == []


async def test_numbers_that_are_known_elsewhere_are_not_given_again() -> None:
    files, segments = await closed_log()
    files.remove(segments[-1].path)
    log = EventLog.open(DIRECTORY, TINY, files)
    kept = log.last_seq
    log.skip_beyond(kept)
    assert log.report.complete
    log.skip_beyond(ALL[-1])
    assert log.report.missing_count == ALL[-1] - kept
    log.start()
    assert await append(log, 1) == ALL[-1] + 1
    assert log.read(kept + 1, 1, 1)[0].seq == ALL[-1] + 1
    await log.close()
    found = await examine(files)
    assert found.seqs == [*range(1, kept + 1), ALL[-1] + 1]
    assert found.gap_seqs == list(range(kept + 1, ALL[-1] + 1))


async def test_a_newer_format_is_refused_by_name_and_left_as_it_is() -> None:
    files, segments = await closed_log()
    start = b"TEDDYLOG" + (2).to_bytes(4, "little")
    version_2 = start + crc32(start).to_bytes(4, "little") + b"\xff" * 100
    files.damage(segments[0].path, version_2)
    before = {name: files.content(DIRECTORY / name) for name in files.names(DIRECTORY)}
    with pytest.raises(LogFormatUnsupported) as caught:
        EventLog.open(DIRECTORY, TINY, files)
    assert (caught.value.path, caught.value.found) == (segments[0].path, 2)
    assert caught.value.supported == 1
    assert {name: files.content(DIRECTORY / name) for name in files.names(DIRECTORY)} == before


async def test_a_block_that_cannot_be_read_costs_only_the_records_in_it() -> None:
    files, segments = await closed_log()
    for segment in segments:
        for block in range(-(-len(segment.data) // BLOCK_BYTES)):
            unreadable = files.copy()
            unreadable.make_unreadable(segment.path, block)
            begin, end = block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES
            touched = [
                f.seq for f in segment.records if f.offset_bytes < end and f.end_bytes > begin
            ]
            found = await examine(unreadable)
            assert set(ALL) - set(found.seqs) == set(touched)


async def test_a_damaged_tail_is_kept_aside_whole_and_a_torn_one_in_part() -> None:
    files, segments = await killed_log()
    last = segments[-1]
    content = last.data[: last.frames[-1].end_bytes]
    middle = last.frames[0].end_bytes - 1
    torn = b"torn bytes"
    for spoilt in (content, content[:middle] + b"\0" + content[middle + 1 :]):
        damaged = files.copy()
        damaged.damage(last.path, spoilt + torn)
        log = EventLog.open(DIRECTORY, TINY, damaged)
        await log.close()
        report = log.report
        assert report.torn_file == DIRECTORY / f"{ALL[-1] + 1:020d}.torn"
        assert damaged.content(report.torn_file) == torn
        assert report.torn_bytes == len(torn)
        aside = last.path.with_name(last.path.name + ".damaged")
        if spoilt is content:
            assert report.quarantined == []
            assert aside.name not in damaged.names(DIRECTORY)
        else:
            assert report.quarantined == [aside]
            assert damaged.content(aside) == spoilt + torn
            assert [damage.path for damage in report.damage] == [last.path]


async def test_where_the_last_segment_is_of_another_log_the_one_before_it_grows() -> None:
    files, segments = await closed_log()
    _, others = await closed_log()
    files.damage(segments[-1].path, others[-1].data)
    roomy = TINY.model_copy(update={"segment_bytes_max": 8192})
    log = EventLog.open(DIRECTORY, roomy, files)
    log.start()
    first = log.last_seq + 1
    for number in range(100):
        assert await log.append([Entry(5, b"x")]) == first + number
        assert log.read(first + number, 10, 1 << 20)[0].seq == first + number
    assert [r.seq for r in log.read(1, 1000, 1 << 20)] == list(range(1, first + 100))
    await log.close()


async def test_what_is_kept_aside_is_bounded() -> None:
    files, segments = await closed_log()
    settings = TINY.model_copy(update={"quarantine_bytes_max": 1000, "torn_bytes_max": 1024})
    for number in range(20):
        files.damage(DIRECTORY / file_name(1000 + number), bytes([number]) * 300)
    files.damage(segments[-1].path, segments[-1].data + b"\xff" * 100_000)
    log = EventLog.open(DIRECTORY, settings, files)
    await log.close()
    aside = [name for name in files.names(DIRECTORY) if name.endswith((".torn", ".damaged"))]
    assert sum(len(files.content(DIRECTORY / name)) for name in aside) <= 1000
    assert log.read(1, 1000, 1 << 20)[-1].seq == ALL[-1]
