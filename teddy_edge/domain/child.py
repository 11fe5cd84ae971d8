"""A child of this bear: registering one, and what must hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from teddy_edge.domain.command import Command
from teddy_edge.errors import CommandRejected
from teddy_edge.events import ChildRegistered, Event
from teddy_edge.messages import Identifier

AGE_YEARS_MIN = 1
AGE_YEARS_MAX = 17

ChildName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$"
    ),
]


class RegisterChild(Command):
    """Register a child with this bear, on behalf of a parent."""

    wire_name: ClassVar[str] = "register_child"

    parent_id: Identifier
    device_id: Identifier
    name: ChildName
    age: int = Field(ge=AGE_YEARS_MIN, le=AGE_YEARS_MAX)
    udid: Identifier


@dataclass(frozen=True, slots=True)
class Child:
    """What the rules need to know of a registered child."""

    child_id: str
    parent_id: str
    udid: str


def stream(child_id: str) -> str:
    """The stream of one child's events."""
    return f"child/{child_id}"


def decide(state: Child | None, command: RegisterChild, child_id: str) -> list[Event]:
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


def evolve(state: Child | None, event: Event) -> Child | None:
    """Apply one event."""
    if isinstance(event, ChildRegistered):
        return Child(child_id=event.child_id, parent_id=event.parent_id, udid=event.udid)
    return state
