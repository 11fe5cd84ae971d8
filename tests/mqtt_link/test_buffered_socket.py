"""The socket that paho reads from, over a pair of real ones."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from teddy_edge.mqtt_link.buffered_socket import READ_BYTES, BufferedSocket, has_unread


@pytest.fixture
def pair() -> Iterator[tuple[BufferedSocket, socket.socket]]:
    """The socket under test, which does not block, and its other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield BufferedSocket(ours), theirs


def test_bytes_come_in_order_however_few_are_asked_for(
    pair: tuple[BufferedSocket, socket.socket],
) -> None:
    """Across the end of what is read at once, too."""
    ours, theirs = pair
    sent = bytes(number % 251 for number in range(READ_BYTES + 100))
    theirs.sendall(sent)
    received = b""
    while len(received) < len(sent):
        received += ours.recv(1 + len(received) % 7)
    assert received == sent


def test_it_tells_of_bytes_that_no_selector_sees_any_more(
    pair: tuple[BufferedSocket, socket.socket],
) -> None:
    """Only while there are some."""
    ours, theirs = pair
    theirs.sendall(b"ab")
    assert not has_unread(ours)
    ours.recv(1)
    assert has_unread(ours)
    ours.recv(1)
    assert not has_unread(ours)


def test_nothing_to_read_is_not_the_end(pair: tuple[BufferedSocket, socket.socket]) -> None:
    """paho tells them apart: the end is no bytes, and nothing yet is an error."""
    ours, theirs = pair
    with pytest.raises(BlockingIOError):
        ours.recv(1)
    theirs.close()
    assert ours.recv(1) == b""
