"""Feeds the log to the projections, keeps the changed rows at hand, writes them once per window."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from teddy_edge.clock import NS_PER_S, Clock
from teddy_edge.errors import ReadModelError
from teddy_edge.eventlog import EventLog, StoredRecord
from teddy_edge.events import Record, decode_record
from teddy_edge.projections.store import ReadModelStore, Row
from teddy_edge.settings import ProjectionSettings

logger = logging.getLogger("teddy_edge.projections")

READ_BYTES_MAX = 1024 * 1024


class Projection(Protocol):
    """A pure rule: which row a record touches, and what the row becomes.

    A change of `version` makes all read models be built anew at the next start.
    """

    name: str
    version: int

    def key(self, record: Record) -> str | None:
        """The row that a record may change, or None."""

    def apply(self, row: Row | None, record: Record) -> Row | None:
        """The row after the record; None deletes it."""


class ChildProjectionManager:
    """Runs every projection over the log; `position` is the last sequence number included."""

    def __init__(
        self,
        log: EventLog,
        store: ReadModelStore,
        projections: Sequence[Projection],
        settings: ProjectionSettings,
        clock: Clock,
    ) -> None:
        self._log = log
        self._store = store
        self._projections = projections
        self._settings = settings
        self._clock = clock
        self._unwritten: dict[str, Row | None] = {}
        self._written_position = 0
        self._behind_since_ns: int | None = None
        self._listeners: list[Callable[[set[str]], None]] = []
        self._catching_up = asyncio.Lock()
        self.position = 0

    async def open(self) -> None:
        """Open the rows, or build them anew where they are damaged, foreign or of another log."""
        try:
            await self._store.open()
            at = await self._store.position()
        except ReadModelError as error:
            logger.warning("read models are built anew", extra={"reason": error.what})
            await self._store.discard()
            at = {}
        if at and not self._continues(at):
            logger.warning("read models are built anew", extra={"reason": "another log or version"})
            await self._store.discard()
            at = {}
        self.position = self._written_position = int(at.get("seq", 0))
        await self._catch_up()

    def listen(self, listener: Callable[[set[str]], None]) -> None:
        """Have the keys of changed rows told, after each batch, on the event loop."""
        self._listeners.append(listener)

    async def get(self, key: str) -> Row | None:
        """Give a row as of `position`."""
        if key in self._unwritten:
            return self._unwritten[key]
        return await self._store.get(key)

    async def keys(self, prefix: str) -> list[str]:
        """Give the keys of all rows that begin so, sorted."""
        unwritten = dict(self._unwritten)
        written = set(await self._store.keys())
        present = (written | unwritten.keys()) - {k for k, row in unwritten.items() if row is None}
        return sorted(key for key in present if key.startswith(prefix))

    def age_s(self) -> float:
        """How long the oldest record that the rows don't include yet has waited; 0 if none."""
        if self._behind_since_ns is None or self.position >= self._log.last_seq:
            return 0.0
        return (self._clock.monotonic_ns() - self._behind_since_ns) / NS_PER_S

    async def include(self, seq: int) -> None:
        """Return once the rows include a sequence number that is already in the log."""
        while self.position < seq:
            await self._catch_up()

    async def run(self) -> None:
        """Follow the log for ever."""
        while True:
            await self._log.wait_beyond(self.position)
            await self._catch_up()

    async def write_in_windows(self) -> None:
        """Write what changed, once in `write_window_s`, for ever."""
        while True:
            await asyncio.sleep(self._settings.write_window_s)
            await self._write()

    async def close(self) -> None:
        """Write what changed and close the store."""
        await self._write()
        await self._store.close()

    def _continues(self, at: Row) -> bool:
        """Tell whether rows that stand at a position belong to this log and these rules."""
        here = self._position_row(int(at.get("seq", 0)))
        return at == here and here["seq"] <= self._log.last_seq

    def _position_row(self, seq: int) -> Row:
        versions = {projection.name: projection.version for projection in self._projections}
        return {"seq": seq, "epoch": self._log.epoch.bytes, "versions": versions}

    async def _catch_up(self) -> None:
        async with self._catching_up:
            while self.position < self._log.last_seq:
                if self._behind_since_ns is None:
                    self._behind_since_ns = self._clock.monotonic_ns()
                batch = await asyncio.to_thread(
                    self._log.read,
                    self.position + 1,
                    self._settings.batch_records_max,
                    READ_BYTES_MAX,
                )
                await self._include(batch)
            self._behind_since_ns = None

    async def _include(self, batch: Sequence[StoredRecord]) -> None:
        """Apply a batch; the rows and the position change together, seen from the event loop."""
        changed: dict[str, Row | None] = {}
        for stored in batch:
            record = decode_record(stored.seq, stored.data_class, stored.body)
            for projection in self._projections:
                key = projection.key(record)
                if key is not None:
                    row = changed[key] if key in changed else await self.get(key)
                    changed[key] = projection.apply(row, record)
        self._unwritten.update(changed)
        self.position = batch[-1].seq
        for listener in self._listeners:
            listener(set(changed))

    async def _write(self) -> None:
        position, rows = self.position, dict(self._unwritten)
        if position == self._written_position:
            return
        await self._store.write(rows, self._position_row(position))
        self._written_position = position
        for key, row in rows.items():
            if self._unwritten[key] is row:
                del self._unwritten[key]
