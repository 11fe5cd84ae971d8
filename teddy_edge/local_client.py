"""Talks to a running daemon over its local socket, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from teddy_edge.errors import DaemonUnreachable, TeddyEdgeError
from teddy_edge.socket_paths import default_sockets

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
"""Longer than the daemon's own limits, so that its answer says what went wrong."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP status and the JSON object that came with it."""

    status: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the daemon did what it was asked."""
        return self.status == HTTPStatus.OK


class RequestRefused(TeddyEdgeError):
    """The daemon answered a stream's request with an error; the reply says which."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__(f"HTTP {reply.status}")


class LocalClient:
    """A daemon's local API. Each call is a connection of its own.

    Every method raises `DaemonUnreachable` where nobody answers, or not to the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def command(self, name: str, body: Mapping[str, Any]) -> Reply:
        """Send a command; `body` as in `POST /commands/{name}`."""
        return self._ask("POST", f"/commands/{quote(name, safe='')}", body)

    def query(self, name: str, body: Mapping[str, Any]) -> Reply:
        """Ask a query; `body` as in `POST /queries/{name}`."""
        return self._ask("POST", f"/queries/{quote(name, safe='')}", body)

    def press(self, button: str) -> Reply:
        """Press a simulated button."""
        return self._ask("POST", f"/buttons/{quote(button, safe='')}/press", {})

    def status(self) -> Reply:
        """Ask how the daemon is."""
        return self._ask("GET", "/status")

    def rebuild(self) -> Reply:
        """Have the read models built anew; `rebuild` in the status says how far it is."""
        return self._ask("POST", "/rebuild", {})

    def events(self, first_seq: int) -> Iterator[dict[str, Any]]:
        """Give every event from `first_seq` on, then live ones, until the daemon stops.

        Raises `RequestRefused`, as where too many listen already.
        """
        with self._connection(timeout_s=None) as connection:
            connection.request("GET", f"/events?from={first_seq}")
            response = connection.getresponse()
            if response.status != HTTPStatus.OK:
                raise RequestRefused(_reply(response))
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    def _ask(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> Reply:
        payload = None if body is None else json.dumps(body).encode()
        with self._connection(ANSWER_TIMEOUT_S) as connection:
            connection.request(method, target, payload)
            return _reply(connection.getresponse())

    @contextmanager
    def _connection(self, timeout_s: float | None) -> Iterator[http.client.HTTPConnection]:
        try:
            with closing(UnixConnection(self.path, timeout_s)) as connection:
                yield connection
        except TimeoutError as error:
            cause = f"no answer within {timeout_s:g} s" if timeout_s else "no answer"
            raise DaemonUnreachable([self.path], cause) from error
        except (OSError, http.client.HTTPException) as error:
            raise DaemonUnreachable([self.path], _in_words(error)) from error


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost")
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Connect to the path instead of the host."""
        self.sock = connected_socket(self._path)
        self.sock.settimeout(self._timeout_s)


def connected_socket(path: Path) -> socket.socket:
    """Connect to the socket at `path`; raises OSError."""
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    caller.settimeout(CONNECT_TIMEOUT_S)
    try:
        caller.connect(str(path))
    except OSError:
        caller.close()
        raise
    return caller


def find_daemon(given: Path | None, environ: Mapping[str, str] = os.environ) -> LocalClient:
    """Find the daemon at the path given, else `TEDDY_EDGE_SOCKET`, else the default places.

    Raises `DaemonUnreachable`, which names all that were tried.
    """
    paths = _candidates(given, environ)
    causes = []
    for path in paths:
        try:
            connected_socket(path).close()
        except OSError as error:
            causes.append(_in_words(error))
        else:
            return LocalClient(path)
    raise DaemonUnreachable(paths, ", ".join(dict.fromkeys(causes)))


def _candidates(given: Path | None, environ: Mapping[str, str]) -> list[Path]:
    if given is not None:
        return [given]
    if environ.get("TEDDY_EDGE_SOCKET"):
        return [Path(environ["TEDDY_EDGE_SOCKET"])]
    return default_sockets()


def _in_words(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return strerror or str(error) or type(error).__name__


def _reply(response: http.client.HTTPResponse) -> Reply:
    text = response.read()
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        message = text.decode("utf-8", "replace").strip() or response.reason
        body = {"error": {"code": f"http_{response.status}", "message": message, "field": None}}
    return Reply(response.status, body)
