"""The one writer: gathers what waits into a batch, puts it on the device, then says so.

Everything here runs on the writer's own thread. A failed write or fsync raises `LogPoisoned` and
is never tried again: the kernel may have dropped the bytes and report success next time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple
from uuid import UUID

from teddy_edge.errors import LogPoisoned
from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.files import File, Files
from teddy_edge.eventlog.frame import FIRST, FRAME_BYTES_MIN, LAST, POSITION_MAX, SEAL_BYTES, Entry
from teddy_edge.eventlog.recovery import create_segment
from teddy_edge.eventlog.reserve import Reserve
from teddy_edge.eventlog.segment import INDEXES_MAX, Header, Segment
from teddy_edge.settings import LogSettings


class Append(NamedTuple):
    """Entries that are recovered together or not at all, with their numbers."""

    first_seq: int
    entries: Sequence[Entry]
    size_bytes: int
    """With frames."""


def framed_bytes(entries: Sequence[Entry]) -> int:
    """What entries take up in a segment."""
    return sum([len(body) for _, body in entries]) + FRAME_BYTES_MIN * len(entries)


class WriteQueue:
    """What waits for the writer. The loop puts, the writer's thread takes."""

    def __init__(self) -> None:
        self._waiting: deque[Append] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._is_idle = False
        self._is_closed = False

    def put(self, append: Append) -> None:
        """Add one; never blocks."""
        self._waiting.append(append)
        if self._is_idle:  # waking a thread costs more than all else here, so do it once
            self._is_idle = False
            self._wake.put(None)

    def close(self) -> None:
        """Let `take` give nothing once the queue is empty."""
        self._is_closed = True
        self._wake.put(None)

    def take(self, bytes_max: int) -> list[Append]:
        """Wait for work and take what fits one batch, at least one; empty when closed."""
        while not self._waiting and not self._is_closed:
            self._is_idle = True
            if not self._waiting and not self._is_closed:  # put before `_is_idle` was seen
                self._wake.get()
        batch: list[Append] = []
        records_left = POSITION_MAX
        while self._waiting:
            append = self._waiting[0]
            bytes_max -= append.size_bytes
            records_left -= len(append.entries)
            if batch and (bytes_max < 0 or records_left < 0):
                break
            batch.append(self._waiting.popleft())
        return batch


class SegmentWriter:
    """Appends to the last segment and begins the next one."""

    def __init__(
        self, directory: Path, epoch: UUID, segments: list[Segment], files: Files,
        settings: LogSettings, guard: threading.Lock, reserve: Reserve,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._epoch = epoch
        self._segments = segments
        self._files = files
        self._settings = settings
        self._guard = guard
        self._reserve = reserve
        self._file: File | None = None
        self._allocated_bytes = 0
        self._has_unsealed = False

    @property
    def _segment(self) -> Segment:
        return self._segments[-1]

    def write(self, batch: Sequence[Append]) -> None:
        """Make a batch durable and readable; in two parts where a segment ends within it."""
        part: list[Append] = []
        room_bytes = self._room_bytes
        for append in batch:
            if append.size_bytes > room_bytes and (part or self._holds_records):
                self._write_part(part)
                self._roll()
                part, room_bytes = [], self._room_bytes
            part.append(append)
            room_bytes -= append.size_bytes
        self._write_part(part)

    def close(self) -> None:
        """Seal what was written, so that the next start need not doubt it."""
        if self._file is None:
            return
        if self._has_unsealed:
            self._seal()
        self._file.close()
        self._file = None

    def abandon(self) -> None:
        """Close the file and leave it as it is, for recovery."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _holds_records(self) -> bool:
        return self._segment.last_seq >= self._segment.first_seq

    @property
    def _room_bytes(self) -> int:
        return self._settings.segment_bytes_max - self._segment.end_bytes

    def _write_part(self, part: Sequence[Append]) -> None:
        if not part:
            return
        segment = self._segment
        frames, chains = self._encode(part)
        data = b"".join(frames)
        file = self._open()
        with poisoning("write", segment.path):
            if segment.end_bytes + len(data) > self._allocated_bytes:
                self._reserve.keep()
                data += self._room_ahead(segment.end_bytes, len(data))
            file.write(segment.end_bytes, data)
        with poisoning("fdatasync", segment.path):
            file.sync()
        self._has_unsealed = True
        with self._guard:
            for frame, chain in zip(frames, chains, strict=True):
                begin_bytes = segment.end_bytes
                segment.note(segment.last_seq + 1, begin_bytes, begin_bytes + len(frame), chain)

    def _encode(self, part: Sequence[Append]) -> tuple[list[bytes], list[bytes]]:
        salt, chain = self._segment.salt, self._segment.chain
        frames: list[bytes] = []
        chains: list[bytes] = []
        for first_seq, entries, _ in part:
            last_seq = first_seq + len(entries) - 1
            for seq, (data_class, body) in enumerate(entries, first_seq):
                position = len(frames)
                flags = FIRST * (seq == first_seq) | LAST * (seq == last_seq)
                chain = framing.next_chain(chain, seq, data_class, body)
                frames.append(framing.encode(salt, position, flags, data_class, seq, body, chain))
                chains.append(chain)
        return frames, chains

    def _room_ahead(self, offset_bytes: int, commit_bytes: int) -> bytes:
        """Give zeros once per `allocation_bytes`, so that most commits leave the size as it is.

        A commit that changes the file's size makes the file system write and flush twice. None are
        given to a larger commit: the next one like it would not fit into them either.
        """
        end_bytes = offset_bytes + commit_bytes
        room_bytes = self._settings.segment_bytes_max + SEAL_BYTES - end_bytes
        ahead_bytes = max(min(self._settings.allocation_bytes, room_bytes), 0)
        if commit_bytes > self._settings.allocation_bytes:
            ahead_bytes = 0
        self._allocated_bytes = end_bytes + ahead_bytes
        return bytes(ahead_bytes)

    def _open(self) -> File:
        if self._file is None:
            with poisoning("open", self._segment.path):
                self._file = self._files.open(self._segment.path, writable=True)
                self._allocated_bytes = self._file.size_bytes()
        return self._file

    def _roll(self) -> None:
        last = self._segment
        self.close()
        self.begin_at(last.last_seq + 1, last.chain)

    def begin_at(self, first_seq: int, chain: bytes) -> None:
        """Begin a segment; the one before it is closed."""
        header = Header(self._epoch, first_seq, chain)
        with poisoning("create of a segment", self._directory):
            following = self._reserve.spares.begin(header)
            if following is None:
                following = create_segment(self._files, self._directory, header)
        with self._guard:
            self._segments.append(following)
            for segment in self._segments[: -INDEXES_MAX - 1]:
                segment.marks = None  # made again when it is read

    def _seal(self) -> None:
        segment = self._segment
        seal = framing.encode_seal(
            segment.salt, segment.last_seq, segment.chain, segment.record_count
        )  # fmt: skip
        file = self._open()
        with poisoning("seal", segment.path):
            file.write(segment.end_bytes, seal)
            file.truncate(segment.end_bytes + len(seal))
            file.sync()
        with self._guard:
            segment.end_bytes += len(seal)
        self._has_unsealed = False


@contextmanager
def poisoning(operation: str, path: Path) -> Iterator[None]:
    """Turn what the system reports into `LogPoisoned`."""
    try:
        yield
    except OSError as error:
        raise LogPoisoned(operation, path, error) from error
