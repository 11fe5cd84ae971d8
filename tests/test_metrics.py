"""What is measured, and what is let through in a minute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teddy_edge.metrics import SAMPLES_MAX, Meter, RateLimit
from teddy_edge.testing import FakeClock


def measured(clock: FakeClock, took_s: list[float], failed: int = 0) -> Meter:
    meter = Meter(clock)
    for number, seconds in enumerate(took_s):
        started_ns = clock.monotonic_ns()
        clock.advance(seconds)
        meter.add(started_ns, failed=number < failed)
    return meter


def test_a_meter_without_samples_says_so() -> None:
    meter = Meter(FakeClock())
    assert (meter.rate_per_s(), meter.median_ms()) == (0.0, None)


def test_rate_median_and_errors_are_those_of_the_samples() -> None:
    meter = measured(FakeClock(), [0.5, 0.5, 1.0, 2.0, 0.5], failed=2)
    assert meter.median_ms() == 500
    assert meter.rate_per_s() == 5 / 4
    assert (meter.total, meter.errors) == (5, 2)


def test_a_rate_falls_while_nothing_comes() -> None:
    clock = FakeClock()
    meter = measured(clock, [0.5] * 5)
    clock.advance(98)
    assert meter.rate_per_s() == 5 / 100


def test_one_command_is_not_a_thousand_million_a_second() -> None:
    assert measured(FakeClock(), [0.001]).rate_per_s() == 1.0


def test_a_meter_remembers_no_more_than_the_newest_samples() -> None:
    meter = measured(FakeClock(), [1.0] * SAMPLES_MAX + [0.001] * SAMPLES_MAX, failed=1)
    assert meter.median_ms() == 1.0
    assert (meter.total, meter.errors) == (2 * SAMPLES_MAX, 1)


@given(per_minute=st.integers(1, 2000), used=st.integers(0, 50), late_s=st.floats(0, 90))
def test_after_the_wait_that_was_told_there_is_one_to_take(
    per_minute: int, used: int, late_s: float
) -> None:
    clock = FakeClock()
    limit = RateLimit(clock, per_minute, 10)
    for _ in range(per_minute):
        assert limit.wait_s("sender") == 0
    clock.advance(late_s)
    for _ in range(used):
        limit.wait_s("sender")
    wait_s = limit.wait_s("sender")
    assert 0 <= wait_s <= 60
    if wait_s == 0:
        return
    clock.advance(wait_s)
    assert limit.wait_s("sender") == 0


def test_in_the_long_run_nobody_gets_more_than_the_rate() -> None:
    clock = FakeClock()
    limit = RateLimit(clock, 6, 10)
    let_through = 0
    for _ in range(600):
        let_through += limit.wait_s("sender") == 0
        clock.advance(1)
    assert let_through == 6 + 599 // 10
    clock.advance(24 * 3600)
    assert [limit.wait_s("sender") for _ in range(7)] == [0] * 6 + [10]


@pytest.mark.parametrize(("others", "is_forgotten"), [(2, False), (3, True)])
def test_only_so_many_senders_are_watched_and_the_one_longest_ago_goes(
    others: int, is_forgotten: bool
) -> None:
    limit = RateLimit(FakeClock(), 1, 3)
    assert limit.wait_s("first") == 0
    for number in range(others):
        assert limit.wait_s(str(number)) == 0
    assert (limit.wait_s("first") == 0) is is_forgotten
