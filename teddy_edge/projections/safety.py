"""What is shown of a child's safety.

The score of a set of violations is 100 less the weight of each: low 1, medium 5, high 15,
critical 40; never below 0. It is a number for a parent to compare months by, and nothing is hidden
behind it: a report lists the violations that it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

from teddy_edge.clock import Trust, rfc3339
from teddy_edge.domain.child import SEVERITIES
from teddy_edge.events import ChildRegistered, Record, SafetyViolationReported
from teddy_edge.projections.conversation import count_topics
from teddy_edge.projections.rows import EventTypes, Rows, append_item

WEIGHTS: dict[str, int] = dict(zip(SEVERITIES, (1, 5, 15, 40), strict=True))
"""What a violation costs of the score. A severity that only a newer version knows is the worst."""
RECENT_MAX = 12
"""Months that the trend looks back."""


def key(child_id: str) -> str:
    """The row of a child's safety."""
    return f"safety/{child_id}"


def violations_of(child_id: str) -> str:
    """The list of a child's violations."""
    return f"violations/{child_id}"


def weight(severity: str) -> int:
    """How bad a violation is."""
    return WEIGHTS.get(severity, max(WEIGHTS.values()))


def score(by_severity: Mapping[str, int]) -> int:
    """Score violations, counted by severity, from 100 (none) down to 0."""
    return max(0, 100 - sum(weight(severity) * count for severity, count in by_severity.items()))


class SafetyMetricsReadModel(BaseModel):
    """All violations of a child in a few numbers."""

    model_config = ConfigDict(frozen=True)

    child_id: str
    by_severity: dict[str, int] = {}
    by_type: dict[str, int] = {}
    by_month: dict[str, int] = {}
    """The newest months with a violation whose time was known, as in `2026-11`."""
    undated: int = 0
    """Violations that were reported while the bear did not know the time."""
    last_violation: dict[str, Any] | None = None
    seq: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        """How many violations there are."""
        return sum(self.by_severity.values())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def score(self) -> int:
        """The score of all of them (see the module)."""
        return score(self.by_severity)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def trend(self) -> str:
        """The newest month with violations against the one before it."""
        counts = [self.by_month[month] for month in sorted(self.by_month)[-2:]]
        if len(counts) < 2 or counts[0] == counts[1]:
            return "steady"
        return "rising" if counts[1] > counts[0] else "falling"


class SafetyProjection:
    """Makes the rows of children's safety and the lists of violations."""

    name = "safety"
    version = 1
    takes: EventTypes = (ChildRegistered, SafetyViolationReported)

    def apply(self, rows: Rows, record: Record, event: Any) -> None:
        """See `Projection`."""
        if isinstance(event, ChildRegistered):
            model = SafetyMetricsReadModel(child_id=event.child_id, seq=record.seq)
            rows.put(key(event.child_id), model.model_dump())
            return
        row = rows.get(key(event.child_id))
        if row is None:  # what was known of the child is lost, the violation is not
            row = {"child_id": event.child_id, "seq": record.seq}
        violation = _violation(record, event)
        append_item(rows, violations_of(event.child_id), violation)
        changes = _changes(SafetyMetricsReadModel(**row), violation)
        changed = SafetyMetricsReadModel(**{**row, **changes})
        rows.put(key(event.child_id), changed.model_dump())


def _violation(record: Record, event: SafetyViolationReported) -> dict[str, Any]:
    return {
        "seq": record.seq,
        "at": rfc3339(record.wall_ns),
        "is_dated": record.trust is not Trust.UNSYNCED,
        "violation_type": event.violation_type,
        "severity": event.severity,
        "details": event.details,
    }


def _changes(model: SafetyMetricsReadModel, violation: dict[str, Any]) -> dict[str, Any]:
    severity = violation["severity"]
    by_severity = {**model.by_severity, severity: model.by_severity.get(severity, 0) + 1}
    changes: dict[str, Any] = {
        "by_severity": by_severity,
        "by_type": count_topics(model.by_type, [violation["violation_type"]]),
        "last_violation": {k: v for k, v in violation.items() if k != "details"},
        "seq": violation["seq"],
    }
    if violation["is_dated"]:
        month = violation["at"][:7]
        by_month = {**model.by_month, month: model.by_month.get(month, 0) + 1}
        changes["by_month"] = dict(sorted(by_month.items())[-RECENT_MAX:])
    else:
        changes["undated"] = model.undated + 1
    return changes
