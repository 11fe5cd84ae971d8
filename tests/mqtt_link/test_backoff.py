"""The waits between two connections."""

from __future__ import annotations

from random import Random

from teddy_edge.backoff import Backoff

S_MIN, S_MAX = 1.0, 60.0


def waits(count: int, held_s: float, seed: int = 7) -> list[float]:
    backoff = Backoff(S_MIN, S_MAX, Random(seed))
    return [backoff.next_s(held_s) for _ in range(count)]


def test_every_wait_is_within_the_bounds() -> None:
    assert all(S_MIN <= wait <= S_MAX for wait in waits(1000, held_s=0))


def test_waits_grow_while_connections_do_not_hold() -> None:
    assert sum(waits(200, held_s=59.9)) / 200 > 20


def test_a_connection_that_held_starts_the_row_again() -> None:
    assert all(wait <= 3 * S_MIN for wait in waits(200, held_s=60))


def test_two_bears_do_not_come_back_together() -> None:
    assert not set(waits(3, held_s=0, seed=1)) & set(waits(3, held_s=0, seed=2))
