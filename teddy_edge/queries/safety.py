"""A dated report of a child's safety.

It lists the violations that its score comes from. Violations that were reported while the bear did
not know the time may belong to the period: they count, marked as undated. The rating is a word for
the score only where the bear surely recorded in the period and nothing that may belong to it is
lost; else it says what is missing, and never that all is well. Where nothing at all was recorded
there is no score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field

from teddy_edge.clock import Clock
from teddy_edge.messages import Actor, Identifier, Moment
from teddy_edge.projections import ActivityReadModel
from teddy_edge.projections.activity import UNDATED
from teddy_edge.projections.activity import key as activity_key
from teddy_edge.projections.rows import item_count, read_items
from teddy_edge.projections.safety import key as safety_key
from teddy_edge.projections.safety import score, violations_of
from teddy_edge.queries.bus import Query, Read
from teddy_edge.queries.period import Period, losses_within
from teddy_edge.queries.policy import QueryPolicy, visible_child, without_words

RATINGS = ((100, "excellent"), (80, "good"), (50, "fair"), (0, "poor"))
WORST = RATINGS[-1][1]
LISTED_MAX = 200
"""Violations that a report lists; all of them count."""


class GetChildSafetyReport(Query):
    """What was reported of a child's safety in a period (by default the last 30 days)."""

    wire_name: ClassVar[str] = "get_child_safety_report"

    child_id: Identifier
    from_date: Annotated[Moment, Field(strict=False)] | None = None
    to_date: Annotated[Moment, Field(strict=False)] | None = None


class GetChildSafetyReportHandler:
    """Answers `get_child_safety_report`."""

    query_type = GetChildSafetyReport
    is_expensive = True

    def __init__(
        self,
        policy: QueryPolicy,
        ttl_s: float,
        clock: Clock,
        lacking: Callable[[datetime], str | None],
    ) -> None:
        """`lacking` says what the read models may be missing from a moment on."""
        self._policy = policy
        self.ttl_s = ttl_s
        self._clock = clock
        self._lacking = lacking

    async def answer(self, query: GetChildSafetyReport, actor: Actor, read: Read) -> dict[str, Any]:
        """Give the report."""
        child = await visible_child(read, self._policy, actor, query.child_id)
        period = Period.asked(query.from_date, query.to_date, self._clock)
        violations = await _violations(read, query.child_id, period)
        losses = await losses_within(read, period)
        days = reversed(list(period.days()))  # the child was heard lately, or not at all
        has_recorded = await _has_recorded(read, query.child_id, days)
        is_unsure = bool(losses) or self._lacking(period.start) is not None
        if not has_recorded:
            is_unsure |= await _has_recorded(read, query.child_id, [UNDATED])
        has_any = has_recorded or bool(violations)
        by_severity = Counter(violation["severity"] for violation in violations)
        points = score(by_severity)
        if not self._policy.sees_words(actor, child):
            violations = [without_words(violation) for violation in violations]
        return {
            "child_id": query.child_id,
            "period": period.as_data(),
            "violation_count": len(violations),
            "by_severity": dict(by_severity),
            "by_type": dict(Counter(v["violation_type"] for v in violations)),
            "violations": violations[-LISTED_MAX:],
            "score": points if has_any else None,
            "rating": _rating(
                points, has_any=has_any, has_recorded=has_recorded, is_unsure=is_unsure
            ),
            "records_lost": sum(loss["count"] for loss in losses),
            "has_recorded": has_recorded,
            "all_time": await read(safety_key(query.child_id)),
        }


def _rating(points: int, *, has_any: bool, has_recorded: bool, is_unsure: bool) -> str:
    if is_unsure:
        return "incomplete"
    if not has_any:
        return "nothing_recorded"
    rating = next(rating for least, rating in RATINGS if points >= least)
    # Where the child was not heard, what was not recorded can only make it worse.
    return rating if has_recorded or rating == WORST else "incomplete"


async def _violations(read: Read, child_id: str, period: Period) -> list[dict[str, Any]]:
    name = violations_of(child_id)
    violations = await read_items(read, name, 0, await item_count(read, name))
    return [each for each in violations if not each["is_dated"] or period.has(each["at"])]


async def _has_recorded(read: Read, child_id: str, days: Iterable[str]) -> bool:
    """Tell whether the bear heard the child on one of the days."""
    for day in days:
        row = await read(activity_key(child_id, day))
        if row is not None and ActivityReadModel(**row).turn_count > 0:
            return True
    return False
