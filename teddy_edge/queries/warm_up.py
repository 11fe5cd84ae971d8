"""What is likely to be asked first: each parent's children, one by one and in a list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from teddy_edge.clock import Clock, new_id
from teddy_edge.messages import Actor, QueryEnvelope
from teddy_edge.projections import Row
from teddy_edge.projections.child import CHILDREN
from teddy_edge.projections.child import key as child_key
from teddy_edge.projections.rows import item_count, read_items


async def likely_queries(
    get: Callable[[str], Awaitable[Row | None]], clock: Clock, children_max: int
) -> list[QueryEnvelope]:
    """Give the queries that parents ask of the newest children, as the parents ask them."""
    queries: dict[tuple[str, str], QueryEnvelope] = {}
    async for child in _newest_children(get, children_max):
        parent_id, child_id = child["parent_id"], child["id"]
        for name, data in (
            ("get_child_profile", {"child_id": child_id}),
            ("get_children_by_parent", {"parent_id": parent_id}),
        ):
            queries[name, str(data)] = _asked_by(parent_id, name, data, clock)
    return list(queries.values())


async def _newest_children(
    get: Callable[[str], Awaitable[Row | None]], children_max: int
) -> AsyncIterator[Row]:
    count = await item_count(get, CHILDREN)
    first = max(0, count - children_max)
    for child_id in await read_items(get, CHILDREN, first, children_max):
        child = await get(child_key(child_id))
        if child is not None and child["is_active"]:
            yield child


def _asked_by(parent_id: str, name: str, data: dict[str, Any], clock: Clock) -> QueryEnvelope:
    actor = Actor(id=parent_id, role="parent")
    return QueryEnvelope(id=new_id(clock), name=name, actor=actor, data=data)
