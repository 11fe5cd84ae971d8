"""What is lost, as it is told: ranges of numbers, and how many of them have no record any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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
    many are accounted for as their counts say, whichever these are.
    """
    missing = _joined(gaps)
    ranges = list(_overlapping(told))
    found = [LostRange(gap.first_seq, gap.last_seq, gap.record_count)
             for gap in _outside(missing, ranges)]  # fmt: skip
    for first_seq, last_seq, count in ranges:
        within = [_clipped(gap, first_seq, last_seq) for gap in missing]
        within = [gap for gap in within if gap.record_count > 0]
        excess = sum(gap.record_count for gap in within) - count
        if excess > 0:
            found.append(LostRange(within[0].first_seq, within[-1].last_seq, excess))
    return sorted(found, key=lambda lost: lost.first_seq)


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


def _outside(missing: Sequence[Gap], ranges: Sequence[tuple[int, int, int]]) -> Iterator[Gap]:
    for gap in missing:
        first_seq = gap.first_seq
        for range_first, range_last, _ in ranges:
            if range_last < first_seq or range_first > gap.last_seq:
                continue
            if first_seq < range_first:
                yield Gap(first_seq, range_first - 1)
            first_seq = range_last + 1
        if first_seq <= gap.last_seq:
            yield Gap(first_seq, gap.last_seq)


def _clipped(gap: Gap, first_seq: int, last_seq: int) -> Gap:
    return Gap(max(gap.first_seq, first_seq), min(gap.last_seq, last_seq))
