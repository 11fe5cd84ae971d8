"""Who sees what of a child: a parent their own children, support masked fields, the bear all."""

from __future__ import annotations

from typing import Any, Protocol

from teddy_edge.errors import QueryRejected
from teddy_edge.messages import Actor
from teddy_edge.projections import Row
from teddy_edge.projections.child import key as child_key
from teddy_edge.queries.bus import Read

MASKED = ("device_id", "parent_id", "udid")


class QueryPolicy(Protocol):
    """Decides what an actor may see."""

    def shown(self, actor: Actor, child: Row) -> Row | None:
        """Give what the actor sees of a child's row; None where they see nothing of it."""

    def sees_words(self, actor: Actor, child: Row) -> bool:
        """Whether the actor may read what was said and reported, not only the numbers."""


class StandardPolicy:
    """The policy of a bear that knows no more than roles and parents."""

    def shown(self, actor: Actor, child: Row) -> Row | None:
        """See `QueryPolicy`."""
        if actor.role == "device" or self._is_parent(actor, child):
            return child
        return masked(child) if actor.role == "support" else None

    def sees_words(self, actor: Actor, child: Row) -> bool:
        """See `QueryPolicy`."""
        return actor.role == "device" or self._is_parent(actor, child)

    def _is_parent(self, actor: Actor, child: Row) -> bool:
        return actor.role == "parent" and bool(actor.id == child["parent_id"])


def masked(child: Row) -> Row:
    """Hide who the child is: the name's first letter, the end of the ids, no preferences."""
    hidden = {field: "***" + str(child[field])[-2:] for field in MASKED}
    return {**child, **hidden, "name": child["name"][:1] + "***", "preferences": {}}


async def visible_child(read: Read, policy: QueryPolicy, actor: Actor, child_id: str) -> Row:
    """Give what the actor sees of a child; one that is not theirs is not told from none."""
    row = await read(child_key(child_id))
    shown = None if row is None else policy.shown(actor, row)
    if shown is None:
        raise QueryRejected(
            "unknown_child", "there is no such child, or it is not yours to see", "data.child_id"
        )
    return shown


def without_words(item: dict[str, Any]) -> dict[str, Any]:
    """Leave out what was said or reported in words."""
    return {key: value for key, value in item.items() if key not in {"details", "summary"}}
