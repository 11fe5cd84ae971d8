"""What must be in the log on a disk that lost its power."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from teddy_edge.eventlog import Cursor, EventLog, StoredRecord, next_chain
from teddy_edge.eventlog.frame import CHAIN_UNKNOWN, Frame, salt_of
from teddy_edge.eventlog.segment import decode_header, first_seq_of
from teddy_edge.eventlog.survey import survey
from tests.power.load import Paths, open_log, read_all
from tests.power.told import Place, Told, place_of

PAGE_BYTES: Final = 4096
AFTERWARDS: Final = 60_000
"""The run that appends after the power cut."""


class Page(NamedTuple):
    """A page of a segment, and the numbers whose records lie in it, if only in part."""

    name: str
    offset_bytes: int
    seqs: set[int]


class Found(NamedTuple):
    """What a log gave after opening, and what it says is lost."""

    records: list[StoredRecord]
    lost_seqs: set[int]

    @property
    def seqs(self) -> set[int]:
        return {record.seq for record in self.records}


async def check_power_cut(paths: Paths, told: Told) -> Found:
    """See that everything that was promised is there, and that all goes on."""
    log = open_log(paths)
    found = _examine(log)
    _check_promises(log, found, told)
    _check_cursor(paths, log, told)
    await _go_on(paths, log, found)
    return found


async def check_damage(paths: Paths, before: Found, page: Page) -> None:
    """See that only the records in the page are lost of what was there, and are counted."""
    log = open_log(paths)
    found = _examine(log)
    assert found.seqs == before.seqs - page.seqs, "more or less is lost than was in the page"
    assert found.lost_seqs == before.lost_seqs | page.seqs, "it is not counted exactly"
    await _go_on(paths, log, found)


def _examine(log: EventLog) -> Found:
    records = read_all(log)
    gaps = [seq for gap in log.gaps() for seq in range(gap.first_seq, gap.last_seq + 1)]
    assert len(gaps) == len(set(gaps)) == log.report.missing_count, "the report is not exact"
    places = [place_of(record) for record in records]
    assert len(places) == len(set(places)), "a record is there twice"
    _check_chain(records, set(gaps))
    return Found(records, set(gaps))


def _check_chain(records: Sequence[StoredRecord], lost_seqs: set[int]) -> None:
    """See that it is broken only where the record before is lost, not where it was removed."""
    for record in records:
        if record.chain_before == CHAIN_UNKNOWN:
            assert record.seq - 1 in lost_seqs, "the chain is broken"
        else:
            chain = next_chain(record.chain_before, record.seq, record.data_class, record.body)
            assert record.chain == chain, "the chain is wrong"
    for before, after in pairwise(records):
        assert before.seq < after.seq, "not in order"
        if before.seq + 1 == after.seq:
            assert after.chain_before == before.chain, "the chain is broken"


def _check_promises(log: EventLog, found: Found, told: Told) -> None:
    assert told.epoch in {None, str(log.epoch)}, "it is another log"
    assert log.whole_from_seq >= told.whole_from_seq, "a reduced segment came back"
    for record in found.records:
        place = place_of(record)
        assert told.acknowledged.get(record.seq, place) == place, "the order is another"
    dropped = told.dropped_seqs
    if not told.dropping_seqs <= found.seqs:
        dropped = dropped | told.dropping_seqs
    assert not dropped & found.seqs, "what was dropped came back, or half of it went"
    missing = told.acknowledged.keys() - found.seqs - dropped
    lost = {seq for seq in missing if not told.may_be_removed(seq)}
    assert not lost, f"acknowledged and lost: {sorted(lost)}"
    absent = set(range(1, log.last_seq + 1)) - found.seqs
    exact = dropped | (absent - told.acknowledged.keys())
    assert found.lost_seqs == exact, "the gaps are not what is lost"
    _check_whole(found, told)


def _check_whole(found: Found, told: Told) -> None:
    """See that of an append nothing is missing but what retention took."""
    present = {place_of(record) for record in found.records}
    wholes = {entry for place in present for entry in place.whole()}
    assert wholes - present <= set(told.acknowledged.values()), "half an append"


def _check_cursor(paths: Paths, log: EventLog, told: Told) -> None:
    cursor = Cursor.open(paths.cursor, log.epoch)
    assert told.confirmed_seq <= cursor.seq <= told.confirming_seq, "the cursor went back"
    assert cursor.note is None or told.confirmed_seq == 0, cursor.note


async def _go_on(paths: Paths, log: EventLog, found: Found) -> None:
    """Append, and see that it and all before it is there after opening again."""
    log.start()
    last_seq = log.last_seq
    appends = [Place(AFTERWARDS, 0, number) for number in (1, 2)]
    for append in appends:
        await log.append(append.entries())
    await log.close()
    again = open_log(paths)
    later = _examine(again)
    assert again.report.torn_bytes == 0
    await again.close()
    assert later.records[: len(found.records)] == found.records
    added = [place for append in appends for place in append.whole()]
    assert [place_of(record) for record in later.records[len(found.records) :]] == added
    assert later.records[-1].seq == last_seq + len(added)
    assert later.lost_seqs == found.lost_seqs


def pages_before_the_tail(paths: Paths) -> list[Page]:
    """Give the pages that hold records, but those that the last commit may still have written.

    What a crash left of joining two segments is left out: its records are in the joined one.
    """
    if not paths.log.exists():
        return []
    names = sorted(path.name for path in paths.log.iterdir() if first_seq_of(path.name))
    pages: list[Page] = []
    last_seq = 0
    for name in names:
        frames = _frames(paths.log / name)
        if frames and frames[0].begin_seq > last_seq:
            pages += _pages(paths.log / name, frames, is_last=name == names[-1])
            last_seq = frames[-1].seq
    return pages


def _frames(path: Path) -> list[Frame]:
    data = path.read_bytes()
    header = decode_header(path, data)
    assert header is not None
    return survey(data, salt_of(header.epoch, header.first_seq), header.first_seq).frames


def _pages(path: Path, frames: Sequence[Frame], *, is_last: bool) -> list[Page]:
    end_bytes = _proven_bytes(frames) if is_last else path.stat().st_size
    pages = [_page(path.name, frames, at) for at in range(0, end_bytes, PAGE_BYTES)]
    return [page for page in pages if page.seqs and page.offset_bytes + PAGE_BYTES <= end_bytes]


def _proven_bytes(frames: Sequence[Frame]) -> int:
    """Where the last commit begins."""
    if not frames:
        return 0
    last = [frame.offset_bytes for frame in frames if frame.seq > frames[-1].proven_seq]
    return min(last, default=frames[-1].offset_bytes)


def _page(name: str, frames: Sequence[Frame], at: int) -> Page:
    touched = [f for f in frames if f.offset_bytes < at + PAGE_BYTES and f.end_bytes > at]
    seqs = {seq for frame in touched for seq in range(frame.begin_seq, frame.seq + 1)}
    return Page(name, at, seqs)


def spoil(paths: Paths, page: Page, random: Random) -> None:
    """Put noise or zeros in the place of a page."""
    path = paths.log / page.name
    size_bytes = min(path.stat().st_size - page.offset_bytes, PAGE_BYTES)
    with path.open("r+b") as file:
        file.seek(page.offset_bytes)
        file.write(random.choice([random.randbytes(size_bytes), bytes(size_bytes)]))
