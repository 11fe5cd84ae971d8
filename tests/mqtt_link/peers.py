"""The other ends of a link: a broker that misbehaves as told, and a wire that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Self

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ = 1, 2, 3, 4, 8, 9, 12
NOT_AUTHORISED = 0x87


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    """Frame an MQTT packet."""
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([kind << 4 | flags]) + bytes(digits) + body


def publish_packet(topic: bytes, payload: bytes, packet_id: int) -> bytes:
    """Make a QoS 1 PUBLISH without properties."""
    head = len(topic).to_bytes(2, "big") + topic + packet_id.to_bytes(2, "big") + b"\0"
    return packet(PUBLISH, head + payload, flags=0b0010)


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read a packet's kind and body."""
    kind = (await reader.readexactly(1))[0] >> 4
    length = shift = 0
    while True:
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            return kind, await reader.readexactly(length)


class Peer:
    """Serves connections on a port of its own, and leaves none of them open."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.sleep(0)  # transports close in the turn after

    def cut(self) -> None:
        """Drop every connection without a goodbye."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        task = asyncio.create_task(self._serve_to_the_end(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_to_the_end(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class RawBroker(Peer):
    """Speaks as much MQTT 5 as a test needs, and as wrongly.

    `kicks`: end every connection right after its CONNACK. `sends`: what follows the SUBACK.
    `receive_maximum`: how many publishes it takes without an answer. `keepalive_s`: what it sets in
    place of the client's.
    """

    def __init__(
        self,
        *,
        connack_code: int = 0,
        suback_code: int = 1,
        kicks: bool = False,
        answers_publish: bool = True,
        sends: Sequence[bytes] = (),
        receive_maximum: int = 65535,
        keepalive_s: int | None = None,
    ) -> None:
        super().__init__()
        self.published = 0
        self.pings = 0
        self.acknowledged: list[int] = []
        self._connack_code = connack_code
        self._suback_code = suback_code
        self._kicks = kicks
        self._answers_publish = answers_publish
        self._sends = sends
        properties = bytes([0x21]) + receive_maximum.to_bytes(2, "big")
        if keepalive_s is not None:
            properties += bytes([0x13]) + keepalive_s.to_bytes(2, "big")
        self._properties = bytes([len(properties)]) + properties

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, body = await read_packet(reader)
            writer.write(self._answer(kind, body))
            if kind == CONNECT and self._kicks:
                return
            if kind == SUBSCRIBE:
                writer.write(b"".join(self._sends))

    def _answer(self, kind: int, body: bytes) -> bytes:
        if kind == CONNECT:
            return packet(CONNACK, bytes([0, self._connack_code]) + self._properties)
        if kind == SUBSCRIBE:
            return packet(SUBACK, body[:2] + bytes([0, self._suback_code]))
        self.published += kind == PUBLISH
        self.pings += kind == PINGREQ
        if kind == PUBLISH and self._answers_publish:
            topic_bytes = int.from_bytes(body[:2], "big")
            return packet(PUBACK, body[2 + topic_bytes : 4 + topic_bytes])
        if kind == PUBACK:
            self.acknowledged.append(int.from_bytes(body[:2], "big"))
        return packet(PINGREQ + 1, b"") if kind == PINGREQ else b""


class Wire(Peer):
    """A TCP proxy in front of a broker: it can be cut, or fall silent with both ends open."""

    def __init__(self, broker_port: int) -> None:
        super().__init__()
        self._broker_port = broker_port
        self._passes = asyncio.Event()
        self._passes.set()

    def fall_silent(self) -> None:
        """Pass nothing on any more."""
        self._passes.clear()

    def speak_again(self) -> None:
        """Pass everything on again."""
        self._passes.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        self._writers.append(broker_writer)
        await asyncio.gather(self._pump(reader, broker_writer), self._pump(broker_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
