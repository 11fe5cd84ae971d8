"""One record as bytes: its frame, its checksum, its place in the chain. No files, no state.

    offset  size  field
         0     4  mark: C1 "rec"; C1 occurs neither in UTF-8 nor as a msgpack type
         4     4  CRC-32 of epoch, first sequence number of the segment, and all bytes from 8 on
         8     4  length of the whole frame
        12     2  position: how many records of the same group commit come before it
        14     1  flags: 1 first of its append, 2 last of its append, 4 seal, 8 removed
        15     1  data class
        16     8  sequence number
        24     n  body
      24+n    16  chain value

All numbers are little-endian. Where no frame begins there are zeros: the end of the data.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, NamedTuple
from uuid import UUID

MARK: Final = b"\xc1rec"
CHAIN_BYTES: Final = 16
CHAIN_START: Final = bytes(CHAIN_BYTES)
"""What the first record of a log continues from."""
CHAIN_UNKNOWN: Final = b""
"""Stands for the chain value of a record that is lost."""

FIRST: Final = 1
LAST: Final = 2
SEAL: Final = 4
REMOVED: Final = 8

POSITION_MAX: Final = 0xFFFF

_MARK_AND_CRC: Final = struct.Struct("<4sI")
_REST: Final = struct.Struct("<IHBBQ")
_HEAD: Final = struct.Struct("<4sIIHBBQ")
_CHAINED: Final = struct.Struct("<QB")
_UNCHAINED: Final = blake2b(digest_size=CHAIN_BYTES)
_COUNT: Final = struct.Struct("<Q")

HEAD_BYTES: Final = _MARK_AND_CRC.size + _REST.size
FRAME_BYTES_MIN: Final = HEAD_BYTES + CHAIN_BYTES
"""What a frame costs beyond its body."""
FRAME_BYTES_MAX: Final = FRAME_BYTES_MIN + 1024 * 1024
"""No setting lets a record be longer, so a greater length is damage."""
SEAL_BYTES: Final = FRAME_BYTES_MIN + _COUNT.size

SEQ_JUMP_MAX: Final = 2**40
"""So many numbers are never lost in one place, so a number further on is damage."""
SEARCH_RATIO: Final = 64
"""So many bytes may be checksummed in vain for each byte that is passed.

A damaged body can look like many long frames, each inside the one before it: without a bound, to
look for the next sound one there would take hours.
"""


class Entry(NamedTuple):
    """What a caller appends: a data class (0 to 255) and a body, which the log does not read."""

    data_class: int
    body: bytes


class Frame(NamedTuple):
    """A frame that passed its checks, and where it stands."""

    offset_bytes: int
    end_bytes: int
    position: int
    flags: int
    data_class: int
    seq: int
    body: bytes
    chain: bytes

    @property
    def size_bytes(self) -> int:
        """What it takes, with its body."""
        return self.end_bytes - self.offset_bytes

    @property
    def is_seal(self) -> bool:
        """Whether it is no record but the mark that all before it is durable."""
        return bool(self.flags & SEAL)

    @property
    def is_record(self) -> bool:
        """Whether it is a record, and not a mark of the log's own."""
        return not self.flags & (SEAL | REMOVED)

    @property
    def is_reduced(self) -> bool:
        """Whether it says that confirmed records were removed, or could be: so does a seal."""
        return bool(self.flags & REMOVED)

    @property
    def begin_seq(self) -> int:
        """The first number that it stands for: it follows the one before that."""
        if self.is_seal:
            return self.seq + 1
        return int(_COUNT.unpack(self.body)[0]) if self.is_reduced else self.seq

    @property
    def proven_seq(self) -> int:
        """The last record that was durable before this frame was written."""
        return self.seq - self.position - 1 if self.is_record else self.seq

    @property
    def record_count(self) -> int:
        """How many records a seal says come before it in its segment, the removed ones included."""
        return int(_COUNT.unpack(self.body)[0])


def salt_of(epoch: UUID, first_seq: int) -> int:
    """Where a segment's checksums start, so that no frame of another segment passes in it."""
    return zlib.crc32(epoch.bytes + first_seq.to_bytes(8, "little"))


def next_chain(chain: bytes, seq: int, data_class: int, body: bytes) -> bytes:
    """Chain a record to the value of the one before it."""
    digest = _UNCHAINED.copy()  # cheaper than to make one
    digest.update(chain + _CHAINED.pack(seq, data_class) + body)
    return digest.digest()


