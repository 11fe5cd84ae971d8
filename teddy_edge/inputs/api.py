"""The local API: HTTP on a Unix socket, for the voice app and the command line.

    POST /commands/{name}       {"data": {...}} and, optional, id, actor, correlation_id, issued_at,
                                expires_at, aud: a `Result`; 200 done, 422 rejected, 410 expired
    POST /queries/{name}        the same: an `Answer`; 200, or 422 with its error
    POST /buttons/{name}/press  {"button", "seq"}; 404 unknown, 409 bounced or no simulated pins
    GET  /events?from=SEQ       server-sent events from SEQ on (default 1), then live; id = seq
    GET  /status                what `teddy-edge status` shows
    POST /rebuild               builds the read models anew, while all goes on: how far it is, as
                                `rebuild` in the status; 409 where one is running
    GET  /health                200 while the daemon answers: what `get_health` gives, and `sync`
    GET  /metrics               the same for Prometheus

Whatever else goes wrong is `{"error": {"code", "message", "field"}}`: 503 where the card does not
keep up, a part of the daemon cannot work or a limit is reached, 408 where a request does not come
to its end. A slow listener holds back its own stream and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from teddy_edge.clock import Clock, new_id, rfc3339
from teddy_edge.errors import (
    CommandRejected,
    EnvelopeRejected,
    LogError,
    LogOverloaded,
    ReadModelError,
    RecordTooLarge,
    TeddyEdgeError,
)
from teddy_edge.inputs.envelopes import read_command, read_query, refusal_of, refused_answer
from teddy_edge.inputs.event_stream import EventStream
from teddy_edge.inputs.exposition import CONTENT_TYPE, exposition
from teddy_edge.inputs.http_server import Server, error_body
from teddy_edge.inputs.ports import BearView, Commands, Pins, Queries
from teddy_edge.inputs.unix_socket import bound_socket
from teddy_edge.messages import Answer, Origin, Result
from teddy_edge.settings import Settings

logger = logging.getLogger("teddy_edge.inputs.api")

LOCAL_ACTOR = {"id": "local", "role": "device"}

STATUS_OF_RESULT = {"done": 200, "rejected": 422, "expired": 410}
STATUS_OF_PRESS = {"unknown_button": 404, "bounced": 409, "not_simulated": 409, "overloaded": 503}
STATUS_OF_ERROR: dict[type[Exception], tuple[int, str]] = {
    LogOverloaded: (503, "overloaded"),
    RecordTooLarge: (500, "record_too_large"),
    LogError: (503, "log_failed"),
    ReadModelError: (503, "read_models_failed"),
    TeddyEdgeError: (500, "failed"),
}
"""The first that fits counts."""


class LocalApi:
    """Serves the local socket while `run` runs."""

    def __init__(
        self,
        settings: Settings,
        commands: Commands,
        queries: Queries,
        view: BearView,
        pins: Pins | None,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._commands = commands
        self._queries = queries
        self._view = view
        self._pins = pins
        self._clock = clock
        self._listeners = 0
        self._stopping = asyncio.Event()
        self.ready = asyncio.Event()
        """Set once the socket answers."""

    async def run(self) -> None:
        """Serve until cancelled, then end within two seconds, open streams included.

        Raises `SettingsError` if the socket cannot be made.
        """
        with bound_socket(self._settings.socket_path) as bound:
            server = Server(self._application(), self._settings.api, self.ready.set)
            serving = asyncio.create_task(server.serve(sockets=[bound]), name="api server")
            try:
                await asyncio.shield(serving)
            finally:
                self._stopping.set()
                server.should_exit = True
                await serving

    def _application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/commands/{name}", self._command, methods=["POST"]),
                Route("/queries/{name}", self._query, methods=["POST"]),
                Route("/buttons/{name}/press", self._press, methods=["POST"]),
                Route("/events", self._events),
                Route("/status", self._status),
                Route("/rebuild", self._rebuild, methods=["POST"]),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
            ],
            exception_handlers={
                HTTPException: _http_error,
                ClientDisconnect: _nobody_listens,
                TeddyEdgeError: _own_error,
                Exception: _defect,
            },
        )

    async def _command(self, request: Request) -> Response:
        result = await self._end_of(await self._body(request), request.path_params["name"])
        return JSONResponse(result.model_dump(mode="json"), STATUS_OF_RESULT[result.status])

    async def _end_of(self, body: bytes, name: str) -> Result:
        try:
            envelope = read_command(
                body, name, self._settings.bear, self._settings.commands, self._defaults(name)
            )
        except EnvelopeRejected as rejection:
            return await self._commands.refuse(refusal_of(rejection, Origin.SOCKET))
        return await self._commands.execute(envelope, Origin.SOCKET)

    async def _query(self, request: Request) -> Response:
        answer = await self._answer(await self._body(request), request.path_params["name"])
        return JSONResponse(answer.model_dump(mode="json"), 422 if answer.error else 200)

    async def _answer(self, body: bytes, name: str) -> Answer:
        try:
            envelope = read_query(
                body, name, self._settings.bear, self._settings.commands, self._defaults(name)
            )
        except EnvelopeRejected as rejection:
            return refused_answer(rejection)
        return await self._queries.ask(envelope, Origin.SOCKET)

    def _defaults(self, name: str) -> dict[str, Any]:
        new: UUID = new_id(self._clock)
        issued_at = rfc3339(self._clock.wall_ns())
        return {"name": name, "id": new, "actor": LOCAL_ACTOR, "issued_at": issued_at}

    async def _body(self, request: Request) -> bytes:
        """Read the body, of which no more is kept than shows that it is too large."""
        kept_bytes_max = self._settings.commands.payload_bytes_max + 1
        body = b""
        async for chunk in request.stream():
            body += chunk[: kept_bytes_max - len(body)]
        return body or b"{}"

    async def _press(self, request: Request) -> Response:
        button = request.path_params["name"]
        try:
            seq = await self._simulated_pins().press(button)
        except CommandRejected as rejection:
            return _error(STATUS_OF_PRESS.get(rejection.code, 422), rejection)
        return JSONResponse({"button": button, "seq": seq})

    def _simulated_pins(self) -> Pins:
        if self._pins is None:
            raise CommandRejected(
                "not_simulated", "the pins are real: only a paw can press them (see run --simulate)"
            )
        return self._pins

    async def _events(self, request: Request) -> Response:
        first = request.query_params.get("from", "1")
        if not (first.isascii() and first.isdigit() and 0 < int(first[:20]) < 2**63):
            return _error(
                422, CommandRejected("invalid", "from should be a sequence number", "from")
            )
        listeners_max = self._settings.api.listeners_max
        if self._listeners >= listeners_max:
            sentence = f"{listeners_max} programs listen to the events already"
            return _error(503, CommandRejected("too_many_listeners", sentence))
        return EventStream(self._view.events(int(first)), self._stopping, self._listening)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1

    async def _status(self, _: Request) -> Response:
        return JSONResponse(self._view.status())

    async def _rebuild(self, _: Request) -> Response:
        if not self._view.begin_rebuild():
            sentence = "a rebuild is running already; teddy-edge status shows how far it is"
            return _error(409, CommandRejected("rebuild_running", sentence))
        return JSONResponse(self._view.status()["rebuild"])

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", **self._view.health()})

    async def _metrics(self, _: Request) -> Response:
        return PlainTextResponse(exposition(self._view.health()), media_type=CONTENT_TYPE)


def _error(status: int, rejection: CommandRejected) -> Response:
    return Response(error_body(rejection), status, media_type="application/json")


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
    return _error(error.status_code, CommandRejected(code, error.detail))


async def _own_error(_: Request, error: Exception) -> Response:
    """Say that the daemon could not; it may pass (503), or come again with this request (500)."""
    status, code = next(found for kind, found in STATUS_OF_ERROR.items() if isinstance(error, kind))
    logger.error("a request failed", extra={"code": code, "kind": type(error).__name__})
    return _error(status, CommandRejected(code, str(error)))


async def _defect(_: Request, error: Exception) -> Response:
    """Say no more than that; the stack trace is logged by who called us."""
    del error
    return _error(500, CommandRejected("defect", "the daemon has a defect; its log says more"))


async def _nobody_listens(_: Request, error: Exception) -> Response:
    del error
    return Response(status_code=499)
