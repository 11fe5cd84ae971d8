"""A child of this bear: what may be done with one, and what must hold.

Nothing is done with a child that is not known or was deactivated; a udid is registered once; names
and ages are within limits; a violation is kept as it was reported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, StringConstraints

from teddy_edge.domain.command import Command, Part
from teddy_edge.domain.details import Details
from teddy_edge.errors import CommandRejected
from teddy_edge.events import (
    ChildDeactivated,
    ChildProfileUpdated,
    ChildRegistered,
    Event,
    SafetyViolationReported,
)
from teddy_edge.messages import Identifier

AGE_YEARS_MIN = 1
AGE_YEARS_MAX = 17

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The least severe first."""
ChildName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$"
    ),
]
Age = Annotated[int, Field(ge=AGE_YEARS_MIN, le=AGE_YEARS_MAX)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]


class RegisterChild(Command):
    """Register a child with this bear, on behalf of a parent."""

    wire_name: ClassVar[str] = "register_child"

    parent_id: Identifier
    device_id: Identifier
    name: ChildName
    age: Age
    udid: Identifier


class Preferences(Part):
    """What a child likes; a field that is given replaces what was there."""

    favorite_stories: list[Label] | None = Field(None, max_length=20)
    interests: list[Label] | None = Field(None, max_length=20)
    learning_style: Literal["visual", "auditory", "reading", "kinesthetic"] | None = None
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")] | None = None


class ProfileChanges(Part):
    """The fields that can be changed, and no others: an id or a parent never can."""

    name: ChildName | None = None
    age: Age | None = None
    preferences: Preferences | None = None


class UpdateChildProfile(Command):
    """Give fields of a child's profile new values."""

    wire_name: ClassVar[str] = "update_child_profile"

    child_id: Identifier
    changes: ProfileChanges


class ReportSafetyViolation(Command):
    """Report that something unsafe happened around a child."""

    wire_name: ClassVar[str] = "report_safety_violation"

    child_id: Identifier
    violation_type: Label
    severity: Severity
    details: Details = None


class DeactivateChild(Command):
    """End a child's use of the bear for good, since its udid stays taken; its history stays."""

    wire_name: ClassVar[str] = "deactivate_child"
    needs_trusted_time: ClassVar[bool] = True

    child_id: Identifier
    reason: Label | None = None


@dataclass(frozen=True, slots=True)
class Child:
    """What the rules need to know of a registered child."""

    child_id: str
    parent_id: str
    udid: str
    is_active: bool = True


def stream(child_id: str) -> str:
    """The stream of one child's events."""
    return f"child/{child_id}"


def active(state: Child | None) -> Child:
    """Give the child if it may use the bear; one that never was is not told from one that left."""
    if state is None or not state.is_active:
        raise CommandRejected(
            "unknown_child", "no child with this id uses this bear", "data.child_id"
        )
    return state


def register(state: Child | None, command: RegisterChild, child_id: str) -> list[Event]:
    """Register a child under `child_id`; `state` is the child that now has the udid, if any."""
    if state is not None:
        raise CommandRejected(
            "already_registered", "a child with this udid is registered with this bear", "data.udid"
        )
    return [
        ChildRegistered(
            child_id=child_id,
            parent_id=command.parent_id,
            device_id=command.device_id,
            name=command.name,
            age=command.age,
            udid=command.udid,
        )
    ]


def decide(
    state: Child | None, command: UpdateChildProfile | ReportSafetyViolation | DeactivateChild
) -> list[Event]:
    """Decide on a command about a child."""
    child_id = active(state).child_id
    match command:
        case UpdateChildProfile():
            given = command.changes.model_dump(exclude_none=True)
            changes = {field: value for field, value in given.items() if value != {}}
            if not changes:
                raise CommandRejected("nothing_to_change", "no field is given", "data.changes")
            return [ChildProfileUpdated(child_id=child_id, changes=changes)]
        case ReportSafetyViolation():
            return [
                SafetyViolationReported(
                    child_id=child_id,
                    violation_type=command.violation_type,
                    severity=command.severity,
                    details=command.details,
                )
            ]
        case DeactivateChild():
            return [ChildDeactivated(child_id=child_id, reason=command.reason)]


def evolve(state: Child | None, event: Event) -> Child | None:
    """Apply one event."""
    if isinstance(event, ChildRegistered):
        return Child(child_id=event.child_id, parent_id=event.parent_id, udid=event.udid)
    if isinstance(event, ChildDeactivated) and state is not None:
        return replace(state, is_active=False)
    return state
