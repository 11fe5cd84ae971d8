"""Questions about children: one, a parent's, those that fit a search."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from teddy_edge.errors import QueryRejected
from teddy_edge.messages import Actor, Identifier
from teddy_edge.projections import Row
from teddy_edge.projections.child import CHILDREN, children_of
from teddy_edge.projections.child import key as child_key
from teddy_edge.projections.rows import item_count, read_items
from teddy_edge.queries.bus import Query, Read
from teddy_edge.queries.policy import QueryPolicy, visible_child

LISTERS = frozenset({"parent", "support", "device"})
"""The roles that may ask for lists; what they see of each child is up to the policy."""
SCANNED_MAX = 500
"""Children that one page of a search looks at."""

Cursor = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,12}$")]
"""Where the next page begins; from an answer's `next_cursor`. It stays good while children come."""
PageSize = Annotated[int, Field(ge=1, le=100)]


class GetChildProfile(Query):
    """What is known of one child."""

    wire_name: ClassVar[str] = "get_child_profile"

    child_id: Identifier


class GetChildrenByParent(Query):
    """A parent's children, in the order of their registration."""

    wire_name: ClassVar[str] = "get_children_by_parent"

    parent_id: Identifier
    limit: PageSize = 20
    cursor: Cursor = "0"


class SearchChildren(Query):
    """Children by a part of the name, by age and by parent."""

    wire_name: ClassVar[str] = "search_children"

    search_term: Annotated[str, StringConstraints(max_length=64)] = ""
    age_min: int = Field(0, ge=0, le=120)
    age_max: int = Field(120, ge=0, le=120)
    parent_id: Identifier | None = None
    limit: PageSize = 20
    cursor: Cursor = "0"


class GetChildProfileHandler:
    """Answers `get_child_profile`."""

    query_type = GetChildProfile
    is_expensive = False

    def __init__(self, policy: QueryPolicy, ttl_s: float) -> None:
        self._policy = policy
        self.ttl_s = ttl_s

    async def answer(self, query: GetChildProfile, actor: Actor, read: Read) -> dict[str, Any]:
        """Give what the actor may see of the child."""
        return await visible_child(read, self._policy, actor, query.child_id)


class GetChildrenByParentHandler:
    """Answers `get_children_by_parent`."""

    query_type = GetChildrenByParent
    is_expensive = False

    def __init__(self, policy: QueryPolicy, ttl_s: float) -> None:
        self._policy = policy
        self.ttl_s = ttl_s

    async def answer(self, query: GetChildrenByParent, actor: Actor, read: Read) -> dict[str, Any]:
        """Give a page of the children that the actor may see."""
        _check_asker(actor, query.parent_id)
        name, offset = children_of(query.parent_id), int(query.cursor)
        ids = await read_items(read, name, offset, query.limit)
        children = [await _shown(read, self._policy, actor, child_id) for child_id in ids]
        total = await item_count(read, name)
        return _page([child for child in children if child], offset + len(ids), total)


class SearchChildrenHandler:
    """Answers `search_children`."""

    query_type = SearchChildren
    is_expensive = True

    def __init__(self, policy: QueryPolicy, ttl_s: float) -> None:
        self._policy = policy
        self.ttl_s = ttl_s

    async def answer(self, query: SearchChildren, actor: Actor, read: Read) -> dict[str, Any]:
        """Give a page of what fits; a parent searches among their own children."""
        parent_id = query.parent_id or (actor.id if actor.role == "parent" else None)
        _check_asker(actor, parent_id)
        name = CHILDREN if parent_id is None else children_of(parent_id)
        offset = int(query.cursor)
        found: list[Row] = []
        scanned = await read_items(read, name, offset, SCANNED_MAX)
        for child_id in scanned:
            offset += 1
            child = await _shown(read, self._policy, actor, child_id)
            if child is not None and _fits(child, query):
                found.append(child)
            if len(found) == query.limit:
                break
        return _page(found, offset, await item_count(read, name))


def _check_asker(actor: Actor, parent_id: str | None) -> None:
    if actor.role not in LISTERS:
        raise QueryRejected("not_allowed", "this role sees no list of children", "actor.role")
    if actor.role == "parent" and actor.id != parent_id:
        raise QueryRejected("not_allowed", "a parent sees their own children", "data.parent_id")


async def _shown(read: Read, policy: QueryPolicy, actor: Actor, child_id: str) -> Row | None:
    row = await read(child_key(child_id))
    return None if row is None else policy.shown(actor, row)


def _fits(child: Row, query: SearchChildren) -> bool:
    is_named_so = _folded(query.search_term) in _folded(child["name"])
    return is_named_so and query.age_min <= child["age"] <= query.age_max


def _folded(text: str) -> str:
    """Make spellings equal that differ in case, or in how an accent is encoded."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _page(children: list[Row], offset: int, total: int) -> dict[str, Any]:
    next_cursor = str(offset) if offset < total else None
    return {"children": children, "next_cursor": next_cursor, "total": total}
