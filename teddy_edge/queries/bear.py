"""Questions about the bear itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from teddy_edge.messages import Actor
from teddy_edge.projections import BearReadModel
from teddy_edge.projections.bear import KEY
from teddy_edge.queries.bus import Query, Read


class GetBearState(Query):
    """When the bear started, what was pressed, what its log has lost."""

    wire_name: ClassVar[str] = "get_bear_state"


class GetHealth(Query):
    """How the bear's own parts do."""

    wire_name: ClassVar[str] = "get_health"


class GetBearStateHandler:
    """Answers `get_bear_state`; nothing in it is a child's."""

    query_type = GetBearState
    ttl_s = 0.0
    is_expensive = False

    async def answer(self, query: GetBearState, actor: Actor, read: Read) -> dict[str, Any]:
        """Give the bear's row."""
        del query, actor
        row = await read(KEY)
        return row if row is not None else BearReadModel().model_dump()


class GetHealthHandler:
    """Answers `get_health` from what the parts measure."""

    query_type = GetHealth
    ttl_s = 0.0
    is_expensive = False

    def __init__(self, measure: Callable[[], dict[str, Any]]) -> None:
        self._measure = measure

    async def answer(self, query: GetHealth, actor: Actor, read: Read) -> dict[str, Any]:
        """Give the metrics of now."""
        del query, actor, read
        return self._measure()
