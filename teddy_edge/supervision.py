"""What keeps the daemon honest towards systemd: notifications, the watchdog, named tasks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

EXTEND_S = 10


class Notifier:
    """Tells systemd how the daemon is (sd_notify(3)); does nothing where systemd did not ask."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_us = int(environ.get("WATCHDOG_USEC", "0"))
        self.watchdog_s = watchdog_us / 1_000_000 / 2
        """How often to say that we live: twice as often as systemd asks; 0 for never."""
        self._extending: asyncio.Task[None] | None = None

    def notify(self, *states: str) -> None:
        """Send states such as `READY=1`. Raises OSError where systemd's socket is gone."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto("\n".join(states).encode(), self._address)

    @contextlib.asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        """Ask for more time, again and again, until `say_ready`: a long log takes a while."""
        self._extending = asyncio.create_task(self._extend(), name="start takes longer")
        try:
            yield
        finally:
            self._extending.cancel()

    def say_ready(self) -> None:
        """Say that the daemon does its work."""
        if self._extending is not None:
            self._extending.cancel()
        self.notify("READY=1")

    async def _extend(self) -> None:
        while True:
            self.notify(f"EXTEND_TIMEOUT_USEC={2 * EXTEND_S * 1_000_000}")
            await asyncio.sleep(EXTEND_S)

    async def keep_alive(self) -> None:
        """Feed the watchdog for as long as the event loop turns."""
        while self.watchdog_s > 0:
            self.notify("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s)
        await asyncio.Event().wait()


async def run_until_one_ends(
    tasks: Mapping[str, Coroutine[Any, Any, None]],
    stop: asyncio.Event,
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Run named tasks until `stop` is set or one of them ends; then cancel them all.

    None of the tasks may end by itself: the first that does raises `TaskEnded`, or its own error.
    `stopping` is called before they are cancelled; what fails then is raised too.
    """
    running = [asyncio.create_task(work, name=name) for name, work in tasks.items()]
    stop_asked = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait([*running, stop_asked], return_when=asyncio.FIRST_COMPLETED)
        ended = [task for task in running if task.done()]
        stopping()
    finally:
        for task in [*running, stop_asked]:
            task.cancel()
        await asyncio.gather(*running, stop_asked, return_exceptions=True)
    for task in [*ended, *running]:
        if not task.cancelled():
            task.result()
    for task in ended:
        raise TaskEnded(task.get_name())


class TaskEnded(RuntimeError):
    """A task that should run for ever came to its end: a defect of ours."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"the task {name} ended by itself")
