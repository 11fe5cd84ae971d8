"""What the bytes of a segment hold: sound frames, holes between them, numbers that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.frame import FIRST, LAST, Frame
from teddy_edge.eventlog.segment import HEADER_BYTES, Segment


@dataclass(frozen=True, slots=True)
class Gap:
    """Sequence numbers that were given and whose records are lost."""

    first_seq: int
    last_seq: int

    @property
    def record_count(self) -> int:
        """How many."""
        return self.last_seq - self.first_seq + 1


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that are no sound frame, where one was or should be."""

    path: Path
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Survey:
    """Every sound frame of a segment, and how far its content goes."""

    frames: list[Frame]
    size_bytes: int
    """Where the last byte that is not zero ends."""

    @property
    def end_bytes(self) -> int:
        """Where the last sound frame ends."""
        return self.frames[-1].end_bytes if self.frames else HEADER_BYTES

    @property
    def is_sealed(self) -> bool:
        """Whether all of it is proven durable, and nothing follows."""
        is_proven = not self.frames or self.frames[-1].is_seal
        return is_proven and self.size_bytes <= self.end_bytes

    def holes(self) -> Iterator[tuple[int, int]]:
        """Offset and size of what lies before and between the frames and is none."""
        end = HEADER_BYTES
        for frame in self.frames:
            if frame.offset_bytes > end:
                yield end, frame.offset_bytes - end
            end = frame.end_bytes

    def survivors(self) -> list[Frame]:
        """The frames that recovery keeps of a tail.

        These are all that were durable before the last group commit began, and the whole appends
        of that one. It may have been acknowledged or not; half an append is never worth keeping.
        """
        if not self.frames:
            return []
        proven_seq = self.frames[-1].proven_seq
        proven = [frame for frame in self.frames if frame.is_seal or frame.seq <= proven_seq]
        return proven + list(_whole_appends(self.frames[len(proven) :]))


def survey(data: bytes, salt: int, first_seq: int) -> Survey:
    """Read every frame in the bytes of a whole segment file."""
    frames = list(framing.scan(data, HEADER_BYTES, salt, first_seq))
    return Survey(frames, max(len(data.rstrip(b"\0")), HEADER_BYTES))


def describe(segment: Segment, frames: Iterable[Frame]) -> list[Gap]:
    """Take the frames up into an empty segment; gives the numbers that are missing among them."""
    gaps: list[Gap] = []
    for frame in frames:
        if frame.begin_seq > segment.last_seq + 1:
            gaps.append(Gap(segment.last_seq + 1, frame.begin_seq - 1))
        segment.note_frame(frame)
    return gaps


def _whole_appends(frames: Iterable[Frame]) -> Iterator[Frame]:
    together: list[Frame] = []
    for frame in frames:
        if frame.flags & FIRST:
            together = [frame]
        elif together and frame.seq == together[-1].seq + 1:
            together.append(frame)
        else:
            together = []
        if together and frame.flags & LAST:
            yield from together
            together = []
