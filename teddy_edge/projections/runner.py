"""Keeps one edition of the rows in use: it follows the log, is mended, rebuilt and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from teddy_edge.clock import NS_PER_S, Clock
from teddy_edge.errors import ReadModelError
from teddy_edge.eventlog import EventLog
from teddy_edge.projections.change import Rules
from teddy_edge.projections.edition import Edition
from teddy_edge.projections.history import History
from teddy_edge.projections.row_store import RowsInMemory, RowStore
from teddy_edge.projections.rows import Projection, Row
from teddy_edge.settings import ProjectionSettings

logger = logging.getLogger("teddy_edge.projections")

MENDING = "the read models are being built anew"
GATHER_S = 0.02
"""How long new records are gathered before the rows follow them. No query waits for it."""
FAULTS_MAX = 2
"""Faults of the card, less than `renewal_interval_s` apart, after which the rows stay in memory."""


class ChildProjectionManager:
    """Runs every projection over the log, and gives their rows."""

    def __init__(
        self,
        log: EventLog,
        store: RowStore,
        projections: Sequence[Projection],
        settings: ProjectionSettings,
        clock: Clock,
    ) -> None:
        self._log = log
        self._card = store
        self._rules = Rules(projections)
        self._settings = settings
        self._clock = clock
        self._history = History(log)
        self._edition = self._edition_in(store)
        self._behind_since_ns: int | None = None
        self._listeners: list[Callable[[set[str]], None]] = []
        self._catching_up = asyncio.Lock()
        self._rebuilding = asyncio.Lock()
        self._mending: asyncio.Task[None] | None = None
        self._is_mending = False
        self._faults = 0
        self._last_fault_ns = clock.monotonic_ns()

    @property
    def position(self) -> int:
        """The last sequence number that the rows include."""
        return self._edition.position

    async def open(self) -> None:
        """Open the rows, or build them anew where they are damaged, foreign or of another log."""
        try:
            await self._card.open()
            at = await self._card.position()
            has_rows = bool(at or await self._card.keys())
        except ReadModelError as error:
            await self._start_afresh(error.what)
            at, has_rows = {}, False
        if self._continues(at):
            self._edition = self._edition_in(self._card, at["made_of"], at["seq"])
        elif has_rows:
            await self._start_afresh("they are of another log, or of another version")
        await self._catch_up()
        await self.write()
        await self._history.look()

    def listen(self, listener: Callable[[set[str]], None]) -> None:
        """Have the keys of changed rows told, after each batch, on the event loop."""
        self._listeners.append(listener)

    async def get(self, key: str) -> Row | None:
        """Give a row as of `position`, or later. A fault of the store is mended on the way."""
        while True:
            edition = self._edition
            try:
                return await edition.get(key)
            except ReadModelError as error:
                await self._mend(edition, error)

    async def get_settled(self, key: str) -> Row | None:
        """Give a row, but not while a mend goes on: it could be missing then, and come back."""
        while True:
            if self._mending is not None:
                await asyncio.shield(self._mending)
            edition = self._edition
            row = await self.get(key)
            if edition is self._edition and not self._is_mending:
                return row

    async def keys(self, prefix: str) -> list[str]:
        """Give the keys of all rows that begin so, sorted."""
        while True:
            edition = self._edition
            try:
                return sorted(key for key in await edition.keys() if key.startswith(prefix))
            except ReadModelError as error:
                await self._mend(edition, error)

    def age_s(self) -> float:
        """How long the oldest record that the rows don't include yet has waited; 0 if none."""
        if self._behind_since_ns is None or self.position >= self._log.last_seq:
            return 0.0
        return (self._clock.monotonic_ns() - self._behind_since_ns) / NS_PER_S

    def lost(self) -> str | None:
        """Why the rows may lack what never leaves a whole log; None where they do not."""
        return MENDING if self._is_mending else self._history.lost()

    def lacking(self, since: datetime | None = None) -> str | None:
        """Why the rows may lack something from a moment on, or (None) ever; None if they do not."""
        return self.lost() or self._history.removed(since)

    async def include(self, seq: int) -> None:
        """Return once the rows include a sequence number that is already in the log."""
        while self.position < seq:
            await self._catch_up()
        await self._history.look()

    async def run(self) -> None:
        """Follow the log for ever."""
        while True:
            await self._log.wait_beyond(self.position)
            self._note_lag()
            await asyncio.sleep(GATHER_S)
            await self._catch_up()

    async def write_in_windows(self) -> None:
        """Write what changed, once in `write_window_s`, for ever."""
        while True:
            await asyncio.sleep(self._settings.write_window_s)
            await self.write()

    def is_outdated(self) -> bool:
        """Whether something left the log since the rows were made, or they are not on the card."""
        edition = self._edition
        return edition.made_of != self._history.mark() or edition.store is not self._card

    async def renew(self) -> None:
        """Build all rows anew where they are outdated, once an interval, for ever.

        That is soon enough: what the rows hold beyond the log is true, and no answer calls itself
        complete for it.
        """
        while True:
            if self.is_outdated():
                try:
                    await self.rebuild()
                    logger.info("the read models are renewed", extra=self._history.mark())
                except ReadModelError as error:
                    logger.warning("read models are not renewed", extra={"reason": error.what})
            await asyncio.sleep(self._settings.renewal_interval_s)

    async def rebuild(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Build all rows anew beside the ones in use, and take them into use when they are ready.

        `progress` hears how far it is and how far it goes, in sequence numbers. Raises
        `ReadModelError` where the new rows cannot be written; those in use then stay in use.
        """

        def tell(_: set[str]) -> None:
            if progress is not None:
                progress(fresh.position, self._log.last_seq)

        async with self._rebuilding, contextlib.AsyncExitStack() as giving_up:
            fresh = self._edition_in(self._card.sibling())
            giving_up.push_async_callback(fresh.store.close)
            await fresh.store.discard()
            await fresh.follow(tell)
            async with self._catching_up:
                await fresh.follow(tell)
                await fresh.write()
                giving_up.pop_all()
                await fresh.store.close()
                changed = await self._readable_keys()
                await asyncio.shield(self._take_over(fresh))
                changed |= await self._edition.keys()
        self._tell(changed)

    async def close(self) -> None:
        """Write what changed and close the store; what cannot be written is built anew later."""
        if self._mending is not None:
            await asyncio.wait([self._mending])
        try:
            await self._edition.write()
        except ReadModelError as error:
            logger.warning("read models are not written", extra={"reason": error.what})
        finally:
            await self._edition.store.close()

    def _tell(self, keys: set[str]) -> None:
        for listener in self._listeners:
            listener(keys)

    def _edition_in(
        self, store: RowStore, made_of: Row | None = None, position: int = 0
    ) -> Edition:
        made_of = made_of or self._history.mark()
        return Edition(
            self._log, store, self._rules, self._settings, self._clock, made_of, position
        )

    def _continues(self, at: Row) -> bool:
        """Tell whether rows that stand at a position belong to this log and these rules."""
        seq, made_of = at.get("seq"), at.get("made_of")
        if not isinstance(seq, int) or not isinstance(made_of, dict):
            return False
        is_position = 0 < seq <= self._log.last_seq
        return is_position and at == self._edition_in(self._card, made_of, seq).position_row(seq)

    async def _readable_keys(self) -> set[str]:
        """Give the keys of rows that are about to be replaced, damaged or not."""
        try:
            return await self._edition.keys()
        except ReadModelError as error:
            logger.warning("damaged read models are replaced", extra={"reason": error.what})
            return self._edition.unwritten_keys()

    async def _take_over(self, fresh: Edition) -> None:
        """Stand at the new rows' position before they are in place: reads queue up behind them.

        Given up half way, rows of one position would be written under another.
        """
        await self._edition.retire()
        if self._edition.store is not self._card:
            self._card = self._card.reopened()
        self._edition = self._edition_in(self._card, fresh.made_of, fresh.position)
        await self._card.replace_with_sibling()

    async def _catch_up(self) -> None:
        """Include what the log holds now, and no more: whoever waits for it has a turn then."""
        self._note_lag()
        edition = self._edition
        try:
            async with self._catching_up:
                edition = self._edition
                await self._follow()
        except ReadModelError as error:
            await self._mend(edition, error)
        self._behind_since_ns = None
        self._note_lag()

    async def _follow(self) -> None:
        await self._edition.follow(self._tell)
        self._is_mending = False

    def _note_lag(self) -> None:
        """Note since when a record waits to be included."""
        if self._behind_since_ns is None and self.position < self._log.last_seq:
            self._behind_since_ns = self._clock.monotonic_ns()

    async def write(self) -> None:
        """Write what changed; a fault of the store is mended on the way."""
        edition = self._edition
        try:
            await edition.write()
        except ReadModelError as error:
            await self._mend(edition, error)

    async def _mend(self, edition: Edition, error: ReadModelError) -> None:
        """Build all rows anew after a fault, unless somebody has done so since.

        It is done in a task of its own: whoever met the fault may be cancelled, half a mend must
        not stay.
        """
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend_now(edition, error.what), name="mend")
        await asyncio.shield(self._mending)

    async def _mend_now(self, edition: Edition, reason: str) -> None:
        async with self._catching_up:
            while edition is self._edition:
                await self._start_afresh(reason)
                try:
                    await self._follow()
                except ReadModelError as error:
                    if isinstance(self._edition.store, RowsInMemory):
                        raise  # the memory has no faults: it is a projection's
                    edition, reason = self._edition, error.what

    async def _start_afresh(self, reason: str) -> None:
        """Throw all rows away."""
        logger.warning("read models are built anew", extra={"reason": reason})
        self._is_mending = True
        await self._edition.retire()
        await self._edition.store.close()
        self._edition = self._edition_in(await self._next_store())

    async def _next_store(self) -> RowStore:
        """Empty the card, or give it up for the memory where it had faults lately."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._last_fault_ns > self._settings.renewal_interval_s * NS_PER_S:
            self._faults = 0
        self._faults, self._last_fault_ns = self._faults + 1, now_ns
        if self._faults > FAULTS_MAX:
            return RowsInMemory()
        self._card = self._card.reopened()
        try:
            await self._card.discard()
        except ReadModelError as error:
            logger.warning("read models stay in memory", extra={"reason": error.what})
            await self._card.close()
            return RowsInMemory()
        return self._card
