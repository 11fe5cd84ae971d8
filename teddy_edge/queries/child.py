"""Questions about a child, and who may ask them."""

from __future__ import annotations

from typing import Any, ClassVar

from teddy_edge.errors import QueryRejected
from teddy_edge.messages import Actor, Identifier
from teddy_edge.projections import ChildProjectionManager
from teddy_edge.projections.child import PREFIX
from teddy_edge.queries.bus import Query

SEES_ALL = frozenset({"device"})
"""The bear's own programs; a parent sees their own children, and nobody else sees any."""


class GetChildProfile(Query):
    """What is known of one child."""

    wire_name: ClassVar[str] = "get_child_profile"

    child_id: Identifier


class GetChildProfileHandler:
    """Answers `get_child_profile` from the row of the child."""

    query_type = GetChildProfile

    def __init__(self, read_models: ChildProjectionManager) -> None:
        self._read_models = read_models

    async def answer(self, query: GetChildProfile, actor: Actor) -> dict[str, Any]:
        """Give the row. A child that is not the asker's is not told from one that is not there."""
        row = await self._read_models.get(PREFIX + query.child_id)
        if row is None or not _may_see(actor, row):
            raise QueryRejected(
                "unknown_child",
                "there is no such child, or it is not yours to see",
                "data.child_id",
            )
        return row


def _may_see(actor: Actor, row: dict[str, Any]) -> bool:
    if actor.role == "parent":
        return bool(actor.id == row["parent_id"])
    return actor.role in SEES_ALL
