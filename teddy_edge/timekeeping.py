"""Notices when the time becomes known, and records it, so that earlier records can be dated.

A bear without a battery clock starts somewhere in the past, and stamps its records with that,
marked as unsynced. Once the kernel says that its clock is right, or a parent sets it, a
`clock_synced` event is recorded: what the wall clock and the monotonic clock showed at one moment
of this boot. By it the wall time of every record of the same boot can be computed
(`fleet/restamping.py`). It is recorded again when the clock is set by more than `step_s`.

What was once known stays known until the next boot: should the kernel lose its time server, or a
daemon start anew in between, the wall time is counted on from the event by the monotonic clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from teddy_edge.clock import NS_PER_S, Clock, KnownTime, Trust
from teddy_edge.errors import LogOverloaded
from teddy_edge.events import ClockSynced, Event
from teddy_edge.settings import ClockSettings

logger = logging.getLogger("teddy_edge.timekeeping")

Note = Callable[[Event], Awaitable[int]]
"""Appends an event; returns once it is durable."""


class TimeKeeper:
    """Watches one clock. It learns from the log as well: `apply` takes every event in order."""

    def __init__(self, clock: Clock, settings: ClockSettings) -> None:
        self._clock = clock
        self._settings = settings
        self._known: KnownTime | None = None

    def apply(self, event: Event) -> None:
        """Take up what was recorded of this boot, now or before a restart."""
        if isinstance(event, ClockSynced) and event.boot_id == str(self._clock.boot_id):
            offset_ns = event.wall_ns - event.monotonic_ns
            self._known = KnownTime(offset_ns, Trust(event.trust))
            self._clock.hold(self._known)

    async def run(self, note: Note) -> None:
        """Look again and again."""
        while True:
            await self.look(note)
            await asyncio.sleep(self._settings.poll_s)

    async def look(self, note: Note) -> None:
        """Record that the time is known, if that is news."""
        trust = self._clock.trust()
        monotonic_ns, wall_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
        if not self._is_news(KnownTime(wall_ns - monotonic_ns, trust)):
            return
        boot_id = str(self._clock.boot_id)
        try:
            await note(ClockSynced(boot_id, monotonic_ns, wall_ns, trust.value))
        except LogOverloaded as error:
            logger.warning("the time is not recorded yet", extra={"reason": str(error)})

    def _is_news(self, seen: KnownTime) -> bool:
        if seen.trust is Trust.UNSYNCED:
            return False
        if self._known is None or self._known.trust is not seen.trust:
            return True
        return abs(seen.offset_ns - self._known.offset_ns) > self._settings.step_s * NS_PER_S
