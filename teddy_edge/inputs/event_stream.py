"""Server-sent events to one listener."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class EventStream(Response):
    """Sends events to one listener until it leaves or the daemon stops.

    The next event is fetched only after the last one was taken: the daemon keeps nothing for a
    listener that does not read.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[dict[str, Any]],
        stopping: asyncio.Event,
        listening: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self._events = events
        self._stopping = stopping
        self._listening = listening
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-store"})  # without a body: no content-length

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Serve the response, as ASGI calls it."""
        ends = [
            asyncio.create_task(_disconnected(receive), name="listener left"),
            asyncio.create_task(self._wait_for_stop(), name="daemon stops"),
        ]
        try:
            with self._listening():
                await send(
                    {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                )
                while (event := await self._next(ends)) is not None:
                    await send(_part(_frame(event), more=True))
                await send(_part(b"", more=False))
        finally:
            for end in ends:
                end.cancel()

    async def _wait_for_stop(self) -> None:
        await self._stopping.wait()

    async def _next(self, ends: list[asyncio.Task[None]]) -> dict[str, Any] | None:
        following = asyncio.ensure_future(anext(self._events, None))
        try:
            await asyncio.wait([following, *ends], return_when=asyncio.FIRST_COMPLETED)
            return None if any(end.done() for end in ends) else await following
        finally:
            following.cancel()
            await asyncio.wait([following])


def _frame(event: dict[str, Any]) -> bytes:
    return f"id: {event['seq']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def _part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
