"""The read models: records of the log come in, rows that answer questions come out.

`child.py` and `bear.py` say purely what a row becomes when something happened; `runner.py` feeds
them the log in order, gives rows to the queries, and writes changed rows together with the position
they stand at, once per window; `store.py` keeps them in diskcache.

The rows are a function of the log alone (P6): they may be deleted at any time and come back the
same. Nobody waits for them to be on the card, since the log is.
"""

from teddy_edge.projections.bear import BearProjection, BearReadModel
from teddy_edge.projections.child import ChildProjection, ChildReadModel
from teddy_edge.projections.runner import ChildProjectionManager, Projection
from teddy_edge.projections.store import ReadModelStore, Row

__all__ = [
    "BearProjection",
    "BearReadModel",
    "ChildProjection",
    "ChildProjectionManager",
    "ChildReadModel",
    "Projection",
    "ReadModelStore",
    "Row",
]
