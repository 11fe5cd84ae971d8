"""Holds the parts open in a task of their own, for a program that is not a daemon."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from teddy_edge.assembly import Assembly, assembled
from teddy_edge.clock import Clock
from teddy_edge.errors import ServiceClosed
from teddy_edge.settings import Settings
from teddy_edge.supervision import run_until_one_ends


class BackgroundAssembly:
    """The parts, held open by a task of their own, together with the work that goes on by itself.

    A program that ends without `close` cancels that task, which then closes the parts. Where a part
    dies, the task ends with its error, which `use` and `close` pass on.
    """

    def __init__(self, settings: Callable[[], Settings], clock: Clock) -> None:
        """`settings` is asked at `open`."""
        self._settings = settings
        self._clock = clock
        self._owner: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] | None = None
        self._assembly: Assembly | None = None
        self._stop = asyncio.Event()
        self._idle = asyncio.Event()
        self._uses = 0

    async def open(self) -> None:
        """Open the parts in the running event loop; nothing where they are open in it.

        Raises `SettingsError`, and what opening the log raises (see `EventLog.open`).
        """
        if not self._lives_here():
            loop = asyncio.get_running_loop()
            self._stop, self._idle, self._uses = asyncio.Event(), asyncio.Event(), 0
            self._opened = loop.create_future()
            self._owner = loop.create_task(self._own(self._opened), name="assembly")
        assert self._owner is not None
        assert self._opened is not None
        await asyncio.wait([self._owner, self._opened], return_when=asyncio.FIRST_COMPLETED)
        if self._owner.done():
            await self._owner

    async def close(self) -> None:
        """Let every use come to its end, and close the parts; nothing where they are closed.

        Raises the error of a part that died.
        """
        if self._owner is not None and self._owner.get_loop() is asyncio.get_running_loop():
            self._stop.set()
            await self._owner

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[Assembly]:
        """Give the parts, which stay open until the end of the use; raises `ServiceClosed`."""
        if self._is_ending():
            assert self._owner is not None
            await asyncio.wait([self._owner])  # what it ends of is known then
        assembly = self.opened()
        self._uses += 1
        try:
            yield assembly
        finally:
            self._uses -= 1
            self._idle.set()

    def opened(self) -> Assembly:
        """Give the parts as long as they are open; raises `ServiceClosed`."""
        if self._assembly is None or not self._lives_here():
            raise ServiceClosed from self._death()
        return self._assembly

    async def _own(self, opened: asyncio.Future[None]) -> None:
        async with assembled(self._settings(), self._clock) as assembly:
            self._assembly = assembly
            opened.set_result(None)
            try:
                await run_until_one_ends(assembly.work(), self._stop)
            finally:
                self._assembly = None
                while self._uses:
                    self._idle.clear()
                    await self._idle.wait()

    def _lives_here(self) -> bool:
        owner = self._owner
        return (
            owner is not None
            and not owner.done()
            and owner.get_loop() is asyncio.get_running_loop()
        )

    def _is_ending(self) -> bool:
        has_opened = self._opened is not None and self._opened.done()
        return has_opened and self._assembly is None and self._lives_here()

    def _death(self) -> BaseException | None:
        """What the task ended of, where it is over and was not told to end."""
        if self._owner is None or not self._owner.done() or self._owner.cancelled():
            return None
        return self._owner.exception()
