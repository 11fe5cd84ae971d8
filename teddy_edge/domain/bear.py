"""The bear itself: what its buttons mean."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, ClassVar

from pydantic import Field

from teddy_edge.domain.command import Command
from teddy_edge.errors import CommandRejected
from teddy_edge.events import ButtonPressed, Event
from teddy_edge.messages import Identifier, Moment, Origin

STREAM = "bear"
SET_MIN = datetime(2025, 1, 1, tzinfo=UTC)
SET_MAX = datetime(2100, 1, 1, tzinfo=UTC)
"""Between these a clock may be set."""


class PressButton(Command):
    """A button of the bear was pressed. Only the bear's own pins may say so."""

    wire_name: ClassVar[str] = "press_button"
    origins: ClassVar[frozenset[Origin]] = frozenset({Origin.BUTTON})

    button: Identifier


class SetClock(Command):
    """Tell the bear the time where no network does; it holds until the next boot.

    Sent over MQTT it should have a message expiry of seconds: the broker must not deliver it later.
    """

    wire_name: ClassVar[str] = "set_clock"
    corrects_time: ClassVar[bool] = True

    now: Annotated[Moment, Field(strict=False, ge=SET_MIN, le=SET_MAX)]


def decide(buttons: Collection[str], command: PressButton) -> list[Event]:
    """Record a press of one of the buttons that the bear has."""
    if command.button not in buttons:
        known = ", ".join(buttons)
        raise CommandRejected("unknown_button", f"this bear has the buttons {known}", "data.button")
    return [ButtonPressed(button=command.button)]
