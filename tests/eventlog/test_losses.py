"""What is lost and not yet told: whatever way the ranges lie to each other, the counts sum up."""

from __future__ import annotations

from teddy_edge.eventlog import LostRange, untold
from teddy_edge.eventlog.survey import Gap


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
