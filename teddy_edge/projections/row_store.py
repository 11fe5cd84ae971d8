"""Where rows are kept: what is asked of such a place, and one that lasts as long as the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from teddy_edge.projections.rows import Row

T = TypeVar("T")
Get = Callable[[str], Row | None]
"""Gives a row at once."""


class RowStore(Protocol):
    """Where rows are kept. Each call may raise `ReadModelError`."""

    async def open(self) -> None:
        """Make ready."""

    async def discard(self) -> None:
        """Delete all rows and make ready."""

    async def position(self) -> Row:
        """Give what the last `write` said of its position; empty where nothing was written."""

    async def get(self, key: str) -> Row | None:
        """Give a row."""

    async def run(self, work: Callable[[Get], T]) -> T:
        """Run what gets many rows, one after another, where none of them has to be waited for.

        It must not take longer than others may wait for a row.
        """

    async def keys(self) -> list[str]:
        """Give the keys of all rows."""

    async def write(self, rows: Mapping[str, Row], position: Row) -> None:
        """Write rows and their position, all or none."""

    async def close(self) -> None:
        """Let go of everything; never fails."""

    def reopened(self) -> RowStore:
        """Give a new store in the same place, for when this one was closed."""

    def sibling(self) -> RowStore:
        """Give a store beside this one, for rows that are built anew."""

    async def replace_with_sibling(self) -> None:
        """Take the rows of the sibling, which must be closed, instead of these."""


class RowsInMemory:
    """Keeps rows while the daemon runs: for a card that keeps none."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._position: Row = {}
        self._sibling: RowsInMemory | None = None

    async def open(self) -> None:
        """See `RowStore`."""

    async def discard(self) -> None:
        """See `RowStore`."""
        self._rows, self._position = {}, {}

    async def position(self) -> Row:
        """See `RowStore`."""
        return self._position

    async def get(self, key: str) -> Row | None:
        """See `RowStore`."""
        return self._rows.get(key)

    async def run(self, work: Callable[[Get], T]) -> T:
        """See `RowStore`."""
        return await asyncio.to_thread(work, self._rows.get)

    async def keys(self) -> list[str]:
        """See `RowStore`."""
        return list(self._rows)

    async def write(self, rows: Mapping[str, Row], position: Row) -> None:
        """See `RowStore`."""
        self._rows.update(rows)
        self._position = position

    async def close(self) -> None:
        """See `RowStore`."""

    def reopened(self) -> RowStore:
        """See `RowStore`."""
        return self

    def sibling(self) -> RowStore:
        """See `RowStore`."""
        self._sibling = RowsInMemory()
        return self._sibling

    async def replace_with_sibling(self) -> None:
        """See `RowStore`."""
        assert self._sibling is not None
        self._rows, self._position = self._sibling._rows, self._sibling._position
