"""Bears whose storage fails, and what must be true after their next start."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from teddy_edge.errors import DaemonUnreachable
from teddy_edge.eventlog.inspection import verify
from tests.acceptance.bear import DAEMON, Bear

NOBODY_LISTENS = 1
PRESSES = 5
BUTTONS = ("left_paw", "right_paw", "belly")

SMALL = {
    "TEDDY_EDGE_LOG__SEGMENT_BYTES_MAX": "800",
    "TEDDY_EDGE_LOG__ALLOCATION_BYTES": "256",
    "TEDDY_EDGE_BUTTONS__DEBOUNCE_S": "0",
}
"""A new segment after every few events, so that a short run makes every kind of call."""


def bear_in(directory: Path, **settings: str) -> Bear:
    """A bear without a broker."""
    return Bear(directory, NOBODY_LISTENS, **{**SMALL, **settings})


@dataclass
class Told:
    """What the daemon said over its socket."""

    attempts: int = 0
    acknowledged: dict[int, str] = field(default_factory=dict)
    """The button that was pressed, by the number of the record that ends the command."""
    refused: bool = False

    def press(self, bear: Bear, count: int) -> None:
        """Press one button after the other, until the daemon refuses or is gone."""
        for number in range(count):
            button = BUTTONS[number % len(BUTTONS)]
            self.attempts += 1
            try:
                reply = bear.client.press(button)
            except DaemonUnreachable:
                self.refused = True
                return
            if not reply.ok:
                self.refused = True
                return
            assert reply.body["seq"] not in self.acknowledged, "a number was given twice"
            self.acknowledged[reply.body["seq"]] = button


def run(bear: Bear, told: Told, program: Sequence[str] = DAEMON, presses: int = PRESSES) -> int:
    """Start, press, stop; gives the exit code, also of a daemon that ends by itself."""
    bear.launch(program)
    if bear.wakes():
        told.press(bear, presses)
        if not told.refused:
            return bear.stop()
    return bear.wait_for_death()


def check_next_start(bear: Bear, told: Told, before: Sequence[dict[str, Any]] = ()) -> None:
    """Start as usual: all that was acknowledged is there, once, and writing goes on."""
    bear.start()
    events = bear.events()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["id"] for event in events}) == len(events)
    assert events[: len(before)] == list(before)
    check_presses(events[len(before) :], told)
    assert bear.client.press("belly").body["seq"] == len(events) + 2
    assert [event["seq"] for event in bear.events()] == list(range(1, len(events) + 3))
    assert bear.stop() == 0
    assert verify(bear.data_directory / "log").is_whole


def check_presses(events: Sequence[dict[str, Any]], told: Told) -> None:
    """Each press is two records: what happened, and the end of the command."""
    by_seq = {event["seq"]: event for event in events}
    for seq, button in told.acknowledged.items():
        assert by_seq[seq]["type"] == "command_done"
        assert by_seq[seq - 1]["data"] == {"button": button}
    pressed = [event["causationid"] for event in events if event["type"] == "button_pressed"]
    ended = [event["causationid"] for event in events if event["type"] == "command_done"]
    assert pressed == ended, "half a command"
    assert len(set(pressed)) == len(pressed) <= told.attempts


def put_card(card: Path, directory: Path) -> None:
    """Give a bear a copy of a card; none if there is no card."""
    if card.exists():
        shutil.copytree(card, directory / "data")
