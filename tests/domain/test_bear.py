"""The rules about the bear's buttons."""

from __future__ import annotations

import pytest

from teddy_edge.domain.bear import PressButton, decide
from teddy_edge.errors import CommandRejected
from teddy_edge.events import ButtonPressed

BUTTONS = ("left_paw", "belly")


def test_a_press_of_a_known_button_is_an_event() -> None:
    assert decide(BUTTONS, PressButton(button="belly")) == [ButtonPressed(button="belly")]


def test_an_unknown_button_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CommandRejected, match="left_paw, belly"):
        decide(BUTTONS, PressButton(button="nose"))
