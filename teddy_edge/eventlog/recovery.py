"""What happens before the first append: find the segments, prove the tail, set damage aside.

A finished segment is never changed: its damage stays where it is and readers pass over it. Only
the last segment may end in a torn write. Unless it ends with a seal, what survives of it is copied
to a fresh file that takes its name: bytes that were read back after a failed fsync may be on no
device, and a record behind a torn one would be lost with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.files import DAMAGED, NO_ROOM, Files
from teddy_edge.eventlog.frame import (
    CHAIN_START,
    CHAIN_UNKNOWN,
    FRAME_BYTES_MIN,
    SEAL_BYTES,
    SEQ_JUMP_MAX,
)
from teddy_edge.eventlog.origin import ORIGIN_NAME, Origin, origin_among, read_origin, write_origin
from teddy_edge.eventlog.quarantine import Quarantine
from teddy_edge.eventlog.report import RecoveryReport
from teddy_edge.eventlog.reserve import RESERVE_NAME, free_up
from teddy_edge.eventlog.segment import (
    HEADER_BYTES,
    Header,
    Segment,
    assumed_header,
    encode_header,
    file_name,
    first_seq_of,
    read_header,
)
from teddy_edge.eventlog.survey import Damage, Gap, Survey, describe, survey
from teddy_edge.eventlog.unfinished import finish_renames, refuse_newer
from teddy_edge.eventlog.whole_files import (
    is_file,
    read_bytes,
    read_if_possible,
    refuse_shortage,
    size_of,
    write_unfinished,
    write_whole,
)
from teddy_edge.settings import LogSettings

LOCK_NAME: Final = "lock"
SEGMENT_ASIDE: Final = ".log" + DAMAGED


@dataclass(slots=True)
class Recovered:
    """The log as recovery leaves it: every byte of it durable, the tail sealed."""

    origin: Origin
    segments: list[Segment]
    report: RecoveryReport


class Recovery:
    """One run over a directory that is locked."""

    def __init__(self, directory: Path, settings: LogSettings, files: Files) -> None:
        self._directory = directory
        self._files = files
        self._settings = settings
        self._quarantine = Quarantine(directory, files, settings)
        self._report = RecoveryReport()
        self._unreadable: dict[str, int] = {}
        """Segments in which nothing can be read, and a number that none of them can have held."""

    def run(self) -> Recovered:
        """Leave a log that can be appended to; raises `LogFormatUnsupported`."""
        self._files.sync_directory(self._directory)  # what we see need not be on the device
        headers = self._headers({})
        refuse_newer(self._directory, self._files)  # as the headers did: nothing is changed yet
        finish_renames(self._directory, self._files, self._set_aside)
        self._clear_way()
        headers = self._headers(headers)
        origin = self._origin(list(headers.values()))
        segments = [] if origin is None else self._segments(origin.epoch, headers)
        if origin is None or not segments:
            origin, segments = self._new_log()
        if segments[-1].is_reduced:  # what comes next is whole, and must be known to be
            last = segments[-1]
            header = Header(origin.epoch, last.last_seq + 1, last.chain)
            segments.append(create_segment(self._files, self._directory, header))
        self._count_missing(origin, segments)
        if segments[-1].last_seq == 0:  # begun by this start, or by one that was cut short
            names = self._files.names(self._directory)
            self._report.is_new_epoch = any(name.endswith(SEGMENT_ASIDE) for name in names)
        self._quarantine.bound()
        return Recovered(origin, segments, self._report)

    def _clear_way(self) -> None:
        """Set aside what is no file where one of ours shall be."""
        for name in {ORIGIN_NAME, RESERVE_NAME}.intersection(self._files.names(self._directory)):
            if not is_file(self._files, self._directory / name):
                self._set_aside(name)

    def _headers(self, known: Mapping[str, Header | None]) -> dict[str, Header | None]:
        """Read the headers of all segments that are there, but for those that are known."""
        names = [n for n in self._files.names(self._directory) if first_seq_of(n) is not None]
        return {n: known.get(n) or read_header(self._files, self._directory / n) for n in names}

    def _is_left_over(self, header: Header | None, assumed: Header, before: Segment | None) -> bool:
        """Whether retention has joined a segment to the one before it, and a crash kept it."""
        if header is not None and header[:2] != assumed[:2]:
            return False
        return before is not None and before.is_reduced and assumed.first_seq <= before.last_seq

    def _origin(self, headers: Sequence[Header | None]) -> Origin | None:
        """Read the origin file; make it again where the segments say another."""
        found = read_origin(self._files, self._directory)
        origin = origin_among(found, headers)
        if origin is not None and origin != found:
            write_origin(self._files, self._directory, origin)
        return origin

    def _segments(self, epoch: UUID, headers: dict[str, Header | None]) -> list[Segment]:
        """Take what belongs to the log, the last one as its end; empty if nothing survives."""
        segments: list[Segment] = []
        is_end_found = not headers
        while not is_end_found:
            self._report.damage.clear()
            self._report.gaps.clear()
            last = max(headers)
            segments = self._take_all(epoch, headers, last)
            is_end_found = last in headers or not segments or self._begin_anew(epoch, segments)
        if segments:
            for name in self._unreadable:
                self._set_aside(name)
        return segments

    def _take_all(
        self, epoch: UUID, headers: dict[str, Header | None], last: str
    ) -> list[Segment]:  # fmt: skip
        """Take one after the other; what is no part of the log leaves `headers`."""
        segments: list[Segment] = []
        for name, header in list(headers.items()):
            before = segments[-1] if segments else None
            assumed = assumed_header(epoch, name, before)
            if self._is_left_over(header, assumed, before):
                self._files.remove(self._directory / name)
                self._files.sync_directory(self._directory)
            elif not self._belongs(header, assumed, before):
                self._set_aside(name)
            elif segment := self._take(name, header, assumed, is_last=name == last):
                segments.append(segment)
                continue
            del headers[name]
        return segments

    def _begin_anew(self, epoch: UUID, segments: list[Segment]) -> bool:
        """Begin a segment behind an unreadable end: no number that it may have held comes again.

        False if there is no such end, so that the last segment that was taken is the end.
        """
        last_seq = segments[-1].last_seq
        ends = [
            seq
            for name, seq in self._unreadable.items()
            if last_seq < (first_seq_of(name) or 0) and seq < last_seq + SEQ_JUMP_MAX
        ]
        if ends:
            header = Header(epoch, max(ends), CHAIN_UNKNOWN)
            segments.append(create_segment(self._files, self._directory, header))
        return bool(ends)

    def _belongs(self, header: Header | None, assumed: Header, before: Segment | None) -> bool:
        if header is not None and header[:2] != assumed[:2]:
            return False
        return before is None or assumed.first_seq > before.last_seq

    def _take(
        self, name: str, header: Header | None, assumed: Header, *, is_last: bool
    ) -> Segment | None:
        path = self._directory / name
        if header is not None and not is_last:
            sealed = self._from_seal(path, header)
            if sealed is not None:
                return sealed
        data = read_if_possible(self._files, path)
        segment = Segment.empty(path, header or assumed)
        found = survey(data or b"", segment.salt, segment.first_seq)
        if data is None or (header is None and not found.frames):
            self._unreadable[name] = segment.first_seq + self._records_max(len(data or b""))
            return None
        self._note_damage(path, found, header_is_sound=header is not None, is_last=is_last)
        if not is_last or (header is not None and found.is_sealed):
            self._report.gaps += describe(segment, found.frames)
        else:
            self._copy_survivors(segment, data, header or assumed, found)
        return segment

    def _records_max(self, size_bytes: int) -> int:
        """How many records a file of this size can have held; any number if it was cut to none."""
        if size_bytes <= HEADER_BYTES:
            size_bytes = self._settings.segment_bytes_max
        return max((size_bytes - HEADER_BYTES) // FRAME_BYTES_MIN, 1)

    def _from_seal(self, path: Path, header: Header) -> Segment | None:
        """Know a finished segment by its last bytes, however many records it holds."""
        try:
            size_bytes = size_of(self._files, path)
            data = read_bytes(self._files, path, max(size_bytes - SEAL_BYTES, 0), SEAL_BYTES)
        except OSError as error:
            refuse_shortage(error)
            return None
        segment = Segment.empty(path, header)
        seal = framing.decode(data, 0, segment.salt, segment.first_seq)
        if seal is None or not seal.is_seal:
            return None
        if seal.record_count > seal.seq - segment.first_seq + 1:
            return None
        segment.note_frame(seal)
        segment.end_bytes = size_bytes
        segment.record_count = seal.record_count
        segment.marks = None
        return segment

    def _copy_survivors(self, segment: Segment, data: bytes, header: Header, found: Survey) -> None:
        """Put what survives, and a seal, under the segment's name."""
        kept = found.survivors()
        content = encode_header(header)
        content += b"".join(data[frame.offset_bytes : frame.end_bytes] for frame in kept)
        frames = framing.scan(content, HEADER_BYTES, segment.salt, segment.first_seq)
        self._report.gaps += describe(segment, frames)
        content += framing.encode_seal(
            segment.salt, segment.last_seq, segment.chain, segment.record_count,
            is_reduced=segment.is_reduced,
        )  # fmt: skip
        fresh = write_unfinished(self._files, segment.path, content)  # before what can be missed
        kept_end = kept[-1].end_bytes if kept else HEADER_BYTES
        self._keep_aside(segment, data[: found.content_bytes], kept_end)
        self._files.rename(fresh, segment.path)
        self._files.sync_directory(self._directory)
        segment.end_bytes = len(content)

    def _keep_aside(self, segment: Segment, data: bytes, kept_end: int) -> None:
        """Keep what a segment held, and what was torn, where the card has room for it."""
        if any(damage.path == segment.path for damage in self._report.damage):
            aside = self._quarantine.keep_damaged(segment.path, data)
            self._report.quarantined += [aside] if aside else []
        torn = data[kept_end:]
        if torn:
            self._report.torn_bytes = len(torn)
            self._report.torn_file = self._quarantine.keep_torn(segment.last_seq + 1, torn)

    def _set_aside(self, name: str) -> None:
        self._report.quarantined.append(self._quarantine.set_aside(self._directory / name))
        self._files.sync_directory(self._directory)

    def _note_damage(
        self, path: Path, found: Survey, *, header_is_sound: bool, is_last: bool
    ) -> None:
        if not header_is_sound:
            self._report.damage.append(Damage(path, 0, HEADER_BYTES))
        self._report.damage += [Damage(path, offset, size) for offset, size in found.holes()]
        rest_bytes = found.size_bytes - found.end_bytes
        if rest_bytes > 0 and not is_last:
            self._report.damage.append(Damage(path, found.end_bytes, rest_bytes))

    def _note_gap(self, first_seq: int, last_seq: int) -> None:
        if first_seq <= last_seq:
            self._report.gaps.append(Gap(first_seq, last_seq))

    def _count_missing(self, origin: Origin, segments: list[Segment]) -> None:
        self._note_gap(origin.first_seq, segments[0].first_seq - 1)
        for before, after in pairwise(segments):
            self._note_gap(before.last_seq + 1, after.first_seq - 1)
        self._report.gaps.sort(key=lambda gap: gap.first_seq)
        self._report.missing_count = missing_count(origin, segments)

    def _new_log(self) -> tuple[Origin, list[Segment]]:
        """Begin anew; also where nothing survived, since its numbers may be known elsewhere."""
        for name in self._files.names(self._directory):
            if first_seq_of(name) is not None:
                self._set_aside(name)
        origin = Origin(uuid4(), 1)
        write_origin(self._files, self._directory, origin)
        header = Header(origin.epoch, origin.first_seq, CHAIN_START)
        return origin, [create_segment(self._files, self._directory, header)]


def recover(directory: Path, settings: LogSettings, files: Files) -> Recovered:
    """Recover a log; where the card is full, again with the room that less important files held."""
    while True:
        try:
            return Recovery(directory, settings, files).run()
        except OSError as error:
            if error.errno not in NO_ROOM or not free_up(directory, files):
                raise


def create_segment(files: Files, directory: Path, header: Header) -> Segment:
    """Make a segment without records; durable on return."""
    path = directory / file_name(header.first_seq)
    write_whole(files, path, encode_header(header))
    return Segment.empty(path, header)


def missing_count(origin: Origin, segments: list[Segment]) -> int:
    """Count the records between the first and the last that are lost."""
    given = segments[-1].last_seq - min(origin.first_seq, segments[0].first_seq) + 1
    return given - sum(segment.record_count for segment in segments)
