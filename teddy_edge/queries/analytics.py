"""What a child did with the bear in a period, and the conversations they had."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, ClassVar

from pydantic import Field

from teddy_edge.clock import Clock
from teddy_edge.messages import Actor, Identifier, Moment
from teddy_edge.projections import ActivityReadModel
from teddy_edge.projections.activity import UNDATED
from teddy_edge.projections.activity import key as activity_key
from teddy_edge.projections.conversation import conversations_of
from teddy_edge.projections.conversation import key as conversation_key
from teddy_edge.projections.rows import item_count, read_items
from teddy_edge.queries.bus import Query, Read
from teddy_edge.queries.child import Cursor, PageSize
from teddy_edge.queries.period import Period, losses_within
from teddy_edge.queries.policy import QueryPolicy, visible_child, without_words

TOPICS_SHOWN = 10


class GetChildAnalytics(Query):
    """What a child did in a period (by default the last 30 days)."""

    wire_name: ClassVar[str] = "get_child_analytics"

    child_id: Identifier
    from_date: Annotated[Moment, Field(strict=False)] | None = None
    to_date: Annotated[Moment, Field(strict=False)] | None = None


class GetConversations(Query):
    """A child's conversations, the newest first."""

    wire_name: ClassVar[str] = "get_conversations"

    child_id: Identifier
    limit: PageSize = 20
    cursor: Cursor | None = None


class GetChildAnalyticsHandler:
    """Answers `get_child_analytics`."""

    query_type = GetChildAnalytics
    is_expensive = True

    def __init__(self, policy: QueryPolicy, ttl_s: float, clock: Clock) -> None:
        self._policy = policy
        self.ttl_s = ttl_s
        self._clock = clock

    async def answer(self, query: GetChildAnalytics, actor: Actor, read: Read) -> dict[str, Any]:
        """Give the numbers of the period; what has no date is added and said."""
        await visible_child(read, self._policy, actor, query.child_id)
        period = Period.asked(query.from_date, query.to_date, self._clock)
        days = {}
        for day in (*period.days(), UNDATED):
            row = await read(activity_key(query.child_id, day))
            if row is not None:
                days[day] = ActivityReadModel(**row)
        losses = await losses_within(read, period)
        return {
            "child_id": query.child_id,
            "period": period.as_data(),
            "records_lost": sum(loss["count"] for loss in losses),
            **_totals(list(days.values())),
            "turns_by_day": {day: model.turn_count for day, model in days.items()},
        }


def _totals(models: list[ActivityReadModel]) -> dict[str, Any]:
    topics: Counter[str] = Counter()
    hours: Counter[str] = Counter()
    for model in models:
        topics.update(model.topics)
        hours.update(model.turns_by_hour)
    sentiments = sum(model.sentiment_count for model in models)
    happiness = sum(model.sentiment_sum for model in models)
    return {
        "conversation_count": sum(model.conversation_count for model in models),
        "turn_count": sum(model.turn_count for model in models),
        "violation_count": sum(model.violation_count for model in models),
        "duration_s": round(sum(model.duration_s for model in models), 3),
        "average_sentiment": round(happiness / sentiments, 3) if sentiments else None,
        "top_topics": dict(topics.most_common(TOPICS_SHOWN)),
        "turns_by_hour": dict(sorted(hours.items())),
    }


class GetConversationsHandler:
    """Answers `get_conversations`."""

    query_type = GetConversations
    is_expensive = False

    def __init__(self, policy: QueryPolicy, ttl_s: float) -> None:
        self._policy = policy
        self.ttl_s = ttl_s

    async def answer(self, query: GetConversations, actor: Actor, read: Read) -> dict[str, Any]:
        """Give a page, from the newest back; a page stays the same while conversations come."""
        child = await visible_child(read, self._policy, actor, query.child_id)
        name = conversations_of(query.child_id)
        total = await item_count(read, name)
        end = total if query.cursor is None else min(int(query.cursor), total)
        start = max(0, end - query.limit)
        ids = await read_items(read, name, start, end - start)
        rows = [await read(conversation_key(conversation_id)) for conversation_id in reversed(ids)]
        found = [row for row in rows if row is not None]
        if not self._policy.sees_words(actor, child):
            found = [without_words(row) for row in found]
        return {
            "conversations": found,
            "next_cursor": str(start) if start else None,
            "total": total,
        }
