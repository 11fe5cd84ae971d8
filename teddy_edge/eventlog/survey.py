"""What the bytes of a segment hold: sound frames, holes between them, numbers that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.frame import FIRST, LAST, SEAL_BYTES, Frame
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
    content_bytes: int
    """Where that ends what was written for this segment; what follows is of an earlier one."""

    @property
    def end_bytes(self) -> int:
        """Where the last sound frame ends."""
        return self.frames[-1].end_bytes if self.frames else HEADER_BYTES

    @property
    def is_sound(self) -> bool:
        """Whether it is as the writer finished it."""
        return self.is_sealed and not any(self.holes())

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
    size_bytes = max(len(data.rstrip(b"\0")), HEADER_BYTES)
    return Survey(frames, size_bytes, _content_bytes(data, frames, size_bytes, first_seq))


def _content_bytes(data: bytes, frames: list[Frame], size_bytes: int, first_seq: int) -> int:
    """Tell a torn end from what the file held before it became this segment.

    That had lower numbers, and ended with a seal at the end of the file. Where it still does, only
    what claims to be of the last commit, or of the next one, was torn; else all that is not zero.
    """
    if not _ends_with_older_seal(data, first_seq):
        return size_bytes
    content_bytes = frames[-1].end_bytes if frames else HEADER_BYTES
    last_seq = frames[-1].seq if frames else first_seq - 1
    proven_seqs = {last_seq, frames[-1].proven_seq} if frames else {last_seq}
    for claim in framing.claims(data, content_bytes):
        if claim.seq > last_seq and claim.proven_seq in proven_seqs:
            content_bytes = min(claim.end_bytes, size_bytes)
    return content_bytes


def _ends_with_older_seal(data: bytes, first_seq: int) -> bool:
    claims = framing.claims(data, max(len(data) - SEAL_BYTES, 0))
    return any(
        claim.is_seal and claim.seq < first_seq and claim.end_bytes == len(data)
        for claim in claims
    )  # fmt: skip


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
