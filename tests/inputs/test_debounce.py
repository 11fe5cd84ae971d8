"""Presses and bounces, on a clock that the test moves."""

from __future__ import annotations

from teddy_edge.inputs.debounce import Debounce
from teddy_edge.testing import FakeClock

PRESS, RELEASE = True, False


class Contacts:
    """A button whose edges come at given distances."""

    def __init__(self, debounce_s: float = 0.03) -> None:
        self.clock = FakeClock()
        self.debounce = Debounce(debounce_s)

    def edge(self, pressed: bool, after_s: float = 0.0) -> bool:
        self.clock.advance(after_s)
        return self.debounce.is_press(pressed, self.clock.monotonic_ns())


def test_the_first_edge_acts_at_once() -> None:
    assert Contacts().edge(PRESS)


def test_a_press_that_bounces_counts_once() -> None:
    contacts = Contacts()
    edges = [contacts.edge(PRESS)]
    for _ in range(5):
        edges += [contacts.edge(RELEASE, 0.002), contacts.edge(PRESS, 0.002)]
    assert edges.count(True) == 1


def test_a_release_is_no_press() -> None:
    contacts = Contacts()
    contacts.edge(PRESS)
    assert not contacts.edge(RELEASE, 1.0)


def test_a_release_that_bounces_is_no_press() -> None:
    contacts = Contacts()
    contacts.edge(PRESS)
    contacts.edge(RELEASE, 1.0)
    assert not contacts.edge(PRESS, 0.005)


def test_contacts_must_rest_before_a_press_counts_again() -> None:
    contacts = Contacts()
    contacts.edge(PRESS)
    assert not any(contacts.edge(PRESS, 0.029) for _ in range(10))
    assert contacts.edge(PRESS, 0.03)


def test_a_press_after_the_time_counts_again() -> None:
    contacts = Contacts()
    contacts.edge(PRESS)
    contacts.edge(RELEASE, 0.1)
    assert contacts.edge(PRESS, 0.03)


def test_without_a_debounce_time_every_press_counts() -> None:
    contacts = Contacts(debounce_s=0)
    assert contacts.edge(PRESS)
    assert contacts.edge(PRESS)
