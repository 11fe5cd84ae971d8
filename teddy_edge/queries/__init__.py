"""The query bus: an envelope comes in, an answer from the read models goes out.

    envelope ─▶ sender's right ─▶ catch up with the log ─▶ cache ─▶ handler reads rows ─▶ answer

`bus` dispatches, `cache` keeps answers until a row of theirs changes, `policy` says who sees what;
`child`, `safety`, `analytics` and `bear` hold the query types and their handlers. Every answer
carries the sequence number that it includes, how far that lags, and whether the history behind it
is whole (P6).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from teddy_edge.clock import Clock
from teddy_edge.queries.analytics import GetChildAnalyticsHandler, GetConversationsHandler
from teddy_edge.queries.bear import GetBearStateHandler, GetHealthHandler
from teddy_edge.queries.bus import Query, QueryBus, QueryHandler, Read
from teddy_edge.queries.cache import QueryCache
from teddy_edge.queries.child import (
    GetChildProfileHandler,
    GetChildrenByParentHandler,
    SearchChildrenHandler,
)
from teddy_edge.queries.policy import QueryPolicy, StandardPolicy
from teddy_edge.queries.safety import GetChildSafetyReportHandler
from teddy_edge.settings import QuerySettings

__all__ = [
    "Query",
    "QueryBus",
    "QueryCache",
    "QueryHandler",
    "QueryPolicy",
    "Read",
    "StandardPolicy",
    "register_queries",
]


def register_queries(
    bus: QueryBus,
    policy: QueryPolicy,
    settings: QuerySettings,
    clock: Clock,
    health: Callable[[], dict[str, Any]],
    lacking: Callable[[datetime], str | None],
) -> None:
    """Give the bus every query that this bear knows.

    `lacking` says what the read models may be missing from a moment on.
    """
    for handler in (
        GetBearStateHandler(),
        GetHealthHandler(health),
        GetChildProfileHandler(policy, settings.child_profile_ttl_s),
        GetChildrenByParentHandler(policy, settings.parent_children_ttl_s),
        SearchChildrenHandler(policy, settings.parent_children_ttl_s),
        GetConversationsHandler(policy, settings.parent_children_ttl_s),
        GetChildSafetyReportHandler(policy, settings.safety_report_ttl_s, clock, lacking),
        GetChildAnalyticsHandler(policy, settings.analytics_ttl_s, clock),
    ):
        bus.register(handler)
