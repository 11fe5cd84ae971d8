"""paho's socket, read in large pieces: paho asks it for every packet's bytes in three or more."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike

READ_BYTES: Final = 16 * 1024


class BufferedSocket:
    """A socket that does not block, with what was read from it and not asked for yet."""

    def __init__(self, sock: SocketLike) -> None:
        self.inner = sock
        self.unread = memoryview(b"")

    def recv(self, bytes_max: int) -> bytes:
        """Give what is there, at most so many bytes; raises what the socket raises."""
        if not self.unread:
            self.unread = memoryview(self.inner.recv(READ_BYTES))
        data = bytes(self.unread[:bytes_max])
        self.unread = self.unread[bytes_max:]
        return data

    def send(self, data: bytes | bytearray) -> int:
        """Write what the system takes; gives how many bytes that was."""
        return self.inner.send(data)

    def fileno(self) -> int:
        """Give what a selector needs."""
        return self.inner.fileno()

    def setblocking(self, flag: bool) -> None:
        """See `socket.socket`."""
        self.inner.setblocking(flag)

    def close(self) -> None:
        """Close the socket."""
        self.inner.close()


def has_unread(sock: object) -> bool:
    """Tell whether a socket holds bytes that the system does not know of any more."""
    if isinstance(sock, BufferedSocket):
        return bool(sock.unread) or has_unread(sock.inner)
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
