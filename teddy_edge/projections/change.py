"""The rows while records are taken up: what one batch changes, and what was read lately."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from teddy_edge.projections.rows import Row

RECENT_ROWS_MAX = 4096


class Recent:
    """The rows that one catch-up met: each is asked of the store's thread once.

    One that begins with no rows at all need not ask for a row that it has not put.
    """

    def __init__(self, get: Callable[[str], Awaitable[Row | None]], *, begins_empty: bool) -> None:
        self._get = get
        self._rows: dict[str, Row | None] = {}
        self._present: set[str] | None = set() if begins_empty else None

    async def get(self, key: str) -> Row | None:
        """Give a row."""
        if key in self._rows:
            return self._rows[key]
        if self._present is not None and key not in self._present:
            return None
        row = await self._get(key)
        self._keep({key: row})
        return row

    def put(self, rows: Mapping[str, Row]) -> None:
        """Take up changed rows."""
        if self._present is not None:
            self._present.update(rows)
        self._keep(rows)

    def _keep(self, rows: Mapping[str, Row | None]) -> None:
        """Remember rows; at the limit all others are forgotten."""
        if len(self._rows) + len(rows) > RECENT_ROWS_MAX:
            self._rows.clear()
        self._rows.update(rows)


class Change:
    """The rows as one batch of records leaves them; nothing is seen of it before it is whole."""

    def __init__(self, get: Callable[[str], Awaitable[Row | None]]) -> None:
        self._get = get
        self.rows: dict[str, Row] = {}

    async def get(self, key: str) -> Row | None:
        """See `Rows`."""
        return self.rows[key] if key in self.rows else await self._get(key)

    def put(self, key: str, row: Row) -> None:
        """See `Rows`."""
        self.rows[key] = row