def encode(
    salt: int, position: int, flags: int, data_class: int, seq: int, body: bytes, chain: bytes
) -> bytes:
    """Write a frame; `chain` is the record's own value, or that of the one before a seal."""
    length = FRAME_BYTES_MIN + len(body)
    rest = _REST.pack(length, position, flags, data_class, seq) + body + (chain or CHAIN_START)
    return _MARK_AND_CRC.pack(MARK, zlib.crc32(rest, salt)) + rest


def encode_seal(
    salt: int, seq: int, chain: bytes, record_count: int, *, is_reduced: bool = False
) -> bytes:
    """Write the mark that every record up to `seq` is durable."""
    flags = SEAL | REMOVED * is_reduced
    return encode(salt, 0, flags, 0, seq, _COUNT.pack(record_count), chain)


def encode_removed(salt: int, first_seq: int, last_seq: int, chain: bytes) -> bytes:
    """Write the mark that stands where confirmed records were; `chain` is the last one's."""
    return encode(salt, 0, REMOVED, 0, last_seq, _COUNT.pack(first_seq), chain)


def decode(data: bytes, offset_bytes: int, salt: int, seq: int) -> Frame | None:
    """Read the frame at an offset; None if no whole and sound frame of this segment is there.

    `seq` is the lowest sequence number that may come.
    """
    frame = _claimed(data, offset_bytes, seq, FRAME_BYTES_MAX)
    return frame if frame is not None and _is_sound(memoryview(data), frame, salt) else None


def claims(data: bytes, offset_bytes: int) -> Iterator[Frame]:
    """Give what every mark from an offset on claims to begin, without body and chain value."""
    offset = data.find(MARK, offset_bytes)
    while 0 <= offset <= len(data) - HEAD_BYTES:
        _, _, length, position, flags, data_class, seq = _HEAD.unpack_from(data, offset)
        yield Frame(offset, offset + length, position, flags, data_class, seq, b"", b"")
        offset = data.find(MARK, offset + 1)


def scan(data: bytes, offset_bytes: int, salt: int, seq: int) -> Iterator[Frame]:
    """Give every sound frame from an offset on, whatever lies between them.

    `seq` is the lowest sequence number that may come. A hole shows as a frame that does not begin
    where the one before it ended.
    """
    at, in_vain_bytes = offset_bytes, 0
    view = memoryview(data)
    while at >= 0:
        bytes_max = FRAME_BYTES_MAX + SEARCH_RATIO * (at - offset_bytes) - in_vain_bytes
        frame = _claimed(data, at, seq, bytes_max)
        if frame is not None:
            if _is_sound(view, frame, salt):
                yield frame
                at, seq = frame.end_bytes, frame.seq + 1
                continue
            in_vain_bytes += frame.size_bytes
        at = data.find(MARK, at + 1)


def _claimed(data: bytes, offset_bytes: int, seq: int, bytes_max: int) -> Frame | None:
    """Read what says that it is a frame; None if none of its length or number can be there."""
    if len(data) - offset_bytes < FRAME_BYTES_MIN:
        return None
    mark, _, length, position, flags, data_class, its_seq = _HEAD.unpack_from(data, offset_bytes)
    end = offset_bytes + length
    if mark != MARK or not FRAME_BYTES_MIN <= length <= FRAME_BYTES_MAX or end > len(data):
        return None
    if length > bytes_max or (flags & (SEAL | REMOVED) and length != SEAL_BYTES):
        return None
    if its_seq + bool(flags & SEAL) < seq or its_seq >= seq + SEQ_JUMP_MAX:
        return None
    body_end = end - CHAIN_BYTES
    body, chain = data[offset_bytes + HEAD_BYTES : body_end], data[body_end:end]
    if flags & SEAL and its_seq > 0 and chain == CHAIN_START:
        chain = CHAIN_UNKNOWN  # a segment behind a lost end was sealed before it held a record
    frame = Frame(offset_bytes, end, position, flags, data_class, its_seq, body, chain)
    return frame if frame.is_record or seq <= frame.begin_seq <= its_seq + 1 else None


def _is_sound(view: memoryview, frame: Frame, salt: int) -> bool:
    crc: int = _MARK_AND_CRC.unpack_from(view, frame.offset_bytes)[1]
    return zlib.crc32(view[frame.offset_bytes + _MARK_AND_CRC.size : frame.end_bytes], salt) == crc
