"""The bear itself: what its buttons mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from teddy_edge.domain.command import Command
from teddy_edge.errors import CommandRejected
from teddy_edge.events import ButtonPressed, Event
from teddy_edge.messages import Identifier, Origin

STREAM = "bear"


class PressButton(Command):
    """A button of the bear was pressed. Only the bear's own pins may say so."""

    wire_name: ClassVar[str] = "press_button"
    origins: ClassVar[frozenset[Origin]] = frozenset({Origin.BUTTON})

    button: Identifier


@dataclass(frozen=True, slots=True)
class Bear:
    """What the rules need to know of the bear."""

    buttons: tuple[str, ...]


def decide(state: Bear, command: PressButton) -> list[Event]:
    """Record a press of a button that the bear has."""
    if command.button not in state.buttons:
        known = ", ".join(state.buttons)
        raise CommandRejected("unknown_button", f"this bear has the buttons {known}", "data.button")
    return [ButtonPressed(button=command.button)]
