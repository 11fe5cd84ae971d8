"""What a child did with the bear, by day and hour (UTC).

A day's row is made only of what was recorded while the bear knew the time; the rest is in the row
`undated`, since it may belong to any day.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from teddy_edge.clock import Trust, rfc3339
from teddy_edge.events import (
    ConversationStarted,
    ConversationTurnRecorded,
    Record,
    SafetyViolationReported,
)
from teddy_edge.projections.conversation import count_topics
from teddy_edge.projections.rows import EventTypes, Rows

UNDATED = "undated"


def key(child_id: str, day: str) -> str:
    """The row of a child's day, as in `2026-11-22`, or of `UNDATED`."""
    return f"activity/{child_id}/{day}"


class ActivityReadModel(BaseModel):
    """A day of a child."""

    model_config = ConfigDict(frozen=True)

    conversation_count: int = 0
    turn_count: int = 0
    violation_count: int = 0
    duration_s: float = 0.0
    turns_by_hour: dict[str, int] = {}
    topics: dict[str, int] = {}
    sentiment_sum: float = 0.0
    sentiment_count: int = 0


class ActivityProjection:
    """Makes the rows of children's days."""

    name = "activity"
    version = 2
    takes: EventTypes = (
        ConversationStarted,
        ConversationTurnRecorded,
        SafetyViolationReported,
    )

    def apply(self, rows: Rows, record: Record, event: Any) -> None:
        """See `Projection`."""
        at = rfc3339(record.wall_ns)
        day = UNDATED if record.trust is Trust.UNSYNCED else at[:10]
        model = ActivityReadModel(**(rows.get(key(event.child_id, day)) or {}))
        changes = _changes(model, event, hour=at[11:13])
        rows.put(key(event.child_id, day), {**model.model_dump(), **changes})


def _changes(model: ActivityReadModel, event: object, hour: str) -> dict[str, Any]:
    match event:
        case ConversationStarted():
            return {"conversation_count": model.conversation_count + 1}
        case SafetyViolationReported():
            return {"violation_count": model.violation_count + 1}
        case ConversationTurnRecorded():
            by_hour = {**model.turns_by_hour, hour: model.turns_by_hour.get(hour, 0) + 1}
            has_sentiment = event.sentiment is not None
            return {
                "turn_count": model.turn_count + 1,
                "duration_s": round(model.duration_s + event.duration_s, 3),
                "turns_by_hour": by_hour,
                "topics": count_topics(model.topics, event.topics),
                "sentiment_sum": round(model.sentiment_sum + (event.sentiment or 0.0), 6),
                "sentiment_count": model.sentiment_count + has_sentiment,
            }
    return {}
