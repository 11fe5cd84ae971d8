"""What is lost and not yet told: whatever way the ranges lie to each other, the counts sum up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from teddy_edge.eventlog import LostRange, untold
from teddy_edge.eventlog.survey import Gap
from tests.eventlog.counting import gaps_that_note

SPANS = st.tuples(st.integers(1, 40), st.integers(0, 9)).map(lambda s: (s[0], s[0] + s[1]))
GAPS = st.lists(SPANS.map(lambda span: Gap(*span)), max_size=12)
TOLD = st.lists(
    st.tuples(SPANS, st.integers(0, 12)).map(lambda told: LostRange(*told[0], told[1])),
    max_size=8,
)


def test_gaps_that_touch_or_overlap_are_told_as_one() -> None:
    whole = [LostRange(1, 9, 9)]
    assert untold([Gap(5, 9), Gap(1, 4)], []) == whole
    assert untold([Gap(1, 6), Gap(4, 9)], []) == whole
    assert untold([Gap(1, 9), Gap(3, 4)], []) == whole
    assert untold([Gap(1, 4), Gap(6, 9)], []) == [LostRange(1, 4, 4), LostRange(6, 9, 4)]
    assert untold([Gap(1, 1), Gap(3, 4), Gap(5, 7), Gap(8, 9)], []) == [
        LostRange(1, 1, 1), LostRange(3, 9, 7),
    ]  # fmt: skip


def test_what_was_told_of_the_middle_of_a_gap_leaves_both_its_ends() -> None:
    assert untold([Gap(1, 9)], [LostRange(3, 4, 2)]) == [LostRange(1, 2, 2), LostRange(5, 9, 5)]


def test_what_was_told_of_the_first_number_of_a_gap_leaves_the_others() -> None:
    assert untold([Gap(5, 9)], [LostRange(1, 5, 1)]) == [LostRange(6, 9, 4)]


def test_told_ranges_with_one_number_in_common_are_looked_at_together() -> None:
    assert untold([Gap(1, 9)], [LostRange(1, 5, 5, 6), LostRange(5, 9, 4, 3)]) == []


def test_what_is_lost_beyond_the_told_count_is_told_where_it_lies() -> None:
    gaps = [Gap(1, 4), Gap(7, 8)]
    assert untold(gaps, [LostRange(5, 9, 1)]) == [LostRange(1, 4, 4), LostRange(7, 8, 1)]


@given(gaps=GAPS, told=TOLD)
def test_it_says_what_looking_at_each_gap_with_each_range_says(
    gaps: list[Gap], told: list[LostRange]
) -> None:
    assert untold(gaps, told) == plainly_untold(gaps, told)


@given(gaps=GAPS, told=TOLD)
def test_what_was_untold_is_so_no_more_once_it_is_told(
    gaps: list[Gap], told: list[LostRange]
) -> None:
    assert untold(gaps, told + untold(gaps, told)) == []


def test_twice_the_gaps_and_ranges_take_about_twice_the_work() -> None:
    assert looks_at(segment_count=32) < 3 * looks_at(segment_count=16)


def looks_at(segment_count: int) -> int:
    """Count the looks at gaps where every second record of so many segments was dropped."""
    looks: list[str] = []
    gap = gaps_that_note(looks)
    gaps = [gap(seq, seq) for seq in range(1, 100 * segment_count, 2)]
    told = [LostRange(first, first + 98, 50, 1) for first in range(1, 100 * segment_count, 100)]
    assert untold(gaps, told) == []
    return len(looks)


def plainly_untold(gaps: list[Gap], told: list[LostRange]) -> list[LostRange]:
    """Look at every gap with every range."""
    missing = _joined(gaps)
    ranges = _overlapping(told)
    found = [
        LostRange(gap.first_seq, gap.last_seq, gap.record_count)
        for gap in _outside(missing, ranges)
    ]
    for first_seq, last_seq, count in ranges:
        clipped = [
            Gap(max(gap.first_seq, first_seq), min(gap.last_seq, last_seq)) for gap in missing
        ]
        within = [gap for gap in clipped if gap.record_count > 0]
        excess = sum(gap.record_count for gap in within) - count
        if excess > 0:
            found.append(LostRange(within[0].first_seq, within[-1].last_seq, excess))
    return sorted(found, key=lambda lost: lost.first_seq)


def _joined(gaps: list[Gap]) -> list[Gap]:
    seqs = sorted({seq for gap in gaps for seq in range(gap.first_seq, gap.last_seq + 1)})
    firsts = [seq for seq in seqs if seq - 1 not in seqs]
    lasts = [seq for seq in seqs if seq + 1 not in seqs]
    return [Gap(*ends) for ends in zip(firsts, lasts, strict=True)]


def _overlapping(told: list[LostRange]) -> list[tuple[int, int, int]]:
    joined: list[tuple[int, int, int]] = []
    for lost in sorted(told, key=lambda lost: lost.first_seq):
        if joined and lost.first_seq <= joined[-1][1]:
            first_seq, last_seq, count = joined.pop()
            joined.append((first_seq, max(last_seq, lost.last_seq), count + lost.count))
        else:
            joined.append((lost.first_seq, lost.last_seq, lost.count))
    return joined


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
