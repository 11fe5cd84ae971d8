"""Small logs whose every byte is known, and what must be left of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from teddy_edge.eventlog import Entry, EventLog, StoredRecord
from teddy_edge.eventlog.files import Files
from teddy_edge.eventlog.frame import Frame, salt_of
from teddy_edge.eventlog.segment import decode_header, first_seq_of
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from teddy_edge.eventlog.survey import survey
from teddy_edge.settings import LogSettings

DIRECTORY = Path("/log")
TINY = LogSettings(
    segment_bytes_max=512,
    allocation_bytes=256,
    record_bytes_max=1024,
    batch_bytes_max=4096,
    queue_records_max=64,
)
"""Limits that reach a new segment after five small records."""

ROOMY = TINY.model_copy(update={"segment_bytes_max": 4096, "allocation_bytes": 1500})
"""Limits under which one commit writes several blocks."""

APPEND_SIZES = (1, 1, 3, 1, 2, 1, 1, 2, 1, 1, 3, 1, 1)
"""How many entries each append of the standard history has."""


def body_of(seq: int) -> bytes:
    """The content of a record, told by its number."""
    return b"record %d %s" % (seq, b"." * (seq % 5 * 3))


async def write_history(files: Files, sizes: Sequence[int] = APPEND_SIZES) -> EventLog:
    """Append one after the other, each waited for; the log is left open."""
    log = EventLog.open(DIRECTORY, TINY, files)
    log.start()
    for size in sizes:
        await append(log, size)
    return log


async def closed_log() -> tuple[SimulatedFiles, list[Layout]]:
    """A log of several segments whose owner closed it, and what stands where in it."""
    files = SimulatedFiles()
    await (await write_history(files)).close()
    found = layouts(files)
    assert len(found) >= 3
    return files, found


async def append(log: EventLog, size: int) -> int:
    """Append records that say their numbers."""
    first_seq = log.last_seq + 1
    return await log.append([Entry(5, body_of(seq)) for seq in range(first_seq, first_seq + size)])


@dataclass(frozen=True)
class Layout:
    """Where everything stands in a segment that is whole."""

    path: Path
    data: bytes
    frames: list[Frame]

    @property
    def records(self) -> list[Frame]:
        return [frame for frame in self.frames if not frame.is_seal]

    @property
    def seqs(self) -> range:
        return range(self.records[0].seq, self.records[-1].seq + 1)


def layouts(files: SimulatedFiles) -> list[Layout]:
    """Describe every segment of a whole log."""
    return [_layout(files, name) for name in files.names(DIRECTORY) if first_seq_of(name)]


def _layout(files: SimulatedFiles, name: str) -> Layout:
    path = DIRECTORY / name
    data = files.content(path)
    header = decode_header(path, data)
    assert header is not None
    salt = salt_of(header.epoch, header.first_seq)
    return Layout(path, data, survey(data, salt, header.first_seq).frames)


@dataclass(frozen=True)
class Found:
    """What a damaged log gave after opening."""

    records: list[StoredRecord]
    gap_seqs: list[int]
    missing_count: int
    torn_bytes: int
    last_seq: int

    @property
    def seqs(self) -> list[int]:
        return [record.seq for record in self.records]


async def examine(files: Files, settings: LogSettings = TINY) -> Found:
    """Open, read all, go on writing, and see that all of it is there after opening again."""
    log = EventLog.open(DIRECTORY, settings, files)
    found = _read(log)
    log.start()
    added = [await append(log, size) for size in (1, 2)]
    await log.close()
    assert added == [found.last_seq + 1, found.last_seq + 3]
    again = EventLog.open(DIRECTORY, settings, files)
    later = _read(again)
    await again.close()
    assert later.records[: len(found.records)] == found.records
    assert later.seqs[len(found.records) :] == list(range(found.last_seq + 1, added[1] + 1))
    assert later.missing_count == found.missing_count
    assert later.torn_bytes == 0
    for record in later.records:
        assert record.body == body_of(record.seq)
    return found


def _read(log: EventLog) -> Found:
    records = log.read(1, 1000, 1 << 20)
    report = log.report
    gap_seqs = [seq for gap in report.gaps for seq in range(gap.first_seq, gap.last_seq + 1)]
    assert report.complete == (report.missing_count == 0 and not report.is_new_epoch)
    return Found(
        records, sorted(gap_seqs), report.missing_count, report.torn_bytes, log.last_seq
    )  # fmt: skip
