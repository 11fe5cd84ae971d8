"""What one segment shows to who reads a log without owning it."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from teddy_edge.eventlog.frame import CHAIN_UNKNOWN, Frame
from teddy_edge.eventlog.segment import (
    HEADER_BYTES,
    Header,
    Segment,
    StoredRecord,
    decode_header,
)
from teddy_edge.eventlog.survey import Damage, Survey, describe, survey


class Standing(enum.Enum):
    """What a file with a segment's name is to the log."""

    PART = enum.auto()
    FOREIGN = enum.auto()
    """A segment of another log, a doubled one, one in which nothing can be read."""
    UNREADABLE = enum.auto()
    """No file that can be read: a directory, a link, or something larger than any segment."""
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

    @classmethod
    def unreadable(cls, segment: Segment, *, is_last: bool) -> SegmentView:
        """Show what has a segment's name and cannot be read."""
        return cls(
            path=segment.path,
            header_is_sound=False,
            standing=Standing.UNREADABLE,
            segment=segment,
            found=Survey([], 0, 0),
            frames=[],
            proven_bytes=0,
            size_bytes=0,
            is_last=is_last,
        )

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


class Look(NamedTuple):
    """What one reading of a segment's file showed."""

    header_is_sound: bool
    is_ours: bool
    """False if its header names another log, or another segment than the file's name does."""
    segment: Segment
    found: Survey
    size_bytes: int

    @classmethod
    def at(cls, path: Path, data: bytes, assumed: Header) -> Look:
        """Read a segment's bytes. Raises `LogFormatUnsupported` for a newer header."""
        header = decode_header(path, data)
        is_ours = header is None or header[:2] == assumed[:2]
        segment = Segment.empty(path, header if header is not None and is_ours else assumed)
        found = survey(data, segment.salt, segment.first_seq)
        return cls(header is not None, is_ours, segment, found, len(data))

    @property
    def is_sound(self) -> bool:
        """Whether it is a segment as the writer finished it."""
        is_ours = self.header_is_sound and self.is_ours
        return is_ours and bool(self.found.frames) and self.found.is_sound

    @property
    def proven_bytes(self) -> int:
        """Where the last commit begins, the only one that may be unfinished."""
        frames = self.found.frames
        if not frames:
            return HEADER_BYTES
        proven_seq = frames[-1].proven_seq
        proven = [frame for frame in frames if frame.is_seal or frame.seq <= proven_seq]
        last_commit = frames[len(proven) :]
        if last_commit and last_commit[0].position == 0:  # also where damage lies right before it
            return last_commit[0].offset_bytes
        return proven[-1].end_bytes if proven else HEADER_BYTES

    def view(self, before: Segment | None, proven_bytes: int, *, is_last: bool) -> SegmentView:
        """Say what it shows behind another segment; `proven_bytes` counts for the last one."""
        frames = self.found.survivors() if is_last else self.found.frames
        describe(self.segment, frames)
        return SegmentView(
            path=self.segment.path,
            header_is_sound=self.header_is_sound,
            standing=self._standing(frames, before),
            segment=self.segment,
            found=self.found,
            frames=frames,
            proven_bytes=proven_bytes if is_last else self.size_bytes,
            size_bytes=self.size_bytes,
            is_last=is_last,
        )

    def _standing(self, frames: list[Frame], before: Segment | None) -> Standing:
        is_behind = before is None or self.segment.first_seq > before.last_seq
        if self.is_ours and before is not None and before.is_reduced and not is_behind:
            return Standing.LEFT_OVER
        belongs = self.is_ours and is_behind and (self.header_is_sound or frames)
        return Standing.PART if belongs else Standing.FOREIGN
