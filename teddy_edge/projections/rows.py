"""What a projection sees while it takes up an event: rows to read, rows to put.

A long list (a child's violations, a parent's children) is a row that counts and as many rows of
`ITEMS_PER_PAGE` items as it needs: no row grows without end, and an append rewrites one page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from teddy_edge.events import Event, Record

Row = dict[str, Any]
EventTypes = tuple[type[Event], ...]
ITEMS_PER_PAGE = 10
"""So many of the longest items (a violation with its details) fit one row."""


class Rows(Protocol):
    """The rows as of the record before, and what this one changes."""

    def get(self, key: str) -> Row | None:
        """Give a row."""

    def put(self, key: str, row: Row) -> None:
        """Put a new or changed row; rows that were got are never changed in place."""


class Projection(Protocol):
    """A rule that makes rows of events, and of nothing else: no clock, no chance, no waiting.

    A change of `version` makes all read models be built anew at the next start.
    """

    name: str
    version: int
    takes: EventTypes
    """The events that it is given, none of a newer version; see `change.PASSED_OVER`."""

    def apply(self, rows: Rows, record: Record, event: Any) -> None:
        """Take up an event, and the record that it stands in."""


def append_item(rows: Rows, name: str, item: Any) -> int:
    """Put an item at the end of a list; gives how many it has now."""
    count: int = (rows.get(name) or {"count": 0})["count"]
    page = _page_key(name, count)
    held = rows.get(page) if count % ITEMS_PER_PAGE else None
    rows.put(page, {"items": [*(held or {"items": []})["items"], item]})
    rows.put(name, {"count": count + 1})
    return count + 1


async def item_count(get: Callable[[str], Awaitable[Row | None]], name: str) -> int:
    """Tell how many items a list has."""
    return int((await get(name) or {"count": 0})["count"])


async def read_items(
    get: Callable[[str], Awaitable[Row | None]], name: str, offset: int, limit: int
) -> list[Any]:
    """Give up to `limit` items of a list from `offset` on, in the order they were put."""
    end = min(offset + limit, await item_count(get, name))
    items: list[Any] = []
    for start in range(offset - offset % ITEMS_PER_PAGE, end, ITEMS_PER_PAGE):
        page = (await get(_page_key(name, start)) or {"items": []})["items"]
        items += page[max(offset - start, 0) : end - start]
    return items


def _page_key(name: str, index: int) -> str:
    """Put the number first: what somebody else chose in a name must not pass for a page."""
    return f"{index // ITEMS_PER_PAGE:08d}/{name}"
