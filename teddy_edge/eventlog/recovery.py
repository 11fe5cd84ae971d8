"""What happens before the first append: find the segments, prove the tail, set damage aside.

A finished segment is never changed: its damage stays where it is and readers pass over it. Only
the last segment may end in a torn write. Unless it ends with a seal, what survives of it is copied
to a fresh file that takes its name: bytes that were read back after a failed fsync may be on no
device, and a record behind a torn one would be lost with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4
from zlib import crc32

from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.files import NEW, Files, read_whole, write_whole
from teddy_edge.eventlog.frame import CHAIN_START, CHAIN_UNKNOWN, FIRST, LAST, SEAL_BYTES, Frame
from teddy_edge.eventlog.segment import (
    HEADER_BYTES,
    Header,
    Segment,
    decode_header,
    encode_header,
    file_name,
    first_seq_of,
    read_bytes,
)
from teddy_edge.settings import LogSettings

EPOCH_NAME: Final = "epoch"
LOCK_NAME: Final = "lock"
TORN: Final = ".torn"
DAMAGED: Final = ".damaged"


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
    """Bytes of a segment that are no sound frame, between the first byte and the last frame."""

    path: Path
    offset_bytes: int
    size_bytes: int


@dataclass(slots=True)
class RecoveryReport:
    """What was found when the log was opened."""

    torn_bytes: int = 0
    """What was cut from the end: writes that nobody was told of."""
    torn_file: Path | None = None
    """Where the cut bytes are kept."""
    damage: list[Damage] = field(default_factory=list)
    quarantined: list[Path] = field(default_factory=list)
    """Files that are kept aside under these names, because nothing in them can be read."""
    gaps: list[Gap] = field(default_factory=list)
    """Lost records whose numbers are known. A gap is seen again as a jump in what is read."""
    missing_count: int = 0
    """All records that are lost between the first and the last, also those lost before."""

    @property
    def complete(self) -> bool:
        """Whether each record between the first and the last can be read."""
        return self.missing_count == 0


@dataclass(slots=True)
class Recovered:
    """The log as recovery leaves it: every byte of it durable, the tail sealed."""

    epoch: UUID
    segments: list[Segment]
    report: RecoveryReport


@dataclass(slots=True)
class Survey:
    """What is in the bytes of a segment."""

    header_is_sound: bool
    frames: list[Frame]
    size_bytes: int
    """Where the last byte that is not zero ends."""

    @property
    def end_bytes(self) -> int:
        """Where the last sound frame ends."""
        return self.frames[-1].end_bytes if self.frames else HEADER_BYTES

    @property
    def is_sealed(self) -> bool:
        """Whether everything in it is proven, and nothing follows."""
        is_proven = not self.frames or self.frames[-1].is_seal
        return self.header_is_sound and is_proven and self.size_bytes <= self.end_bytes

    def holes(self) -> Iterator[tuple[int, int]]:
        """Offset and size of what lies between the frames and is none."""
        end = HEADER_BYTES
        for frame in self.frames:
            if frame.offset_bytes > end:
                yield end, frame.offset_bytes - end
            end = frame.end_bytes

    @property
    def is_damaged(self) -> bool:
        """Whether something before the last sound frame is none."""
        return not self.header_is_sound or any(True for _ in self.holes())

    def survivors(self) -> list[Frame]:
        """The frames to keep: all that were proven durable, and whole appends after those."""
        if not self.frames:
            return []
        proven_seq = self.frames[-1].proven_seq
        kept = [frame for frame in self.frames if frame.is_seal or frame.seq <= proven_seq]
        return kept + list(_whole_appends(self.frames[len(kept) :]))


def _whole_appends(frames: Iterable[Frame]) -> Iterator[Frame]:
    together: list[Frame] = []
    for frame in frames:
        if frame.flags & FIRST:
            together = []
        elif not together or frame.seq != together[-1].seq + 1:
            together = []
            continue
        together.append(frame)
        if frame.flags & LAST:
            yield from together
            together = []


def survey(data: bytes, header: Header, *, header_is_sound: bool) -> Survey:
    """Read every frame in the bytes of a segment."""
    salt = framing.salt_of(header.epoch, header.first_seq)
    frames = list(framing.scan(data, HEADER_BYTES, salt, header.first_seq))
    return Survey(header_is_sound, frames, len(data.rstrip(b"\0")))


class Recovery:
    """One run over a directory that is locked."""

    def __init__(self, directory: Path, settings: LogSettings, files: Files) -> None:
        self._directory = directory
        self._settings = settings
        self._files = files
        self._report = RecoveryReport()

    def run(self) -> Recovered:
        """Leave a log that can be appended to; raises `LogFormatUnsupported`."""
        self._finish_renames()
        names = [n for n in self._files.names(self._directory) if first_seq_of(n) is not None]
        headers = {name: self._header(name) for name in names}
        epoch = self._stored_epoch() or _commonest_epoch(headers.values())
        segments = [] if epoch is None else self._segments(epoch, headers)
        if epoch is None or not segments:
            epoch, segments = self._new_log()
        self._count_missing(segments)
        self._bound_quarantine()
        return Recovered(epoch, segments, self._report)

    def _finish_renames(self) -> None:
        """Give a synced file the name that a crash kept from it; remove what was not finished."""
        names = self._files.names(self._directory)
        for name in names:
            target = name.removesuffix(NEW)
            if target == name:
                continue
            is_segment = first_seq_of(target) is not None
            if is_segment and target not in names and self._header(name) is not None:
                self._files.rename(self._directory / name, self._directory / target)
            else:
                self._files.remove(self._directory / name)
            self._files.sync_directory(self._directory)

    def _header(self, name: str) -> Header | None:
        path = self._directory / name
        return decode_header(path, read_bytes(self._files, path, 0, HEADER_BYTES))

    def _stored_epoch(self) -> UUID | None:
        if EPOCH_NAME not in self._files.names(self._directory):
            return None
        return decode_epoch(read_whole(self._files, self._directory / EPOCH_NAME))

    def _segments(self, epoch: UUID, headers: dict[str, Header | None]) -> list[Segment]:
        if self._stored_epoch() is None:
            write_whole(self._files, self._directory / EPOCH_NAME, encode_epoch(epoch))
        segments: list[Segment] = []
        for name, header in headers.items():
            before = segments[-1] if segments else None
            assumed = _assumed_header(epoch, name, before)
            if not self._belongs(header, assumed, before):
                self._quarantine(name)
                continue
            is_last = name == max(headers)
            segment = self._take(name, header, assumed, is_last=is_last)
            if segment is None:
                self._quarantine(name)
            else:
                segments.append(segment)
        return segments

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
        data = read_whole(self._files, path)
        found = survey(data, header or assumed, header_is_sound=header is not None)
        if header is None and not found.frames:
            return None
        self._note_damage(path, found)
        if is_last and not found.is_sealed:
            return self._copy_survivors(path, data, header or assumed, found)
        return self._describe(path, header or assumed, found.frames)

    def _from_seal(self, path: Path, header: Header) -> Segment | None:
        """Know a finished segment by its last bytes, however many records it holds."""
        file = self._files.open(path)
        try:
            size_bytes = file.size_bytes()
            data = file.read(max(size_bytes - SEAL_BYTES, 0), SEAL_BYTES)
        finally:
            file.close()
        segment = Segment.empty(path, header)
        seal = framing.decode(data, 0, segment.salt)
        if seal is None or not seal.is_seal:
            return None
        segment.note_frame(seal)
        segment.end_bytes = size_bytes
        segment.record_count = seal.record_count
        segment.marks = None
        return segment

    def _describe(self, path: Path, header: Header, frames: Iterable[Frame]) -> Segment:
        segment = Segment.empty(path, header)
        for frame in frames:
            self._note_gap(segment.last_seq + 1, frame.seq - (not frame.is_seal))
            segment.note_frame(frame)
        return segment

    def _copy_survivors(self, path: Path, data: bytes, header: Header, found: Survey) -> Segment:
        """Put what survives, and a seal, under the segment's name."""
        kept = found.survivors()
        content = encode_header(header)
        content += b"".join(data[frame.offset_bytes : frame.end_bytes] for frame in kept)
        salt = framing.salt_of(header.epoch, header.first_seq)
        frames = framing.scan(content, HEADER_BYTES, salt, header.first_seq)
        segment = self._describe(path, header, frames)
        content += framing.encode_seal(
            salt, segment.last_seq, segment.chain, segment.record_count
        )  # fmt: skip
        if found.is_damaged:
            self._keep_damaged(path, data)
        kept_end = kept[-1].end_bytes if kept else HEADER_BYTES
        self._keep_torn(segment.last_seq + 1, data[kept_end : found.size_bytes])
        write_whole(self._files, path, content)
        segment.end_bytes = len(content)
        return segment

    def _keep_damaged(self, path: Path, data: bytes) -> None:
        aside = path.with_name(path.name + DAMAGED)
        write_whole(self._files, aside, data)
        self._report.quarantined.append(aside)

    def _keep_torn(self, next_seq: int, torn: bytes) -> None:
        if not torn:
            return
        path = self._directory / f"{next_seq:020d}{TORN}"
        write_whole(self._files, path, torn[: self._settings.torn_bytes_max])
        self._report.torn_bytes = len(torn)
        self._report.torn_file = path

    def _quarantine(self, name: str) -> None:
        path = self._directory / (name + DAMAGED)
        self._files.rename(self._directory / name, path)
        self._files.sync_directory(self._directory)
        self._report.quarantined.append(path)

    def _note_damage(self, path: Path, found: Survey) -> None:
        if not found.header_is_sound:
            self._report.damage.append(Damage(path, 0, HEADER_BYTES))
        self._report.damage += [Damage(path, offset, size) for offset, size in found.holes()]

    def _note_gap(self, first_seq: int, last_seq: int) -> None:
        if first_seq <= last_seq:
            self._report.gaps.append(Gap(first_seq, last_seq))

    def _count_missing(self, segments: list[Segment]) -> None:
        for before, after in pairwise(segments):
            self._note_gap(before.last_seq + 1, after.first_seq - 1)
        self._report.gaps.sort(key=lambda gap: gap.first_seq)
        given = segments[-1].last_seq - segments[0].first_seq + 1
        self._report.missing_count = given - sum(segment.record_count for segment in segments)

    def _new_log(self) -> tuple[UUID, list[Segment]]:
        """Begin anew; also where nothing survived, since its numbers may be known elsewhere."""
        for name in self._files.names(self._directory):
            if first_seq_of(name) is not None:
                self._quarantine(name)
        epoch = uuid4()
        write_whole(self._files, self._directory / EPOCH_NAME, encode_epoch(epoch))
        return epoch, [create_segment(self._files, self._directory, Header(epoch, 1, CHAIN_START))]

    def _bound_quarantine(self) -> None:
        names = self._files.names(self._directory)
        left_bytes = self._settings.quarantine_bytes_max
        for name in reversed([n for n in names if n.endswith((TORN, DAMAGED))]):
            file = self._files.open(self._directory / name)
            left_bytes -= file.size_bytes()
            file.close()
            if left_bytes < 0:
                self._files.remove(self._directory / name)
                self._files.sync_directory(self._directory)


