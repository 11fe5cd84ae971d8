"""Builds the read models anew when somebody asks for it, one time after the other."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from teddy_edge.clock import NS_PER_S, Clock
from teddy_edge.errors import ReadModelError
from teddy_edge.projections.runner import ChildProjectionManager

logger = logging.getLogger("teddy_edge.projections")


class Rebuilding:
    """The rebuild that goes on, or the last one. It belongs to `run`, not to whoever asked."""

    def __init__(self, read_models: ChildProjectionManager, clock: Clock) -> None:
        self._read_models = read_models
        self._clock = clock
        self._asked = asyncio.Event()
        self._began_ns = 0
        self._state: dict[str, Any] = {
            "is_running": False,
            "position": 0,
            "last_seq": 0,
            "took_s": None,
            "failed_because": None,
        }

    def state(self) -> dict[str, Any]:
        """Say how far it is (`position` of `last_seq`), what it took, and what it failed of."""
        return dict(self._state)

    def begin(self) -> bool:
        """Ask for a rebuild; False where one goes on already."""
        if self._state["is_running"]:
            return False
        self._began_ns = self._clock.monotonic_ns()
        self._state.update(is_running=True, position=0, took_s=None, failed_because=None)
        self._asked.set()
        return True

    async def run(self) -> None:
        """Rebuild whenever asked, for ever. Where it fails, the rows in use stay in use."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._read_models.rebuild(self._note)
            except ReadModelError as error:
                logger.warning("read models were not rebuilt", extra={"reason": error.what})
                self._state["failed_because"] = error.what
            took_ns = self._clock.monotonic_ns() - self._began_ns
            self._state.update(is_running=False, took_s=round(took_ns / NS_PER_S, 3))
            logger.info("a rebuild ended", extra=self.state())

    def _note(self, position: int, last_seq: int) -> None:
        self._state.update(position=position, last_seq=last_seq)
