"""Feeds the log to the projections, keeps the changed rows at hand, writes them once per window."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from teddy_edge.clock import NS_PER_S, Clock
from teddy_edge.errors import ReadModelError
from teddy_edge.eventlog import EventLog, StoredRecord
from teddy_edge.events import decode_record
from teddy_edge.projections.change import Change, Recent
from teddy_edge.projections.rows import Projection, Row
from teddy_edge.projections.store import RowsInMemory, RowStore
from teddy_edge.settings import ProjectionSettings

logger = logging.getLogger("teddy_edge.projections")

READ_BYTES_MAX = 1024 * 1024
REDUCED = "the read models were built after retention: what is older is with the cloud alone"
FAULTS_MAX = 2
"""Faults of the store after which the rows stay in memory until the next start."""


class ChildProjectionManager:
    """Runs every projection over the log; `position` is the last sequence number included."""

    def __init__(
        self,
        log: EventLog,
        store: RowStore,
        projections: Sequence[Projection],
        settings: ProjectionSettings,
        clock: Clock,
    ) -> None:
        self._log = log
        self._store = store
        self._projections = projections
        self._settings = settings
        self._clock = clock
        self._unwritten: dict[str, Row] = {}
        self._written_position = 0
        self._behind_since_ns: int | None = None
        self._listeners: list[Callable[[set[str]], None]] = []
        self._catching_up = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._rebuilding = asyncio.Lock()
        self._mending: asyncio.Task[None] | None = None
        self._faults = 0
        self._is_whole = True
        self.position = 0
        self.lacking: str | None = None
        """Why the rows may be fewer than the log's records make; None where they are not."""

    async def open(self) -> None:
        """Open the rows, or build them anew where they are damaged, foreign or of another log."""
        try:
            await self._store.open()
            at = await self._store.position()
            has_rows = bool(at or await self._store.keys())
        except ReadModelError as error:
            await self._start_afresh(error.what)
            at, has_rows = {}, False
        if has_rows and not self._continues(at):
            await self._start_afresh("they are of another log, or of another version")
            at = {}
        self._is_whole = bool(at.get("whole", self._log.whole_from_seq <= 1))
        self.position = self._written_position = int(at.get("seq", 0))
        await self._catch_up(write=True)

    def listen(self, listener: Callable[[set[str]], None]) -> None:
        """Have the keys of changed rows told, after each batch, on the event loop."""
        self._listeners.append(listener)

    async def get(self, key: str) -> Row | None:
        """Give a row as of `position`, or later. A fault of the store is mended on the way."""
        store = self._store
        try:
            return await self._get(key)
        except ReadModelError as error:
            await self._mend(store, error)
            return await self._get(key)

    async def _get(self, key: str) -> Row | None:
        if key in self._unwritten:
            return self._unwritten[key]
        return await self._store.get(key)

    async def keys(self, prefix: str) -> list[str]:
        """Give the keys of all rows that begin so, sorted."""
        store = self._store
        unwritten = set(self._unwritten)
        try:
            present = unwritten.union(await self._store.keys())
        except ReadModelError as error:
            await self._mend(store, error)
            return await self.keys(prefix)
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
            store = self._store
            try:
                await self._write()
            except ReadModelError as error:
                await self._mend(store, error)

    async def rebuild(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Build all rows anew beside the ones in use, and take them into use when they are ready.

        `progress` hears how far it is and how far it goes, in sequence numbers. Raises
        `ReadModelError` where the new rows cannot be written; those in use then stay in use.
        """
        fresh = ChildProjectionManager(
            self._log, self._store.sibling(), self._projections, self._settings, self._clock
        )
        fresh._is_whole = self._log.whole_from_seq <= 1
        fresh.listen(lambda _: progress(fresh.position, self._log.last_seq) if progress else None)
        async with self._rebuilding, contextlib.AsyncExitStack() as giving_up:
            giving_up.push_async_callback(fresh._store.close)
            await fresh._store.discard()
            await fresh._follow(write=True)
            async with self._catching_up, self._writing:
                await fresh._follow(write=True)
                giving_up.pop_all()
                await fresh._store.close()
                changed = {*self._unwritten, *await self._readable_keys()}
                await asyncio.shield(self._take_over(fresh.position))
                changed.update(await self._store.keys())
        for listener in self._listeners:
            listener(changed)

    async def _readable_keys(self) -> list[str]:
        """Give the keys of rows that are about to be replaced, damaged or not."""
        try:
            return await self._store.keys()
        except ReadModelError as error:
            logger.warning("damaged read models are replaced", extra={"reason": error.what})
            return []

    async def _take_over(self, position: int) -> None:
        """Stand at the new rows' position before they are in place: reads queue up behind them.

        Given up half way, rows of one position would be written under another.
        """
        self._unwritten = {}
        self.position = self._written_position = position
        self._is_whole = self._log.whole_from_seq <= 1
        self._say_what_is_lacking()
        await self._store.replace_with_sibling()

    async def close(self) -> None:
        """Write what changed and close the store; what cannot be written is built anew later."""
        if self._mending is not None:
            await asyncio.wait([self._mending])
        try:
            await self._write()
        except ReadModelError as error:
            logger.warning("read models are not written", extra={"reason": error.what})
        finally:
            await self._store.close()

    async def _mend(self, store: RowStore, error: ReadModelError) -> None:
        """Build all rows anew after a fault, unless somebody has done so since.

        It is done in a task of its own: whoever met the fault may be cancelled, half a mend must
        not stay.
        """
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend_now(store, error.what), name="mend")
        await asyncio.shield(self._mending)

    async def _mend_now(self, store: RowStore, reason: str) -> None:
        async with self._catching_up:
            while store is self._store:
                await self._start_afresh(reason)
                try:
                    await self._follow(write=False)
                except ReadModelError as error:
                    if isinstance(self._store, RowsInMemory):
                        raise  # the memory has no faults: it is a projection's
                    store, reason = self._store, error.what

    async def _start_afresh(self, reason: str) -> None:
        """Throw all rows away; a store that had a fault before is given up for the memory."""
        logger.warning("read models are built anew", extra={"reason": reason})
        self.lacking = "the read models are being built anew"
        async with self._writing:
            self._unwritten = {}
            self.position = self._written_position = 0
            self._is_whole = self._log.whole_from_seq <= 1
            await self._store.close()
            following = self._next_store()
            try:
                await following.discard()
            except ReadModelError as error:
                logger.warning("read models stay in memory", extra={"reason": error.what})
                following = RowsInMemory()
            self._store = following

    def _next_store(self) -> RowStore:
        self._faults += 1
        return self._store.reopened() if self._faults <= FAULTS_MAX else RowsInMemory()

    def _continues(self, at: Row) -> bool:
        """Tell whether rows that stand at a position belong to this log and these rules."""
        seq = at.get("seq")
        if not isinstance(seq, int) or not 0 < seq <= self._log.last_seq:
            return False
        return {**at, "whole": None} == {**self._position_row(seq), "whole": None}

    def _position_row(self, seq: int) -> Row:
        versions = {projection.name: projection.version for projection in self._projections}
        return {
            "seq": seq,
            "epoch": self._log.epoch.bytes,
            "versions": versions,
            "whole": self._is_whole,
        }

    async def _catch_up(self, *, write: bool = False) -> None:
        """Include what the log holds now, and no more: whoever waits for it has a turn then."""
        store = self._store
        try:
            async with self._catching_up:
                store = self._store
                await self._follow(write=write)
        except ReadModelError as error:
            await self._mend(store, error)

    def _say_what_is_lacking(self) -> None:
        self.lacking = None if self._is_whole else REDUCED

    async def _follow(self, *, write: bool) -> None:
        last_seq = self._log.last_seq
        recent = Recent(self._get, begins_empty=self.position == 0)
        if self.position < last_seq:
            self._behind_since_ns = self._clock.monotonic_ns()
        while self.position < last_seq:
            batch = await asyncio.to_thread(
                self._log.read,
                self.position + 1,
                self._settings.batch_records_max,
                READ_BYTES_MAX,
            )
            await self._include(batch, last_seq, recent)
            if write:
                await self._write()
        self._behind_since_ns = None
        self._say_what_is_lacking()

    async def _include(self, batch: Sequence[StoredRecord], last_seq: int, recent: Recent) -> None:
        """Apply a batch; the rows and the position change together, seen from the event loop.

        An empty batch says that the records up to `last_seq` are lost.
        """
        change = Change(recent.get)
        for stored in batch:
            record = decode_record(stored.seq, stored.data_class, stored.body)
            for projection in self._projections:
                await projection.apply(change, record)
        self._unwritten.update(change.rows)
        recent.put(change.rows)
        self.position = batch[-1].seq if batch else last_seq
        for listener in self._listeners:
            listener(set(change.rows))

    async def _write(self) -> None:
        async with self._writing:
            position, rows = self.position, dict(self._unwritten)
            if position == self._written_position:
                return
            await self._store.write(rows, self._position_row(position))
            self._written_position = position
            for key, row in rows.items():
                if self._unwritten[key] is row:
                    del self._unwritten[key]
