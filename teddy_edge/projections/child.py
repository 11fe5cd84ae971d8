"""What is shown of a child."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from teddy_edge.clock import rfc3339
from teddy_edge.events import ChildRegistered, Record

PREFIX = "child/"


class ChildReadModel(BaseModel):
    """One child, as a parent may read it."""

    model_config = ConfigDict(frozen=True)

    id: str
    parent_id: str
    device_id: str
    name: str
    age: int
    udid: str
    registered_at: str
    registered_at_trust: str
    """Whether the bear knew the time when it wrote `registered_at`."""
    seq: int
    """The last event that changed the row."""


class ChildProjection:
    """Makes the rows `child/{child_id}`."""

    name = "child"
    version = 1

    def key(self, record: Record) -> str | None:
        """A child's stream is its row's key."""
        return record.stream if record.stream.startswith(PREFIX) else None

    def apply(self, row: dict[str, Any] | None, record: Record) -> dict[str, Any] | None:
        """Give the row after a record."""
        event = record.event
        if isinstance(event, ChildRegistered):
            return ChildReadModel(
                id=event.child_id,
                parent_id=event.parent_id,
                device_id=event.device_id,
                name=event.name,
                age=event.age,
                udid=event.udid,
                registered_at=rfc3339(record.wall_ns),
                registered_at_trust=record.trust.value,
                seq=record.seq,
            ).model_dump()
        return row
