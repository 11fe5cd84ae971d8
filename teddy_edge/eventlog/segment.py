"""One segment file: its header, its index, and reading records out of it.

    offset  size  field
         0     8  magic: "TEDDYLOG"
         8     4  format version
        12     4  CRC-32 of bytes 0 to 11; these 16 bytes stay the same in every version
        16    16  epoch
        32     8  sequence number of the first record
        40    16  chain value that the first record continues from
        56     4  CRC-32 of bytes 0 to 55
        60     4  zeros
        64        frames

The header says twice whether it can be trusted, so that a damaged version is never taken for a
newer one.
"""

from __future__ import annotations

import re
import struct
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from teddy_edge.errors import LogFormatUnsupported
from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.files import Files
from teddy_edge.eventlog.frame import CHAIN_START, CHAIN_UNKNOWN, Frame
from teddy_edge.eventlog.whole_files import read_bytes, refuse_shortage

FORMAT_VERSION: Final = 1
MAGIC: Final = b"TEDDYLOG"
HEADER_BYTES: Final = 64
FIRST_SEQ_MAX: Final = 2**63
"""No log gets so far; and there are numbers behind it, for those who do arithmetic."""
INDEXES_MAX: Final = 32
"""Finished segments that keep their index for having been written last, or read last."""
MARK_RECORDS: Final = 32
MARK_BYTES: Final = 64 * 1024

_PREAMBLE: Final = struct.Struct("<8sII")
_BODY: Final = struct.Struct("<16sQ16s")
_CRC: Final = struct.Struct("<I4x")
_NAME: Final = re.compile(r"([0-9]{20})\.log")


class Header(NamedTuple):
    """What a segment says of itself."""

    epoch: UUID
    first_seq: int
    chain: bytes
    """The chain value that its first record continues from; empty if unknown (zeros on disk)."""


class StoredRecord(NamedTuple):
    """A record as it was read back.

    `chain_before` is the chain value of the record before it, and empty if that one is lost.
    """

    seq: int
    data_class: int
    body: bytes
    chain_before: bytes
    chain: bytes


def file_name(first_seq: int) -> str:
    """Name the segment that begins with a sequence number."""
    return f"{first_seq:020d}.log"


