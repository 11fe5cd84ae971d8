"""Checking a log from outside: every checksum, every chain value, every number.

What is wrong has a place: a segment file, an offset in it, and the records that it concerns. No
defect is what a commit in progress, or a torn write, leaves at the end of the last segment.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from teddy_edge.eventlog.files import Files
from teddy_edge.eventlog.frame import CHAIN_START, CHAIN_UNKNOWN, next_chain
from teddy_edge.eventlog.origin import ORIGIN_NAME
from teddy_edge.eventlog.segment import HEADER_BYTES, Segment, file_name
from teddy_edge.eventlog.segment_view import SegmentView, Standing
from teddy_edge.eventlog.snapshot import Snapshot
from teddy_edge.eventlog.survey import Damage, Gap


class Kind(enum.StrEnum):
    """What can be wrong."""

    ORIGIN = "origin"
    """The origin file, damaged or missing; costs nothing, since the segments tell the epoch, and
    every log begins at 1."""
    HEADER = "header"
    """A segment's header; costs nothing, since its name and its neighbours say the same."""
    BYTES = "bytes"
    """Bytes that are no sound frame, between frames."""
    END = "end"
    """A finished segment without the seal that it must end with."""
    ALTERED = "altered"
    """A sound record, or header, that does not continue from what is before it."""
    CUT_OUT = "cut_out"
    """A jump in the numbers between sound frames: whoever took the records out left no bytes."""
    MISSING = "missing"
    """No segment holds these numbers."""
    FOREIGN = "foreign"
    """A segment of another log, one that is there twice, or one in which nothing can be read."""
    UNREADABLE = "unreadable"
    """No file, or none that a log can have written, with the name of a segment or of what was put
    aside."""


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that is not as the writer left it."""

    kind: Kind
    path: Path
    """The file; for `MISSING` the one that would begin with the first of the records."""
    offset_bytes: int
    size_bytes: int
    records: Gap | None
    """The numbers that are lost, or, for `ALTERED`, the record that was changed."""


@dataclass(slots=True)
class Verification:
    """What a log holds, and what is wrong with it, if anything."""

    epoch: UUID
    segment_count: int = 0
    record_count: int = 0
    removed_count: int = 0
    """Records that retention took out after they were confirmed; nothing is wrong with that."""
    first_seq: int = 0
    """The oldest number that must be there."""
    last_seq: int = 0
    defects: list[Defect] = field(default_factory=list)
    unfinished: Damage | None = None
    """At the end: a commit in progress, or a torn write that the next start will cut."""
    kept_aside: list[tuple[Path, int]] = field(default_factory=list)
    """What recovery has put aside, with sizes."""

    @property
    def is_whole(self) -> bool:
        """Whether every record is there, as it was written."""
        return not self.defects

    @property
    def gaps(self) -> list[Gap]:
        """The numbers that have no record."""
        return [d.records for d in self.defects if d.records and d.kind is not Kind.ALTERED]

    @property
    def chain_breaks(self) -> list[int]:
        """The records that were changed by someone who knew how to make a checksum."""
        altered = (d.records for d in self.defects if d.kind is Kind.ALTERED)
        return [records.first_seq for records in altered if records]


class Verifier:
    """Takes the segments one after the other, so that a caller can show how far it is."""

    def __init__(self, snapshot: Snapshot) -> None:
        first_seq = snapshot.origin.first_seq
        self.verification = Verification(snapshot.origin.epoch, first_seq=first_seq)
        self._snapshot = snapshot
        self._next_seq = first_seq
        self._chain = CHAIN_START if first_seq == 1 else CHAIN_UNKNOWN
        self._open_end: Damage | None = None
        if not snapshot.origin_is_sound:
            self._note(Kind.ORIGIN, Damage(snapshot.directory / ORIGIN_NAME, 0, 0))

    def begin_at(self, first_seq: int) -> None:
        """Expect nothing of what stands in the segments before a number."""
        self._next_seq = max(self._next_seq, first_seq)
        self._chain = CHAIN_UNKNOWN

    def take(self, view: SegmentView) -> None:
        """Check the next segment."""
        verification = self.verification
        verification.segment_count += view.begin_bytes == 0
        segment = view.segment
        if not view.belongs:
            is_unreadable = view.standing is Standing.UNREADABLE
            kind = Kind.UNREADABLE if is_unreadable else Kind.FOREIGN
            self._note(kind, Damage(view.path, 0, view.size_bytes))
            return
        self._join(view)
        if not view.header_is_sound:
            header_bytes = min(HEADER_BYTES, view.size_bytes)
            self._note(Kind.HEADER, Damage(view.path, 0, header_bytes))
        verification.defects += _defects_between_frames(view)
        verification.defects += _broken_links(view)
        present = sum(frame.is_record for frame in view.frames)
        verification.record_count += present
        verification.removed_count += segment.record_count - present
        verification.last_seq = segment.last_seq
        verification.unfinished = view.unfinished()
        self._open_end = _open_end(view)
        self._next_seq, self._chain = segment.last_seq + 1, segment.chain

    def finish(self) -> Verification:
        """Say what was found, after the last segment."""
        if self._open_end is not None:
            self._note(Kind.END, self._open_end)
            self._open_end = None
        for path, size_bytes in self._snapshot.kept_aside():
            if size_bytes is None:
                self._note(Kind.UNREADABLE, Damage(path, 0, 0))
            else:
                self.verification.kept_aside.append((path, size_bytes))
        return self.verification

    def _join(self, view: SegmentView) -> None:
        """Check that a segment continues from the one before it."""
        segment = view.segment
        lost = self._lost_before(segment.first_seq)
        if self._open_end is not None:
            self._note(Kind.END, self._open_end, lost)
        elif lost is not None:
            absent = view.path.with_name(file_name(lost.first_seq))
            self._note(Kind.MISSING, Damage(absent, 0, 0), lost)
        elif segment.first_seq == self._next_seq and not self._may_be_followed_by(segment):
            header = Damage(view.path, 0, HEADER_BYTES)
            self._note(Kind.ALTERED, header, Gap(segment.first_seq, segment.first_seq))

    def _may_be_followed_by(self, segment: Segment) -> bool:
        before = segment.chain_before
        return self._chain == before or CHAIN_UNKNOWN in (self._chain, before)

    def _lost_before(self, first_seq: int) -> Gap | None:
        return _gap(self._next_seq, first_seq - 1)

    def _note(self, kind: Kind, where: Damage, records: Gap | None = None) -> None:
        self.verification.defects.append(
            Defect(kind, where.path, where.offset_bytes, where.size_bytes, records)
        )


def _gap(first_seq: int, last_seq: int) -> Gap | None:
    return Gap(first_seq, last_seq) if first_seq <= last_seq else None


def _defects_between_frames(view: SegmentView) -> Iterator[Defect]:
    end, next_seq = max(view.begin_bytes, HEADER_BYTES), view.segment.first_seq
    for frame in view.found.frames:
        lost = _gap(next_seq, frame.begin_seq - 1)
        hole_bytes = frame.offset_bytes - end
        if (lost or hole_bytes) and end < view.proven_bytes:
            kind = Kind.BYTES if hole_bytes else Kind.CUT_OUT
            yield Defect(kind, view.path, end, hole_bytes, lost)
        end, next_seq = frame.end_bytes, frame.seq + 1


def _broken_links(view: SegmentView) -> Iterator[Defect]:
    for frame, before in view.links():
        if before == CHAIN_UNKNOWN:
            continue
        if next_chain(before, frame.seq, frame.data_class, frame.body) != frame.chain:
            size_bytes = frame.end_bytes - frame.offset_bytes
            concerned = Gap(frame.seq, frame.seq)
            yield Defect(
                Kind.ALTERED, view.path, frame.offset_bytes, size_bytes, concerned
            )  # fmt: skip


def _open_end(view: SegmentView) -> Damage | None:
    """Where a finished segment breaks off without its seal."""
    if view.is_last or (view.found.frames and view.found.is_sealed):
        return None
    end_bytes = view.found.end_bytes
    return Damage(view.path, end_bytes, max(view.found.size_bytes - end_bytes, 0))


def verify(directory: Path, files: Files | None = None) -> Verification:
    """Check every byte of a log. Raises what `Snapshot` raises."""
    snapshot = Snapshot(directory, files)
    verifier = Verifier(snapshot)
    for view in snapshot.segments():
        verifier.take(view)
    return verifier.finish()
