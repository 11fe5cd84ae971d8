"""Finding a daemon, and what a client gets where none answers to the end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from teddy_edge import local_client
from teddy_edge.errors import DaemonUnreachable
from teddy_edge.local_client import LocalClient, find_daemon


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[LocalClient]:
    """Somebody who says one thing to one caller, and hangs up."""

    def serve(listener: socket.socket) -> None:
        caller, _ = listener.accept()
        with caller:
            caller.recv(65536)
            caller.sendall(answer)

    with listening(path) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield LocalClient(path)
        finally:
            thread.join(10)


def test_the_default_places_are_tried_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / name for name in ("absent", "first", "second")]
    monkeypatch.setattr(local_client, "default_sockets", lambda: places)
    with listening(places[1]), listening(places[2]):
        assert find_daemon(None, {}).path == places[1]


def test_what_is_given_wins_and_nothing_else_is_tried(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with listening(here):
        assert find_daemon(None, {"TEDDY_EDGE_SOCKET": str(here)}).path == here
        with pytest.raises(DaemonUnreachable) as caught:
            find_daemon(there, {"TEDDY_EDGE_SOCKET": str(here)})
    assert caught.value.tried == [there]


def test_all_places_tried_are_named_once_each_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / "a", tmp_path / "b"]
    monkeypatch.setattr(local_client, "default_sockets", lambda: places)
    with pytest.raises(DaemonUnreachable) as caught:
        find_daemon(None, {})
    assert caught.value.tried == places
    assert caught.value.cause == "No such file or directory"


def test_a_path_that_no_socket_can_have_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable):
        find_daemon(tmp_path / ("x" * 200), {})


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"\x00\xff\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_a_daemon_that_cannot_be_reached(
    tmp_path: Path, answer: bytes
) -> None:
    with answering(tmp_path / "s", answer) as client, pytest.raises(DaemonUnreachable):
        client.status()


def test_an_answer_that_is_not_json_becomes_an_error_with_its_text(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nfull"
    with answering(tmp_path / "s", answer) as client:
        reply = client.status()
    assert (reply.status, reply.ok) == (503, False)
    assert reply.body["error"]["message"] == "full"
