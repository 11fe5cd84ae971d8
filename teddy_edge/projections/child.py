"""What is shown of a child, and which children there are."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

from teddy_edge.clock import rfc3339
from teddy_edge.events import (
    ChildDeactivated,
    ChildProfileUpdated,
    ChildRegistered,
    ConversationStarted,
    ConversationTurnRecorded,
    Record,
    SafetyViolationReported,
)
from teddy_edge.projections.rows import EventTypes, Rows, append_item
from teddy_edge.projections.safety import weight

AGE_GROUPS = ((3, "toddler"), (5, "preschool"), (12, "school"))
"""Up to which age (in years)."""
CHILDREN = "children"
"""The list of all children's ids."""


def key(child_id: str) -> str:
    """The row of a child."""
    return f"child/{child_id}"


def children_of(parent_id: str) -> str:
    """The list of a parent's children's ids."""
    return f"parent/{parent_id}"


class ChildReadModel(BaseModel):
    """One child, as a parent may read it. Talk counts as far back as the log holds it."""

    model_config = ConfigDict(frozen=True)

    id: str
    parent_id: str
    device_id: str
    name: str
    age: int
    udid: str
    preferences: dict[str, Any] = {}
    is_active: bool = True
    registered_at: str
    registered_at_trust: str
    """Whether the bear knew the time when it wrote `registered_at`."""
    conversation_count: int = 0
    turn_count: int = 0
    talked_s: float = 0.0
    last_talk_at: str | None = None
    violation_count: int = 0
    worst_severity: str | None = None
    seq: int
    """The last event that changed the row."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def safety_status(self) -> str:
        """The worst severity ever reported; that nothing was is told from that nothing happened."""
        if self.worst_severity is not None:
            return self.worst_severity
        return "nothing_reported" if self.turn_count else "nothing_recorded"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def age_group(self) -> str:
        """What stories fit: toddler to 3, preschool to 5, school to 12, teen."""
        for limit, group in AGE_GROUPS:
            if self.age <= limit:
                return group
        return "teen"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def average_talk_s(self) -> float:
        """Seconds for each conversation."""
        return round(self.talked_s / self.conversation_count, 3) if self.conversation_count else 0.0


class ChildProjection:
    """Makes the rows of children and the lists of them."""

    name = "child"
    version = 2
    takes: EventTypes = (
        ChildDeactivated,
        ChildProfileUpdated,
        ChildRegistered,
        ConversationStarted,
        ConversationTurnRecorded,
        SafetyViolationReported,
    )

    def apply(self, rows: Rows, record: Record, event: Any) -> None:
        """See `Projection`."""
        if isinstance(event, ChildRegistered):
            self._register(rows, record, event)
            return
        row = rows.get(key(event.child_id))
        if row is not None:
            changes = self._changes(ChildReadModel(**row), event, rfc3339(record.wall_ns))
            changed = ChildReadModel(**{**row, **changes, "seq": record.seq})
            rows.put(key(event.child_id), changed.model_dump())

    def _register(self, rows: Rows, record: Record, event: ChildRegistered) -> None:
        model = ChildReadModel(
            id=event.child_id,
            parent_id=event.parent_id,
            device_id=event.device_id,
            name=event.name,
            age=event.age,
            udid=event.udid,
            registered_at=rfc3339(record.wall_ns),
            registered_at_trust=record.trust.value,
            seq=record.seq,
        )
        rows.put(key(event.child_id), model.model_dump())
        append_item(rows, CHILDREN, event.child_id)
        append_item(rows, children_of(event.parent_id), event.child_id)

    def _changes(self, model: ChildReadModel, event: object, at: str) -> dict[str, Any]:
        match event:
            case ChildProfileUpdated():
                preferences = {**model.preferences, **event.changes.get("preferences", {})}
                return {**event.changes, "preferences": preferences}
            case ChildDeactivated():
                return {"is_active": False}
            case ConversationStarted():
                return {"conversation_count": model.conversation_count + 1, "last_talk_at": at}
            case ConversationTurnRecorded():
                return {
                    "turn_count": model.turn_count + 1,
                    "talked_s": round(model.talked_s + event.duration_s, 3),
                    "last_talk_at": at,
                }
            case SafetyViolationReported():
                known = [each for each in (model.worst_severity, event.severity) if each]
                return {
                    "violation_count": model.violation_count + 1,
                    "worst_severity": max(known, key=weight),
                }
        return {}
