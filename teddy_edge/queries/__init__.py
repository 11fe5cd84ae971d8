"""The query bus: an envelope comes in, an answer from the read models goes out.

`bus.py` dispatches, `child.py` and `bear.py` hold the query types and their handlers. Every answer
carries the sequence number that it includes, how far that lags, and whether the history behind it
is whole (P6). A parent sees their own children only.
"""

from teddy_edge.queries.bear import GetBearState, GetBearStateHandler
from teddy_edge.queries.bus import Query, QueryBus, QueryHandler
from teddy_edge.queries.child import GetChildProfile, GetChildProfileHandler

__all__ = [
    "GetBearState",
    "GetBearStateHandler",
    "GetChildProfile",
    "GetChildProfileHandler",
    "Query",
    "QueryBus",
    "QueryHandler",
]
