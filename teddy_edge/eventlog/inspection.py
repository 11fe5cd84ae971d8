"""Reading a log without owning it: a live one, a copied one, a damaged one. Changes nothing.

What a writer has begun and not finished is no damage: whatever follows the last commit that is
proven, in the last segment, counts as unfinished.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from teddy_edge.errors import LogNotFound
from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.files import Files, SystemFiles, read_bytes, read_whole
from teddy_edge.eventlog.frame import CHAIN_UNKNOWN
from teddy_edge.eventlog.origin import origin_of, read_origin
from teddy_edge.eventlog.segment import (
    HEADER_BYTES,
    Header,
    Segment,
    StoredRecord,
    assumed_header,
    decode_header,
    first_seq_of,
)
from teddy_edge.eventlog.survey import Damage, Gap, Survey, describe, survey


@dataclass(frozen=True, slots=True)
class Inspected:
    """One segment, read whole."""

    path: Path
    header_is_sound: bool
    belongs: bool
    """False for a segment of another log, a doubled one, one in which nothing can be read."""
    segment: Segment
    found: Survey
    gaps: list[Gap]
    size_bytes: int
    is_last: bool

    def damage(self) -> Iterator[Damage]:
        """What is no sound frame where one must be."""
        if not self.header_is_sound:
            yield Damage(self.path, 0, min(HEADER_BYTES, self.size_bytes))
        certain_bytes = self._proven_bytes() if self.is_last else self.size_bytes
        for offset, size in self.found.holes():
            if offset < certain_bytes:
                yield Damage(self.path, offset, size)
        rest_bytes = self.found.size_bytes - self.found.end_bytes
        if rest_bytes > 0 and not self.is_last:
            yield Damage(self.path, self.found.end_bytes, rest_bytes)

    def records(self) -> Iterator[StoredRecord]:
        """Its records, in order."""
        expected, chain = self.segment.first_seq, self.segment.chain_before
        for frame in self.found.frames:
            if not frame.is_seal:
                before = chain if frame.seq == expected else CHAIN_UNKNOWN
                yield StoredRecord(frame.seq, frame.data_class, frame.body, before, frame.chain)
            expected, chain = frame.seq + 1, frame.chain

    def _proven_bytes(self) -> int:
        """Where the last commit begins, the only one that may be unfinished."""
        if not self.found.frames:
            return HEADER_BYTES
        proven_seq = self.found.frames[-1].proven_seq
        proven = [f for f in self.found.frames if f.is_seal or f.seq <= proven_seq]
        return proven[-1].end_bytes if proven else HEADER_BYTES


@dataclass(slots=True)
class Verification:
    """What is wrong with a log, if anything."""

    epoch: UUID
    segment_count: int = 0
    record_count: int = 0
    first_seq: int = 0
    last_seq: int = 0
    damage: list[Damage] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)
    """Segments that are no part of this log."""
    chain_breaks: list[int] = field(default_factory=list)
    """Sound records that do not continue from the one before them: someone changed the log."""

    @property
    def is_whole(self) -> bool:
        """Whether every record is there, as it was written."""
        return not (self.damage or self.gaps or self.foreign or self.chain_breaks)


@dataclass(slots=True)
class ClassStatistics:
    """How much of one data class a log holds."""

    record_count: int = 0
    body_bytes: int = 0


class Inspection:
    """A look at a directory; raises `LogNotFound` if it holds no log."""

    def __init__(self, directory: Path, files: Files | None = None) -> None:
        self._directory = directory
        self._files = files or SystemFiles()
        try:
            names = self._files.names(directory)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise LogNotFound(directory) from error
        self._names = [name for name in names if first_seq_of(name) is not None]
        headers = [self._header(name) for name in self._names]
        origin = read_origin(self._files, directory) or origin_of(headers)
        if origin is None or not self._names:
            raise LogNotFound(directory)
        self.origin = origin

    @property
    def segment_count(self) -> int:
        """How many segments there are to read; for those who show progress."""
        return len(self._names)

    def segments(self) -> Iterator[Inspected]:
        """Read one segment after the other. Raises `LogFormatUnsupported`."""
        before: Segment | None = None
        for name in self._names:
            try:
                inspected = self._inspect(name, before)
            except FileNotFoundError:  # retention took it in the meantime
                continue
            if inspected.belongs:
                before = inspected.segment
            yield inspected

    def records(self, first_seq: int = 1) -> Iterator[StoredRecord]:
        """Every sound record from a number on."""
        for inspected in self.segments():
            if inspected.belongs and inspected.segment.last_seq >= first_seq:
                yield from (r for r in inspected.records() if r.seq >= first_seq)

    def statistics(self) -> dict[int, ClassStatistics]:
        """Count records and bytes of each data class."""
        found: dict[int, ClassStatistics] = defaultdict(ClassStatistics)
        for record in self.records():
            found[record.data_class].record_count += 1
            found[record.data_class].body_bytes += len(record.body)
        return dict(sorted(found.items()))

    def _header(self, name: str) -> Header | None:
        path = self._directory / name
        return decode_header(path, read_bytes(self._files, path, 0, HEADER_BYTES))

    def _inspect(self, name: str, before: Segment | None) -> Inspected:
        path = self._directory / name
        data = read_whole(self._files, path)
        header = decode_header(path, data)
        assumed = assumed_header(self.origin.epoch, name, before)
        segment = Segment.empty(path, header or assumed)
        found = survey(data, segment.salt, segment.first_seq)
        belongs = (header is None and bool(found.frames)) or (
            header is not None
            and header[:2] == assumed[:2]
            and (before is None or assumed.first_seq > before.last_seq)
        )
        gaps = describe(segment, found.frames)
        return Inspected(
            path=path,
            header_is_sound=header is not None,
            belongs=belongs,
            segment=segment,
            found=found,
            gaps=gaps,
            size_bytes=len(data),
            is_last=name == self._names[-1],
        )


class Verifier:
    """Checks a log segment by segment, so that a caller can show how far it is."""

    def __init__(self, inspection: Inspection) -> None:
        self.verification = Verification(inspection.origin.epoch)
        self._next_seq = inspection.origin.first_seq
        self._chain = CHAIN_UNKNOWN
        self.verification.first_seq = inspection.origin.first_seq

    def take(self, inspected: Inspected) -> None:
        """Check the next segment."""
        verification = self.verification
        verification.segment_count += 1
        if not inspected.belongs:
            verification.foreign.append(inspected.path)
            return
        segment = inspected.segment
        verification.damage += inspected.damage()
        if segment.first_seq > self._next_seq:
            verification.gaps.append(Gap(self._next_seq, segment.first_seq - 1))
        elif CHAIN_UNKNOWN not in (self._chain, segment.chain_before):
            self._compare(self._chain, segment.chain_before, segment.first_seq)
        verification.gaps += inspected.gaps
        self._follow_chain(list(inspected.records()))
        verification.record_count += segment.record_count
        verification.last_seq = segment.last_seq
        self._next_seq, self._chain = segment.last_seq + 1, segment.chain

    def _follow_chain(self, records: list[StoredRecord]) -> None:
        for record in records:
            if record.chain_before != CHAIN_UNKNOWN:
                expected = framing.next_chain(
                    record.chain_before, record.seq, record.data_class, record.body
                )
                self._compare(expected, record.chain, record.seq)

    def _compare(self, expected: bytes, chain: bytes, seq: int) -> None:
        if expected != chain and seq not in self.verification.chain_breaks:
            self.verification.chain_breaks.append(seq)


def verify(directory: Path, files: Files | None = None) -> Verification:
    """Check every byte of a log. Raises `LogNotFound`, `LogFormatUnsupported`."""
    inspection = Inspection(directory, files)
    verifier = Verifier(inspection)
    for inspected in inspection.segments():
        verifier.take(inspected)
    return verifier.verification
