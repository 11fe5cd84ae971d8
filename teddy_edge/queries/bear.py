"""Questions about the bear itself."""

from __future__ import annotations

from typing import Any, ClassVar

from teddy_edge.messages import Actor
from teddy_edge.projections import BearReadModel, ChildProjectionManager
from teddy_edge.projections.bear import KEY
from teddy_edge.queries.bus import Query


class GetBearState(Query):
    """When the bear started and what was pressed."""

    wire_name: ClassVar[str] = "get_bear_state"


class GetBearStateHandler:
    """Answers `get_bear_state`."""

    query_type = GetBearState

    def __init__(self, read_models: ChildProjectionManager) -> None:
        self._read_models = read_models

    async def answer(self, query: GetBearState, actor: Actor) -> dict[str, Any]:
        """Give the bear's row; nothing in it is a child's."""
        del query, actor
        row = await self._read_models.get(KEY)
        return row if row is not None else BearReadModel().model_dump()