def create_segment(files: Files, directory: Path, header: Header) -> Segment:
    """Make a segment without records; durable on return."""
    path = directory / file_name(header.first_seq)
    write_whole(files, path, encode_header(header))
    return Segment.empty(path, header)


def encode_epoch(epoch: UUID) -> bytes:
    """Write the epoch file: the id, and a checksum, in hexadecimal on one line."""
    return f"{epoch.hex} {crc32(epoch.bytes):08x}\n".encode()


def decode_epoch(data: bytes) -> UUID | None:
    """Read the epoch file; None if it is damaged."""
    try:
        epoch = UUID(hex=data[:32].decode("ascii"))
    except ValueError:
        return None
    return epoch if encode_epoch(epoch) == data else None


def _commonest_epoch(headers: Iterable[Header | None]) -> UUID | None:
    counts = Counter(header.epoch for header in headers if header is not None)
    return counts.most_common(1)[0][0] if counts else None


def _assumed_header(epoch: UUID, name: str, before: Segment | None) -> Header:
    """What a segment's header must say, going by its name and the segment before it."""
    first_seq = first_seq_of(name)
    assert first_seq is not None
    if before is None:
        return Header(epoch, first_seq, CHAIN_START if first_seq == 1 else CHAIN_UNKNOWN)
    follows = before.last_seq + 1 == first_seq
    return Header(epoch, first_seq, before.chain if follows else CHAIN_UNKNOWN)
