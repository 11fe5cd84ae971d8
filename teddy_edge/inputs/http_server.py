"""uvicorn as the local socket needs it: bounded, and ended by the daemon alone.

A connection whose request is not whole after `request_timeout_s` is answered with 408 and closed,
also where it never said anything. Of `connections_max` and as many again, those that are too many
are answered with 503; who comes then is cut off. Each of these answers is the JSON error of the
local API.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from teddy_edge.errors import CommandRejected
from teddy_edge.settings import ApiSettings

SHUTDOWN_TIMEOUT_S = 1


def error_body(rejection: CommandRejected) -> bytes:
    """Write an error as the local API promises it."""
    error = {"code": rejection.code, "message": rejection.message, "field": rejection.field}
    return json.dumps({"error": error}, ensure_ascii=False).encode()


class Connection(H11Protocol):
    """One connection, for which its peer has a limited time to say what it wants."""

    config: Config
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request; cut off who comes when even the answers are too many."""
        super().connection_made(transport)
        if len(self.connections) > 2 * self.config.limits.connections_max:
            transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_watching()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close it, at once where the request is not whole: nobody is owed an answer."""
        if self._is_awaited:
            self.transport.abort()
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", msg)

    @property
    def _is_awaited(self) -> bool:
        """Whether the peer has still to send something of a request."""
        return self.cycle is None or self.cycle.more_body or self.cycle.response_complete

    def _watch(self) -> None:
        if not self._is_awaited:
            self._stop_watching()
        elif self._deadline is None:
            timeout_s = self.config.limits.request_timeout_s
            self._deadline = self.loop.call_later(timeout_s, self._give_up)

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        sentence = f"no whole request came within {self.config.limits.request_timeout_s:g} s"
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", sentence)

    def _refuse(self, status: HTTPStatus, code: str, sentence: str) -> None:
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = error_body(CommandRejected(code, sentence))
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


class Config(uvicorn.Config):
    """What uvicorn is told."""

    def __init__(self, application: ASGIApp, limits: ApiSettings) -> None:
        self.limits = limits
        super().__init__(
            application,
            http=Connection,
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=limits.connections_max,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S + 1,
        )


class Server(uvicorn.Server):
    """uvicorn that leaves the signals to the daemon, says when it serves, and ends for good."""

    def __init__(
        self, application: ASGIApp, limits: ApiSettings, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(Config(self._bounded, limits))
        self._application = application
        self._limits = limits
        self._on_ready = on_ready

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, unless there are too many; end in silence where it is cut off."""
        application = self._application
        if len(self.server_state.connections) > self._limits.connections_max:
            sentence = f"{self._limits.connections_max} connections are open already"
            body = error_body(CommandRejected("too_many_connections", sentence))
            application = Response(body, 503, media_type="application/json")
        try:
            await application(scope, receive, send)
        except asyncio.CancelledError:
            if not self.should_exit:
                raise

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Start to serve."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Stop to serve; whoever is not done within a second is cut off."""
        cutting = asyncio.create_task(self._cut_off_later(), name="api cut off")
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()

    async def _cut_off_later(self) -> None:
        await asyncio.sleep(SHUTDOWN_TIMEOUT_S)
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)  # so that uvicorn knows that nobody waits for these any more
        for request in list(self.server_state.tasks):
            request.cancel()
