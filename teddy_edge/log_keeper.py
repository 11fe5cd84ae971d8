"""Keeps the log within its limits while the bear lives, and says what is lost, once and exactly.

What is dropped for want of room is told first, by an event, and only when that is on the card the
records go. A crash in between leaves a drop that was told; `begin` completes it. The
counts of all that was told sum up to exactly what is missing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Final

from teddy_edge.clock import NS_PER_S, Clock, Trust
from teddy_edge.errors import LogOverloaded
from teddy_edge.eventlog import EventLog, Gap, LostRange, Policy, StoredRecord, untold
from teddy_edge.events import DataClass, Event, RecordsLost, decode_record
from teddy_edge.settings import LogSettings

logger = logging.getLogger("teddy_edge.log_keeper")

DAMAGE: Final = "damage"
NO_ROOM: Final = "no room for "
NEIGHBOUR_RECORDS: Final = 500
NEIGHBOUR_BYTES: Final = 1024 * 1024
"""How far before a loss its neighbour is looked for."""

SEGMENTS_AT_A_TIME: Final = 8
"""So many segments that no start has read are checked between two other looks."""

ESSENTIAL: Final = (DataClass.SAFETY, DataClass.CONSENT)
"""Recorded also on a full card, and never forced out."""

Note = Callable[[Event], Awaitable[int]]
"""Appends an event; gives its number once it is durable."""


def policy_of(settings: LogSettings) -> Policy:
    """Say what each data class may do when the card gets full."""
    return Policy(
        removable=frozenset({DataClass.ACTIVITY, DataClass.DIAGNOSTICS}),
        bounded={
            DataClass.COMMAND: settings.command_bytes_max,
            DataClass.STATE: settings.state_bytes_max,
        },
        droppable=(
            DataClass.DIAGNOSTICS, DataClass.ACTIVITY, DataClass.STATE, DataClass.COMMAND,
        ),
    )  # fmt: skip


def lost_range(told: RecordsLost) -> LostRange:
    """Read back what an event told, so that a drop can be completed."""
    classes = {NO_ROOM + data_class.name.lower(): data_class for data_class in DataClass}
    return LostRange(told.first_seq, told.last_seq, told.count, classes.get(told.reason))


def _reason_of(lost: LostRange) -> str:
    return DAMAGE if lost.data_class is None else NO_ROOM + DataClass(lost.data_class).name.lower()


def neighbours_wall_ns(log: EventLog, lost: LostRange) -> tuple[int | None, int | None]:
    """Give when the record before and the one behind a loss were written, if they are near."""
    first_seq = max(lost.first_seq - NEIGHBOUR_RECORDS, 1)
    near = log.read(first_seq, NEIGHBOUR_RECORDS, NEIGHBOUR_BYTES)
    before = [stored for stored in near if stored.seq < lost.first_seq]
    return _wall_ns(before[-1:]), _wall_ns(log.read(lost.last_seq + 1, 1, 1))


def _wall_ns(found: Sequence[StoredRecord]) -> int | None:
    for stored in found:
        return decode_record(stored.seq, stored.data_class, stored.body).wall_ns
    return None


class LogKeeper:
    """Removes, trims and drops, as age and budget ask for it."""

    def __init__(
        self, log: EventLog, confirmed_seq: Callable[[], int], note: Note,
        settings: LogSettings, clock: Clock,
    ) -> None:  # fmt: skip
        self._log = log
        self._retention = log.retention
        self._confirmed_seq = confirmed_seq
        self._note = note
        self._settings = settings
        self._clock = clock
        self._told: list[LostRange] = []
        self._settled: tuple[list[Gap], list[LostRange]] = ([], [])
        self._unread_seq = 0
        self._checking = self._check_unread()
        self._undone: LostRange | None = None

    async def begin(self, told: Iterable[RecordsLost], unread_seq: int = 0) -> None:
        """Complete the drop that was told last, then tell what was lost to damage.

        `told` is what the log says of earlier losses, in order. Up to `unread_seq` the log was not
        read at this start; damage in that part is looked for while the bear lives. Where something
        was lost before, the log does not count as complete meanwhile.
        """
        self._told = [lost_range(event) for event in told]
        self._unread_seq = unread_seq
        self._log.report.is_uncounted = bool(self._told) and unread_seq > 0
        drops = [lost for lost in self._told if lost.data_class is not None]
        self._undone = drops[-1] if drops else None
        await self._carry_out()
        await self._tell_damage()

    async def run(self) -> None:
        """Keep for ever."""
        while True:
            try:
                await self.keep()
            except LogOverloaded as error:
                logger.warning("nothing is kept in order now", extra={"reason": str(error)})
            await asyncio.sleep(self._settings.retention_interval_s)

    async def keep(self) -> None:
        """Do what is to be done now."""
        if not await self._carry_out():
            return
        for _ in range(SEGMENTS_AT_A_TIME):
            await anext(self._checking, None)
        await self._tell_damage()
        while await self._is_old() and await self._reduce():
            pass
        while await self._is_short() and await self._reduce():
            pass
        while await self._trim():
            pass
        while await self._is_short() and await self._drop_next():
            pass
        await asyncio.to_thread(self._log.measure_room)

    async def _check_unread(self) -> AsyncIterator[None]:
        """Check, step by step, each segment that the start did not read.

        It begins anywhere, so that a bear which is never on for long has all of them checked too.
        """
        begin_seq = random.randint(1, max(self._unread_seq, 1))  # noqa: S311 (it is no secret)
        for first_seq, last_seq in ((begin_seq, self._unread_seq), (1, begin_seq - 1)):
            seq: int | None = first_seq
            while seq is not None and seq <= last_seq:
                seq = await asyncio.to_thread(self._log.look_through, seq)
                yield
        self._log.report.is_uncounted = False

    async def _is_short(self) -> bool:
        return await asyncio.to_thread(self._retention.shortage_bytes) > 0

    async def _is_old(self) -> bool:
        """Whether all that follows the oldest confirmed segment is past its age too.

        So what was written within the age is whole. Nobody knows by an untrue clock.
        """
        seq = self._retention.oldest_whole(self._confirmed_seq())
        if seq is None or self._clock.trust() is Trust.UNSYNCED:
            return False
        written_ns = _wall_ns(await asyncio.to_thread(self._log.read, seq + 1, 1, 1))
        if written_ns is None:
            return False
        age_ns = self._clock.wall_ns() - written_ns
        return age_ns > self._settings.confirmed_age_s_max * NS_PER_S

    async def _reduce(self) -> bool:
        return await asyncio.to_thread(self._retention.reduce, self._confirmed_seq())

    async def _trim(self) -> bool:
        return await asyncio.to_thread(self._retention.trim, self._confirmed_seq())

    async def _drop_next(self) -> bool:
        lost = await asyncio.to_thread(self._retention.plan, self._confirmed_seq())
        if lost is None:
            return False
        await self._say(lost)
        self._undone = lost
        return await self._carry_out()

    async def _carry_out(self) -> bool:
        """Complete a drop that was told. False if the card has no room to do it."""
        if self._undone is None:
            return True
        if not await asyncio.to_thread(self._retention.drop, self._undone):
            return False
        self._undone = None
        return True

    async def _tell_damage(self) -> None:
        for lost in await asyncio.to_thread(self._untold):
            await self._say(lost)

    def _untold(self) -> list[LostRange]:
        """Look for what is lost and was not told; blocks, since the gaps can be very many.

        Nothing is worked out for gaps and tellings of which the last look found that they agree.
        """
        seen = (self._log.gaps(), list(self._told))
        if seen == self._settled:  # quick: what did not change are the same objects
            return []
        found = untold(*seen)
        if not found:
            self._settled = seen
        return found

    async def _say(self, lost: LostRange) -> None:
        after_ns, before_ns = await asyncio.to_thread(neighbours_wall_ns, self._log, lost)
        event = RecordsLost(
            lost.first_seq, lost.last_seq, lost.count, _reason_of(lost), after_ns, before_ns
        )
        seq = await self._note(event)
        self._told.append(lost)
        facts = {
            "first_seq": lost.first_seq, "last_seq": lost.last_seq, "count": lost.count,
            "reason": event.reason, "seq": seq,
        }  # fmt: skip
        logger.warning("records are lost", extra=facts)