def first_seq_of(name: str) -> int | None:
    """Read the sequence number out of a segment's name; None for any other name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match and 0 < int(match[1]) <= FIRST_SEQ_MAX else None


def encode_header(header: Header) -> bytes:
    """Write a header of this version."""
    data = _PREAMBLE.pack(MAGIC, FORMAT_VERSION, zlib.crc32(MAGIC + _version(FORMAT_VERSION)))
    data += _BODY.pack(header.epoch.bytes, header.first_seq, header.chain)
    return data + _CRC.pack(zlib.crc32(data))


def decode_header(path: Path, data: bytes) -> Header | None:
    """Read a header; None if it is damaged.

    Raises `LogFormatUnsupported` for a sound header of a newer version.
    """
    if len(data) < _PREAMBLE.size:
        return None
    magic, version, preamble_crc = _PREAMBLE.unpack_from(data)
    if magic != MAGIC or zlib.crc32(MAGIC + _version(version)) != preamble_crc:
        return None
    if version > FORMAT_VERSION:
        raise LogFormatUnsupported(path, version, FORMAT_VERSION)
    crc_offset = _PREAMBLE.size + _BODY.size
    if len(data) < HEADER_BYTES or data[crc_offset:HEADER_BYTES] != _CRC.pack(
        zlib.crc32(data[:crc_offset])
    ):
        return None
    epoch, first_seq, chain = _BODY.unpack_from(data, _PREAMBLE.size)
    is_known = first_seq == 1 or any(chain)
    return Header(UUID(bytes=epoch), first_seq, chain if is_known else CHAIN_UNKNOWN)


def read_header(files: Files, path: Path) -> Header | None:
    """Read the header of a file; None if it is damaged, or the file cannot be opened.

    Raises `LogFormatUnsupported` as `decode_header` does.
    """
    try:
        return decode_header(path, read_bytes(files, path, 0, HEADER_BYTES))
    except OSError as error:
        refuse_shortage(error)
        return None


def _version(number: int) -> bytes:
    return number.to_bytes(4, "little")


class Mark(NamedTuple):
    """A place in a segment from which its frames can be read."""

    seq: int
    offset_bytes: int
    chain_before: bytes


@dataclass(slots=True)
class Segment:
    """A segment file, what is known of its content, and its index once it was read or written."""

    path: Path
    first_seq: int
    salt: int
    chain_before: bytes
    """The chain value its first record continues from; empty if unknown."""
    last_seq: int
    """The last durable record; `first_seq - 1` when there is none."""
    chain: bytes
    """The chain value of the last record."""
    end_bytes: int = HEADER_BYTES
    """Where the durable frames end."""
    record_count: int = 0
    """How many records it holds or held; fewer than its range where some are lost.

    Those that retention removed after confirmation count, since they are not lost.
    """
    is_reduced: bool = False
    """Whether retention has taken from it what may leave after confirmation."""
    class_bytes: Counter[int] | None = None
    """What each data class takes, once retention has looked."""
    marks: list[Mark] | None = field(default_factory=list)
    """The index, or None while the segment was not scanned."""

    @classmethod
    def empty(cls, path: Path, header: Header) -> Segment:
        """Describe a segment that holds no record."""
        salt = framing.salt_of(header.epoch, header.first_seq)
        return cls(
            path, header.first_seq, salt, header.chain, header.first_seq - 1, header.chain
        )  # fmt: skip

    def emptied(self) -> Segment:
        """The same segment as if nothing of its content were known."""
        last_seq = self.first_seq - 1
        return Segment(
            self.path, self.first_seq, self.salt, self.chain_before, last_seq, self.chain_before
        )

    @property
    def missing_count(self) -> int:
        """How many records of its range are lost."""
        return self.last_seq - self.first_seq + 1 - self.record_count

    def note(self, seq: int, offset_bytes: int, end_bytes: int, chain: bytes) -> None:
        """Take up a record, in order."""
        marks = self.marks
        assert marks is not None, "a segment that grows has its index"
        is_due = not marks or self.record_count % MARK_RECORDS == 0
        if is_due or end_bytes - marks[-1].offset_bytes > MARK_BYTES:
            before = self.chain if seq == self.last_seq + 1 else CHAIN_UNKNOWN
            marks.append(Mark(seq, offset_bytes, before))
        self.last_seq, self.chain, self.end_bytes = seq, chain, end_bytes
        self.record_count += 1

    def note_frame(self, frame: Frame) -> None:
        """Take up a frame that was read, in order."""
        if frame.is_record:
            self.note(frame.seq, frame.offset_bytes, frame.end_bytes, frame.chain)
            return
        if not frame.is_seal:
            self.record_count += frame.seq - frame.begin_seq + 1
        self.is_reduced = self.is_reduced or frame.is_reduced
        self.last_seq, self.chain, self.end_bytes = frame.seq, frame.chain, frame.end_bytes

    def region(self, seq: int, records_max: int, bytes_max: int) -> Region:
        """Choose what to read for the records from `seq` on: from one mark to another.

        It holds at least the record `seq` if that one exists.
        """
        marks = self.marks
        assert marks is not None, "the index is built before it is asked"
        at = max(bisect_right(marks, seq, key=attrgetter("seq")) - 1, 0)
        if at >= len(marks):
            return Region(Mark(seq, self.end_bytes, CHAIN_UNKNOWN), self.end_bytes, self.last_seq)
        start = marks[at]
        for mark in marks[at + 1 :]:
            is_far = mark.offset_bytes - start.offset_bytes >= bytes_max
            if mark.seq > seq and (is_far or mark.seq >= seq + records_max):
                return Region(start, mark.offset_bytes, mark.seq - 1)
        return Region(start, self.end_bytes, self.last_seq)


def assumed_header(epoch: UUID, name: str, before: Segment | None) -> Header:
    """What a segment's header must say, going by its name and the segment before it."""
    first_seq = first_seq_of(name)
    assert first_seq is not None
    if before is None:
        return Header(epoch, first_seq, CHAIN_START if first_seq == 1 else CHAIN_UNKNOWN)
    follows = before.last_seq + 1 == first_seq
    return Header(epoch, first_seq, before.chain if follows else CHAIN_UNKNOWN)


class Region(NamedTuple):
    """A part of a segment that begins and ends between frames."""

    start: Mark
    end_bytes: int
    last_seq: int
    """The last sequence number that can stand in it."""


def read_region(files: Files, segment: Segment, region: Region) -> Iterator[StoredRecord]:
    """Read the records of a region; what is damaged in it is passed over."""
    start = region.start
    size_bytes = region.end_bytes - start.offset_bytes
    data = read_bytes(files, segment.path, start.offset_bytes, size_bytes)
    expected, chain = start.seq, start.chain_before
    for frame in framing.scan(data, 0, segment.salt, start.seq):
        if frame.is_record:
            before = chain if frame.seq == expected else CHAIN_UNKNOWN
            yield StoredRecord(frame.seq, frame.data_class, frame.body, before, frame.chain)
        expected, chain = frame.seq + 1, frame.chain
