"""One edition of the rows: a store, the position that it stands at, and what is not written yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from teddy_edge.clock import NS_PER_S, Clock
from teddy_edge.eventlog import EventLog
from teddy_edge.projections.change import Change, Rules
from teddy_edge.projections.row_store import Get, RowStore
from teddy_edge.projections.rows import Row
from teddy_edge.settings import ProjectionSettings

READ_BYTES_MAX = 1024 * 1024


class Edition:
    """Rows that follow the log. Whatever the store refuses is raised: `ReadModelError`.

    Only one `follow` goes on at a time; all else may go on beside it.
    """

    def __init__(
        self,
        log: EventLog,
        store: RowStore,
        rules: Rules,
        settings: ProjectionSettings,
        clock: Clock,
        made_of: Row,
        position: int = 0,
    ) -> None:
        """`made_of` marks the history that the rows are made of (see `history`)."""
        self._log = log
        self._rules = rules
        self._settings = settings
        self._clock = clock
        self._unwritten: dict[str, Row] = {}
        self._written_position = position
        self._writing = asyncio.Lock()
        self.store = store
        self.made_of = made_of
        self.position = position
        """The last sequence number included."""

    async def get(self, key: str) -> Row | None:
        """Give a row as of `position`, or later."""
        if key in self._unwritten:
            return self._unwritten[key]
        return await self.store.get(key)

    async def keys(self) -> set[str]:
        """Give the keys of all rows."""
        unwritten = self.unwritten_keys()
        return unwritten.union(await self.store.keys())

    def unwritten_keys(self) -> set[str]:
        """Give the keys of the rows that the store does not have as they are."""
        return set(self._unwritten)

    async def follow(self, tell: Callable[[set[str]], None]) -> None:
        """Include what the log holds now, and no more; `tell` hears which rows change.

        A long way is written as it goes: so memory stays bounded, and a power cut costs a window.
        """
        last_seq = self._log.last_seq
        begun_ns = self._clock.monotonic_ns()
        while self.position < last_seq:
            tell(await self._include_batch(last_seq))
            took_ns = self._clock.monotonic_ns() - begun_ns
            is_long = took_ns > self._settings.write_window_s * NS_PER_S
            if is_long or len(self._unwritten) >= self._settings.held_rows_max:
                await self.write()
                begun_ns = self._clock.monotonic_ns()

    async def write(self) -> None:
        """Write what changed, together with the position."""
        async with self._writing:
            position, rows = self.position, dict(self._unwritten)
            if position == self._written_position:
                return
            await self.store.write(rows, self.position_row(position))
            self._written_position = position
            for key, row in rows.items():
                if self._unwritten[key] is row:
                    del self._unwritten[key]

    async def retire(self) -> None:
        """Let a write come to its end, and write nothing more."""
        async with self._writing:
            self._unwritten = {}
            self._written_position = self.position

    def position_row(self, position: int) -> Row:
        """Say what rows that stand at a position belong to."""
        return {
            "seq": position,
            "epoch": self._log.epoch.bytes,
            "versions": self._rules.versions,
            "made_of": self.made_of,
        }

    async def _include_batch(self, last_seq: int) -> set[str]:
        """Apply a batch; the rows and the position change together, seen from the event loop."""
        rows, position = await self.store.run(self._take_up)
        self._unwritten.update(rows)
        self.position = position or last_seq
        return set(rows)

    def _take_up(self, get: Get) -> tuple[dict[str, Row], int | None]:
        """Read a batch and give what it changes, and its last number; runs in another thread.

        Without a number, the records that were to be read are lost.
        """
        records_max = self._settings.batch_records_max
        batch = self._log.read(self.position + 1, records_max, READ_BYTES_MAX)
        change = Change(self._unwritten.get, get)
        self._rules.apply(change, batch)
        return change.rows, batch[-1].seq if batch else None
