"""Dates the records that a bear wrote before it knew the time.

A `clock_synced` event says what both clocks of a boot showed at one moment. The monotonic clock
runs on evenly, so any other record of that boot lies as far from this moment in wall time as it
does in monotonic time. A record of a boot in which the time never became known cannot be dated.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from teddy_edge.clock import Trust
from teddy_edge.events import ClockSynced, Record

RANK: Final = {Trust.UNSYNCED: 0, Trust.SET: 1, Trust.SYNCED: 2}


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
