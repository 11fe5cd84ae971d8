"""Dates what a bear recorded before it knew the time, when it is read from the cloud's store.

A `clock_synced` event says what both clocks of a boot showed at one moment. The monotonic clock
runs on evenly, so any other record of that boot lies as far from this moment in wall time as it
does in monotonic time. A record of a boot in which the time never became known cannot be dated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from teddy_edge.clock import Trust
from teddy_edge.errors import WireError
from teddy_edge.events import ClockSynced, DataClass, Record, decode_record
from teddy_edge.sync.wire import WireRecord

RANK: Final = {Trust.UNSYNCED: 0, Trust.SET: 1, Trust.SYNCED: 2}


@dataclass(frozen=True, slots=True)
class DatedRecord:
    """A record as it was sent, and what its time turned out to be."""

    record: Record
    corrected_wall_ns: int | None
    """None where nothing better is known than the record's own."""


def dated(read: Callable[[], Iterable[WireRecord]]) -> Iterator[DatedRecord]:
    """Date a series, which `read` gives from its beginning each time.

    It is read twice, so that what became known last dates also what was recorded first. Raises
    `WireError` where a record is no event.
    """
    known: defaultdict[str, list[ClockSynced]] = defaultdict(list)
    for stored in read():
        if stored.data_class == DataClass.STATE:
            event = _record(stored).event
            if isinstance(event, ClockSynced):
                known[event.boot_id].append(event)
    for stored in read():
        record = _record(stored)
        yield DatedRecord(record, corrected_wall_ns(record, known[str(record.boot_id)]))


def _record(stored: WireRecord) -> Record:
    try:
        return decode_record(stored.seq, stored.data_class, stored.body)
    except (ValueError, TypeError, OverflowError):  # its text may hold what a child said
        raise WireError(f"record {stored.seq} is no event that this version can read") from None


def corrected_wall_ns(record: Record, known: Iterable[ClockSynced]) -> int | None:
    """Give the wall time of a record by what its bear knew at other times of the boot.

    None where nothing better is known than what the record says. The time from a network is better
    than a parent's; among equals the nearest is used, since crystals drift.
    """
    better = [
        each
        for each in known
        if each.boot_id == str(record.boot_id) and _rank(each) > RANK[record.trust]
    ]
    if not better:
        return None
    best = max(
        better, key=lambda each: (_rank(each), -abs(each.monotonic_ns - record.monotonic_ns))
    )
    return best.wall_ns - best.monotonic_ns + record.monotonic_ns


def _rank(known: ClockSynced) -> int:
    return RANK[Trust(known.trust)]
