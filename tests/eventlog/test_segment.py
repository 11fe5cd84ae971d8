"""One segment: its header, and what its index gives to read."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID
from zlib import crc32

import pytest

from teddy_edge.errors import LogFormatUnsupported
from teddy_edge.eventlog.frame import CHAIN_UNKNOWN
from teddy_edge.eventlog.segment import (
    FIRST_SEQ_MAX,
    HEADER_BYTES,
    MARK_BYTES,
    MARK_RECORDS,
    Header,
    Mark,
    Region,
    Segment,
    assumed_header,
    decode_header,
    encode_header,
    file_name,
    first_seq_of,
)

RECORD_BYTES = 100
SPACING_BYTES = MARK_RECORDS * RECORD_BYTES
FIRST_SEQ = 11


def chain_of(seq: int) -> bytes:
    return seq.to_bytes(16, "big")


def empty_segment() -> Segment:
    header = Header(UUID(int=1), FIRST_SEQ, chain_of(FIRST_SEQ - 1))
    return Segment.empty(Path("/log/segment"), header)


def segment_of(count: int) -> Segment:
    """Equally large records, so that the marks are equally far from each other."""
    segment = empty_segment()
    for seq in range(FIRST_SEQ, FIRST_SEQ + count):
        end_bytes = segment.end_bytes + RECORD_BYTES
        segment.note(seq, segment.end_bytes, end_bytes, chain_of(seq))
    return segment


def mark(number: int) -> Mark:
    seq = FIRST_SEQ + number * MARK_RECORDS
    return Mark(seq, HEADER_BYTES + number * SPACING_BYTES, chain_of(seq - 1))


def part(first: int, after: int) -> Region:
    """From one mark to another."""
    return Region(mark(first), mark(after).offset_bytes, mark(after).seq - 1)


@pytest.mark.parametrize(
    ("seq", "records_max", "bytes_max", "expected"),
    [
        (mark(0).seq, 1, 1, part(0, 1)),
        (mark(0).seq - 5, 1, 1, part(0, 1)),
        (mark(1).seq - 1, 1, 1, part(0, 1)),
        (mark(1).seq, 1, 1, part(1, 2)),
        (mark(2).seq + 1, 1, 1, part(2, 3)),
        (mark(0).seq, MARK_RECORDS, 1 << 20, part(0, 1)),
        (mark(0).seq, MARK_RECORDS + 1, 1 << 20, part(0, 2)),
        (mark(0).seq + 1, MARK_RECORDS, 1 << 20, part(0, 2)),
        (mark(0).seq, 1000, SPACING_BYTES, part(0, 1)),
        (mark(0).seq, 1000, SPACING_BYTES + 1, part(0, 2)),
        (mark(1).seq, 1000, SPACING_BYTES, part(1, 2)),
    ],
)
def test_a_region_goes_from_the_mark_before_to_the_first_mark_that_is_enough(
    seq: int, records_max: int, bytes_max: int, expected: Region
) -> None:
    segment = segment_of(4 * MARK_RECORDS)
    assert segment.region(seq, records_max, bytes_max) == expected


def test_a_region_that_wants_more_than_there_is_goes_to_the_end() -> None:
    segment = segment_of(4 * MARK_RECORDS)
    end = (segment.end_bytes, segment.last_seq)
    assert segment.region(mark(1).seq, 1000, 1 << 20) == Region(mark(1), *end)
    assert segment.region(mark(3).seq, 1, 1) == Region(mark(3), *end)


def test_a_mark_behind_a_gap_does_not_know_the_chain() -> None:
    segment = segment_of(MARK_RECORDS)
    seq, offset_bytes = segment.last_seq + 2, segment.end_bytes
    segment.note(seq, offset_bytes, offset_bytes + RECORD_BYTES, chain_of(seq))
    assert segment.marks == [mark(0), Mark(seq, offset_bytes, CHAIN_UNKNOWN)]


@pytest.mark.parametrize(("beyond_bytes", "mark_count"), [(0, 1), (1, 2)])
def test_a_mark_is_set_where_the_last_one_would_be_too_far(
    beyond_bytes: int, mark_count: int
) -> None:
    segment, end_bytes = segment_of(1), HEADER_BYTES + MARK_BYTES + beyond_bytes
    segment.note(FIRST_SEQ + 1, segment.end_bytes, end_bytes, chain_of(FIRST_SEQ + 1))
    assert segment.marks is not None
    assert len(segment.marks) == mark_count


def test_a_segment_that_has_lost_all_its_records_gives_an_empty_region_at_its_end() -> None:
    segment = empty_segment()
    segment.last_seq, segment.end_bytes = 20, 112
    assert segment.region(15, 10, 1000) == Region(Mark(15, 112, b""), 112, 20)


def test_an_emptied_segment_keeps_its_place_and_forgets_its_content() -> None:
    assert segment_of(5).emptied() == empty_segment()


def test_a_newer_version_is_known_by_the_first_sixteen_bytes() -> None:
    start = b"TEDDYLOG" + (2).to_bytes(4, "little")
    with pytest.raises(LogFormatUnsupported) as caught:
        decode_header(Path("/log/segment"), start + crc32(start).to_bytes(4, "little"))
    assert caught.value.path == Path("/log/segment")


@pytest.mark.parametrize("chain", [chain_of(7), CHAIN_UNKNOWN])
def test_a_header_is_read_as_it_was_written(chain: bytes) -> None:
    header = Header(UUID(int=1), 8, chain)
    assert decode_header(Path("/log/segment"), encode_header(header)) == header


def test_only_a_number_that_a_segment_may_begin_with_is_one() -> None:
    assert first_seq_of(file_name(1)) == 1
    assert first_seq_of(file_name(FIRST_SEQ_MAX)) == FIRST_SEQ_MAX
    assert first_seq_of(file_name(0)) is None
    assert first_seq_of(file_name(FIRST_SEQ_MAX + 1)) is None


def test_a_header_is_assumed_from_its_name_and_the_segment_before() -> None:
    epoch, before = UUID(int=1), segment_of(10)
    following = before.last_seq + 1
    for first_seq, neighbour, chain in [
        (1, None, bytes(16)),
        (2, None, b""),
        (following, before, before.chain),
        (following + 1, before, b""),
        (following - 1, before, b""),
    ]:
        expected = Header(epoch, first_seq, chain)
        assert assumed_header(epoch, file_name(first_seq), neighbour) == expected
