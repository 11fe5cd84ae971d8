"""What is lost, as it is told: ranges of numbers, and how many of them have no record any more."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from teddy_edge.eventlog.survey import Gap


@dataclass(frozen=True, slots=True)
class LostRange:
    """Of the numbers from first to last, `count` are lost."""

    first_seq: int
    last_seq: int
    count: int
    data_class: int | None = None
    """Dropped for want of room: all records of this class in the range. None: damage."""


def untold(gaps: Iterable[Gap], told: Iterable[LostRange]) -> list[LostRange]:
    """Give what is missing and not yet told, so that the counts of both sum up to the gaps.

    Ranges that were told and overlap are looked at together: of the numbers that they cover, so
    many are accounted for as their counts say, whichever these are. A log within its budget can
    have hundreds of thousands of gaps, so this takes no longer than to sort both, and still belongs
    in a thread.
    """
    missing = _joined(gaps)
    if not missing:
        return []
    found: list[LostRange] = []
    next_seq = missing[0].first_seq
    for first_seq, last_seq, count in _overlapping(told):
        found += map(_all_of, _between(missing, next_seq, first_seq - 1))
        found += _beyond(count, _between(missing, first_seq, last_seq))
        next_seq = last_seq + 1
    found += map(_all_of, _between(missing, next_seq, missing[-1].last_seq))
    return found


def _joined(gaps: Iterable[Gap]) -> list[Gap]:
    joined: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: gap.first_seq):
        if joined and gap.first_seq <= joined[-1].last_seq + 1:
            last_seq = max(joined[-1].last_seq, gap.last_seq)
            joined[-1] = Gap(joined[-1].first_seq, last_seq)
        else:
            joined.append(gap)
    return joined


def _overlapping(told: Iterable[LostRange]) -> Iterator[tuple[int, int, int]]:
    """Join ranges that have numbers in common; gives first, last and the sum of the counts."""
    joined: tuple[int, int, int] | None = None
    for lost in sorted(told, key=lambda lost: lost.first_seq):
        if joined is not None and lost.first_seq <= joined[1]:
            joined = (joined[0], max(joined[1], lost.last_seq), joined[2] + lost.count)
            continue
        if joined is not None:
            yield joined
        joined = (lost.first_seq, lost.last_seq, lost.count)
    if joined is not None:
        yield joined


def _between(missing: Sequence[Gap], first_seq: int, last_seq: int) -> list[Gap]:
    """Give what is missing from one number to another, of gaps in order that do not touch."""
    if first_seq > last_seq:
        return []
    begin = bisect_left(missing, first_seq, key=attrgetter("last_seq"))
    end = bisect_right(missing, last_seq, begin, key=attrgetter("first_seq"))
    return [
        Gap(max(gap.first_seq, first_seq), min(gap.last_seq, last_seq))
        for gap in missing[begin:end]
    ]


def _all_of(gap: Gap) -> LostRange:
    return LostRange(gap.first_seq, gap.last_seq, gap.record_count)


def _beyond(count: int, within: Sequence[Gap]) -> list[LostRange]:
    """Say what is missing in a range of which `count` were told; nothing where that is all."""
    excess = sum(gap.record_count for gap in within) - count
    return [LostRange(within[0].first_seq, within[-1].last_seq, excess)] if excess > 0 else []
