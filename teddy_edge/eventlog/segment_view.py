"""What one segment shows to who reads a log without owning it."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from teddy_edge.eventlog.frame import CHAIN_UNKNOWN, Frame
from teddy_edge.eventlog.segment import HEADER_BYTES, Segment, StoredRecord
from teddy_edge.eventlog.survey import Damage, Survey, describe


class Standing(enum.Enum):
    """What a file with a segment's name is to the log."""

    PART = enum.auto()
    FOREIGN = enum.auto()
    """A segment of another log, a doubled one, one in which nothing can be read."""
    LEFT_OVER = enum.auto()
    """Joined to the segment before it; the next thing that happens is that it goes."""


@dataclass(frozen=True, slots=True)
class SegmentView:
    """One segment, read whole; or what of it is new to who has seen its file before."""

    path: Path
    header_is_sound: bool
    standing: Standing
    segment: Segment
    found: Survey
    frames: list[Frame]
    """The sound frames that count: in the last segment, those that the next start would keep."""
    proven_bytes: int
    """Up to here every byte must be sound; what comes later may be a commit in progress."""
    size_bytes: int
    is_last: bool
    begin_bytes: int = 0
    """Where in the file begins what this shows: 0 unless the file was seen before."""

    @property
    def belongs(self) -> bool:
        """Whether it is a part of the log."""
        return self.standing is Standing.PART

    def after(self, seq: int) -> SegmentView:
        """Give what is behind a number, for who has seen the file when it ended there."""
        seen = [frame for frame in self.frames if frame.seq <= seq]
        frames = self.frames[len(seen) :]
        chain = seen[-1].chain if seen and seen[-1].seq == seq else CHAIN_UNKNOWN
        segment = replace(
            self.segment.emptied(), first_seq=seq + 1, last_seq=seq, chain_before=chain, chain=chain
        )  # fmt: skip
        describe(segment, frames)
        if frames:  # a run of removed records may have begun before
            segment.record_count -= max(seq + 1 - frames[0].begin_seq, 0)
        return replace(
            self,
            segment=segment,
            frames=frames,
            found=replace(self.found, frames=[f for f in self.found.frames if f.seq > seq]),
            begin_bytes=seen[-1].end_bytes if seen else HEADER_BYTES,
        )

    def links(self) -> Iterator[tuple[Frame, bytes]]:
        """Each record's frame, and the chain value it continues from; empty if that is lost."""
        expected, chain = self.segment.first_seq, self.segment.chain_before
        for frame in self.frames:
            if frame.is_record:
                yield frame, chain if frame.seq == expected else CHAIN_UNKNOWN
            expected, chain = frame.seq + 1, frame.chain

    def records(self) -> Iterator[StoredRecord]:
        """Its records, in order."""
        for frame, before in self.links():
            yield StoredRecord(frame.seq, frame.data_class, frame.body, before, frame.chain)

    def unfinished(self) -> Damage | None:
        """What the next start would cut from the end: a commit in progress, or a torn write."""
        if not self.is_last:
            return None
        starts = [offset for offset, _ in self.found.holes() if offset >= self.proven_bytes]
        starts.append(self.frames[-1].end_bytes if self.frames else HEADER_BYTES)
        start, end = min(starts), self.found.content_bytes
        return Damage(self.path, start, end - start) if start < end else None
