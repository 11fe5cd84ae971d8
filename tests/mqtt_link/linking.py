"""Links under test, and how to wait for what they do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from teddy_edge.mqtt_link import MqttLink
from teddy_edge.settings import BrokerSettings

TIMEOUT_S = 60


def settings_for(port: int, **changes: object) -> BrokerSettings:
    """Settings for a broker on this machine, with waits that suit a test."""
    fast = {"host": "127.0.0.1", "port": port, "backoff_s_min": 0.01, "backoff_s_max": 0.1}
    return BrokerSettings().model_copy(update={**fast, **changes})


@contextlib.asynccontextmanager
async def running(link: MqttLink) -> AsyncIterator[asyncio.Task[None]]:
    """Run a link until the block ends; an error of the link is raised here."""
    task = asyncio.create_task(link.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():  # noqa: ASYNC110 (what is watched has no event)
            await asyncio.sleep(0.005)
