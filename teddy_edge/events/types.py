"""The facts that the bear remembers.

An event type is a frozen dataclass with its name on the wire, its version and its data class. A
change of its fields is a new version, with an upcaster from the old one (see `upcasting`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol


class DataClass(enum.IntEnum):
    """What kind of data a record is; budgets and retention go by it."""

    SAFETY = 1
    CONSENT = 2
    COMMAND = 3
    STATE = 4
    ACTIVITY = 5
    DIAGNOSTICS = 6


class Event(Protocol):
    """What every event type has beside its own fields."""

    type: ClassVar[str]
    type_version: ClassVar[int]
    data_class: ClassVar[DataClass]
    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ChildRegistered:
    """A parent registered a child with this bear."""

    type: ClassVar[str] = "child_registered"
    type_version: ClassVar[int] = 1
    data_class: ClassVar[DataClass] = DataClass.CONSENT

    child_id: str
    parent_id: str
    device_id: str
    name: str
    age: int
    udid: str


@dataclass(frozen=True, slots=True)
class ChildProfileUpdated:
    """Fields of a child's profile have new values; `changes` holds those and no others."""

    type: ClassVar[str] = "child_profile_updated"
    type_version: ClassVar[int] = 1
    data_class: ClassVar[DataClass] = DataClass.CONSENT

    child_id: str
    changes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChildDeactivated:
    """A child is not to use the bear any more; its history stays."""

    type: ClassVar[str] = "child_deactivated"
    type_version: ClassVar[int] = 1
    data_class: ClassVar[DataClass] = DataClass.CONSENT

    child_id: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class SafetyViolationReported:
    """Something unsafe happened around a child; type, severity and details as they were given."""

    type: ClassVar[str] = "safety_violation_reported"
    type_version: ClassVar[int] = 1
    data_class: ClassVar[DataClass] = DataClass.SAFETY

    child_id: str
    violation_type: str
    severity: str
    details: Any


@dataclass(frozen=True, slots=True)
class ConversationStarted:
    """A child and the bear began to talk."""

    type: ClassVar[str] = "conversation_started"
    type_version: ClassVar[int] = 1
    data_class: ClassVar[DataClass] = DataClass.ACTIVITY

    conversation_id: str
    child_id: str


@dataclass(frozen=True, slots=True)
class ConversationTurnRecorded:
    """Somebody said something; what exactly, only where settings keep words."""

    type: ClassVar[str] = "conversation_turn_recorded"
    type_version: ClassVar[int] = 1
    data_class: ClassVar[DataClass] = DataClass.ACTIVITY

    conversation_id: str
    child_id: str
    speaker: str
    topics: list[str]
    sentiment: float | None
    """From -1, unhappy, to 1, happy."""
    duration_s: float
    words: str | None


@dataclass(frozen=True, slots=True)
class ConversationEnded:
    """A conversation is over."""

    type: ClassVar[str] = "conversation_ended"
    type_version: ClassVar[int] = 1
    data_class: ClassVar[DataClass] = DataClass.ACTIVITY

    conversation_id: str
    child_id: str
    summary: str | None


@dataclass(frozen=True, slots=True)
class RecordsLost:
    """Records that the log holds no more. A safety fact: what they said is not known to be good."""

    type: ClassVar[str] = "records_lost"
    type_version: ClassVar[int] = 1
    data_class: ClassVar[DataClass] = DataClass.SAFETY

    first_seq: int
    last_seq: int
    count: int
    """Of the numbers from first to last, how many are lost."""
    reason: str
    after_wall_ns: int | None
    """When the last record before them was written; None where there is none."""
    before_wall_ns: int | None
    """When the first record behind them was written; None where there was none."""


@dataclass(frozen=True, slots=True)
class ButtonPressed:
    """A child pressed one of the bear's buttons."""

    type: ClassVar[str] = "button_pressed"
    type_version: ClassVar[int] = 1
    data_class: ClassVar[DataClass] = DataClass.ACTIVITY

    button: str


@dataclass(frozen=True, slots=True)
class BearStarted:
    """The daemon started: which version, and on which boot (see the record)."""

    type: ClassVar[str] = "bear_started"
    type_version: ClassVar[int] = 1
    data_class: ClassVar[DataClass] = DataClass.DIAGNOSTICS

    version: str


@dataclass(frozen=True, slots=True)
class ClockSynced:
    """The bear learnt the time: what its clocks showed at one moment of a boot.

    It dates every record of that boot: wall time is as far from `wall_ns` as monotonic time is from
    `monotonic_ns`.
    """

    type: ClassVar[str] = "clock_synced"
    type_version: ClassVar[int] = 1
    data_class: ClassVar[DataClass] = DataClass.STATE

    boot_id: str
    monotonic_ns: int
    wall_ns: int
    trust: str
    """`synced`: a network told it; `set`: a parent did."""


@dataclass(frozen=True, slots=True)
class CommandDone:
    """A command had its effect; the record that makes a duplicate harmless."""

    type: ClassVar[str] = "command_done"
    type_version: ClassVar[int] = 2
    data_class: ClassVar[DataClass] = DataClass.COMMAND

    name: str
    data: dict[str, Any]
    issued_us: int | None = None
    """When it was issued, by its sender's clock; None where the bear stamped it."""
    done_before: int | None = None
    """How many commands were done before; None where nobody counted."""
    latest_us: int | None = None
    """When the latest of these was issued, as `issued_us`."""


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """A command was rejected or came too late. Its payload is not kept."""

    type: ClassVar[str] = "command_refused"
    type_version: ClassVar[int] = 2
    data_class: ClassVar[DataClass] = DataClass.COMMAND

    name: str | None
    status: str
    origin: str
    code: str
    message: str
    field: str | None
    done_before: int | None = None
    """As in `CommandDone`."""
    latest_us: int | None = None
    """As in `CommandDone`."""


EVENT_TYPES: dict[str, type[Event]] = {
    event_type.type: event_type
    for event_type in (
        BearStarted,
        ButtonPressed,
        ChildDeactivated,
        ChildProfileUpdated,
        ChildRegistered,
        ClockSynced,
        CommandDone,
        CommandRefused,
        ConversationEnded,
        ConversationStarted,
        ConversationTurnRecorded,
        RecordsLost,
        SafetyViolationReported,
    )
}
"""The whole registry: every type by its name, in its newest version."""
