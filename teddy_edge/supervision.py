"""What keeps the daemon honest towards systemd: notifications, the watchdog, named tasks."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine, Mapping
from typing import Any


class Notifier:
    """Tells systemd how the daemon is (sd_notify(3)); does nothing where systemd did not ask."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_us = int(environ.get("WATCHDOG_USEC", "0"))
        self.watchdog_s = watchdog_us / 1_000_000 / 2
        """How often to say that we live: twice as often as systemd asks; 0 for never."""

    def notify(self, *states: str) -> None:
        """Send states such as `READY=1`. Raises OSError where systemd's socket is gone."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto("\n".join(states).encode(), self._address)

    async def keep_alive(self) -> None:
        """Feed the watchdog for as long as the event loop turns."""
        while self.watchdog_s > 0:
            self.notify("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s)
        await asyncio.Event().wait()


async def run_until_one_ends(
    tasks: Mapping[str, Coroutine[Any, Any, None]], stop: asyncio.Event
) -> None:
    """Run named tasks until `stop` is set or one of them ends; then cancel them all.

    None of the tasks may end by itself: the first that does raises `TaskEnded`, or its own error.
    """
    running = [asyncio.create_task(work, name=name) for name, work in tasks.items()]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
        ended = [task for task in running if task.done()]
    finally:
        for task in [*running, stopping]:
            task.cancel()
        await asyncio.gather(*running, stopping, return_exceptions=True)
    for task in ended:
        task.result()
        raise TaskEnded(task.get_name())


class TaskEnded(RuntimeError):
    """A task that should run for ever came to its end: a defect of ours."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"the task {name} ended by itself")
