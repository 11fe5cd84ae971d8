"""The read models: records of the log come in, rows that answer questions come out.

`child`, `conversation`, `safety`, `activity` and `bear` say purely which rows an event makes. An
`edition` of the rows follows the log in order, and writes changed rows together with the position
they stand at, once per window; `store` keeps them in diskcache. `runner` gives rows to the queries
and replaces the edition in use: after a fault, after something left the log (`history`), and on
demand (`rebuilding`).

The rows are a function of the log as it is (P6): they may be deleted at any time and come back the
same. What leaves the log leaves them at the next renewal; until then they hold more, and no answer
counts on it. Nobody waits for rows to be on the card, since the log is.
"""

from teddy_edge.projections.activity import ActivityProjection, ActivityReadModel
from teddy_edge.projections.bear import BearProjection, BearReadModel
from teddy_edge.projections.child import ChildProjection, ChildReadModel
from teddy_edge.projections.conversation import (
    ConversationProjection,
    ConversationSummaryReadModel,
)
from teddy_edge.projections.rebuilding import Rebuilding
from teddy_edge.projections.rows import Projection, Row, Rows
from teddy_edge.projections.runner import ChildProjectionManager
from teddy_edge.projections.safety import SafetyMetricsReadModel, SafetyProjection
from teddy_edge.projections.store import ReadModelStore

__all__ = [
    "ActivityProjection",
    "ActivityReadModel",
    "BearProjection",
    "BearReadModel",
    "ChildProjection",
    "ChildProjectionManager",
    "ChildReadModel",
    "ConversationProjection",
    "ConversationSummaryReadModel",
    "Projection",
    "ReadModelStore",
    "Rebuilding",
    "Row",
    "Rows",
    "SafetyMetricsReadModel",
    "SafetyProjection",
    "standard_projections",
]


def standard_projections() -> list[Projection]:
    """Give every projection that this bear runs."""
    return [
        ActivityProjection(),
        BearProjection(),
        ChildProjection(),
        ConversationProjection(),
        SafetyProjection(),
    ]
