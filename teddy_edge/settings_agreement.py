"""What must hold between settings that are each right by themselves.

Each rule names two keys: with the first too great for the second the daemon would start, and then
fail at the first message, press or power cut that needs the room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

KeyPath = tuple[str, ...]

ENVELOPE_BYTES: Final = 4096
"""What is written around what a sender said: ids, times, the topic, the frames of the log."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The value of one key, and `room` on top, must not exceed the value of another."""

    least: str
    most: str
    because: str
    room: int = 0

    def broken_by(self, settings: Mapping[str, Any]) -> str | None:
        """Say what would be accepted for `least`; None where the rule holds."""
        limit = _value(settings, self.most)
        if _value(settings, self.least) + self.room <= limit:
            return None
        room = f" less {self.room}" if self.room else ""
        return f"at most {self.most}{room}, which is {limit - self.room:.15g}: {self.because}"


RULES: Final = (
    Rule("broker.backoff_s_min", "broker.backoff_s_max", "waits lie between the two"),
    Rule(
        "broker.backoff_s_max",
        "broker.session_expiry_s",
        "else the broker forgets between two attempts what it holds for the bear",
    ),
    Rule(
        "commands.payload_bytes_max",
        "broker.packet_bytes_max",
        "else the broker keeps a command to itself that the bear would take",
        ENVELOPE_BYTES,
    ),
    Rule(
        "broker.packet_bytes_max",
        "broker.held_bytes_max",
        "else one message alone would be left to the broker for ever",
        ENVELOPE_BYTES,
    ),
    Rule(
        "log.segment_bytes_max",
        "log.command_bytes_max",
        "else retention could take the ends of all commands at once",
    ),
    Rule(
        "commands.payload_bytes_max",
        "log.record_bytes_max",
        "an event holds what its command said",
        ENVELOPE_BYTES,
    ),
    Rule(
        "log.record_bytes_max",
        "log.batch_bytes_max",
        "a record is written as a whole, with its command's end",
        ENVELOPE_BYTES,
    ),
    Rule(
        "commands.payload_bytes_max",
        "projections.row_bytes_max",
        "a row holds what a command said",
        ENVELOPE_BYTES,
    ),
)


def disagreements(settings: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield each key whose value cannot stand beside another's, and what is accepted for it."""
    for rule in RULES:
        accepted = rule.broken_by(settings)
        if accepted is not None:
            yield tuple(rule.least.split(".")), accepted
    taken: dict[int, str] = {}
    for button, pin in settings["buttons"]["pins"].items():
        if pin in taken:
            accepted = f"a pin of its own: buttons.pins.{taken[pin]} has this one"
            yield ("buttons", "pins", button), accepted
        taken.setdefault(pin, button)


def _value(settings: Mapping[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    return settings[section][name]
