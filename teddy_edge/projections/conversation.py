"""What is shown of a conversation."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

from teddy_edge.clock import rfc3339
from teddy_edge.events import (
    ConversationEnded,
    ConversationStarted,
    ConversationTurnRecorded,
    Record,
)
from teddy_edge.projections.rows import EventTypes, Rows, append_item

TOPICS_MAX = 50
"""Topics that a row counts one by one; the rest counts as `OTHER`."""
OTHER = "other"


def key(conversation_id: str) -> str:
    """The row of a conversation."""
    return f"conversation/{conversation_id}"


def conversations_of(child_id: str) -> str:
    """The list of a child's conversations' ids."""
    return f"conversations/{child_id}"


class ConversationSummaryReadModel(BaseModel):
    """A conversation in a few numbers, and its summary where words are kept."""

    model_config = ConfigDict(frozen=True)

    id: str
    child_id: str
    started_at: str
    ended_at: str | None = None
    time_trust: str
    """Whether the bear knew the time when the conversation started."""
    turn_count: int = 0
    duration_s: float = 0.0
    topics: dict[str, int] = {}
    sentiment_sum: float = 0.0
    sentiment_count: int = 0
    summary: str | None = None
    seq: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def average_sentiment(self) -> float | None:
        """From -1 to 1; None where no turn had one."""
        if not self.sentiment_count:
            return None
        return round(self.sentiment_sum / self.sentiment_count, 3)


def count_topics(topics: dict[str, int], more: list[str]) -> dict[str, int]:
    """Add topics to a count that stays bounded."""
    counted = dict(topics)
    for topic in more:
        name = topic if topic in counted or len(counted) < TOPICS_MAX else OTHER
        counted[name] = counted.get(name, 0) + 1
    return counted


class ConversationProjection:
    """Makes the rows of conversations and the lists of them."""

    name = "conversation"
    version = 1
    takes: EventTypes = (
        ConversationStarted,
        ConversationTurnRecorded,
        ConversationEnded,
    )

    def apply(self, rows: Rows, record: Record, event: Any) -> None:
        """See `Projection`."""
        if isinstance(event, ConversationStarted):
            model = ConversationSummaryReadModel(
                id=event.conversation_id,
                child_id=event.child_id,
                started_at=rfc3339(record.wall_ns),
                time_trust=record.trust.value,
                seq=record.seq,
            )
            rows.put(key(event.conversation_id), model.model_dump())
            append_item(rows, conversations_of(event.child_id), event.conversation_id)
            return
        row = rows.get(key(event.conversation_id))
        if row is not None:
            changes = self._changes(ConversationSummaryReadModel(**row), record, event)
            changed = ConversationSummaryReadModel(**{**row, **changes, "seq": record.seq})
            rows.put(key(event.conversation_id), changed.model_dump())

    def _changes(
        self, model: ConversationSummaryReadModel, record: Record, event: Any
    ) -> dict[str, Any]:
        if isinstance(event, ConversationEnded):
            return {"ended_at": rfc3339(record.wall_ns), "summary": event.summary}
        changes: dict[str, Any] = {
            "turn_count": model.turn_count + 1,
            "duration_s": round(model.duration_s + event.duration_s, 3),
            "topics": count_topics(model.topics, event.topics),
        }
        if event.sentiment is not None:
            changes["sentiment_sum"] = round(model.sentiment_sum + event.sentiment, 6)
            changes["sentiment_count"] = model.sentiment_count + 1
        return changes
