"""As much of MQTT 5 as a measurement needs, so cheap that it is not what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Self, cast

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ = 1, 2, 3, 4, 8, 9, 12
QOS_1 = 0b0010
WINDOW = 200
"""Publishes without an answer; less than the broker takes."""

Heard = Callable[[str, bytes, int], None]
"""Takes a message's topic, its payload, and the bytes of its packet."""


class WireClient(asyncio.Protocol):
    """One connection; every message is acknowledged at once."""

    def __init__(self, heard: Heard) -> None:
        self._transport: asyncio.Transport
        self._heard = heard
        self._buffer = bytearray()
        self._answers = bytearray()
        self._packet_id = 0
        self._unacknowledged = 0
        self._greeted = asyncio.Event()
        self._acknowledged = asyncio.Event()

    @classmethod
    async def connect(
        cls, port: int, client_id: str, heard: Heard, topic_filters: Sequence[str]
    ) -> Self:
        """Connect to a broker on this machine and subscribe."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: cls(heard), "127.0.0.1", port)
        client._send(CONNECT, b"\0\4MQTT\5\2\0\0\0" + _text(client_id))
        filters = b"".join(_text(each) + b"\1" for each in topic_filters)
        client._send(SUBSCRIBE, b"\xff\xff\0" + filters, QOS_1)
        await client._greeted.wait()
        return client

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Publish all, as fast as the broker acknowledges them."""
        for topic, payload in messages:
            while self._unacknowledged >= WINDOW:
                self._acknowledged.clear()
                await self._acknowledged.wait()
            self.send(topic, payload)

    def send(self, topic: str, payload: bytes) -> None:
        """Publish one message, whatever is on its way."""
        self._packet_id = self._packet_id % 60_000 + 1
        self._unacknowledged += 1
        self._send(PUBLISH, publish_body(topic, payload, self._packet_id), QOS_1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take whole packets out of what came."""
        self._buffer += data
        while (packet := self._next_packet()) is not None:
            self._take(packet)
        if self._answers:
            self._transport.write(bytes(self._answers))
            self._answers.clear()

    def _send(self, kind: int, body: bytes, flags: int = 0) -> None:
        self._transport.write(packet_of(kind, body, flags))

    def _next_packet(self) -> bytes | None:
        length, place = 0, 1
        while place < len(self._buffer):
            digit = self._buffer[place]
            length |= (digit & 0x7F) << 7 * (place - 1)
            place += 1
            if not digit & 0x80:
                break
        else:
            return None
        if len(self._buffer) < place + length:
            return None
        packet = bytes(self._buffer[: place + length])
        del self._buffer[: place + length]
        return packet

    def _take(self, packet: bytes) -> None:
        match packet[0] >> 4:
            case kind if kind == PUBLISH:
                self._take_message(packet)
            case kind if kind == PUBACK:
                self._unacknowledged -= 1
                self._acknowledged.set()
            case kind if kind == SUBACK:
                self._greeted.set()

    def _take_message(self, packet: bytes) -> None:
        begin = next(at for at in range(1, 5) if not packet[at] & 0x80) + 1
        topic_end = begin + 2 + int.from_bytes(packet[begin : begin + 2], "big")
        packet_id = packet[topic_end : topic_end + 2]
        properties_end = topic_end + 3 + packet[topic_end + 2]  # under 128 bytes here
        self._answers += bytes([PUBACK << 4, 2]) + packet_id
        topic = packet[begin + 2 : topic_end].decode()
        self._heard(topic, packet[properties_end:], len(packet))


def packet_of(kind: int, body: bytes, flags: int = 0) -> bytes:
    """Frame a packet."""
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([kind << 4 | flags]) + bytes(digits) + body


def publish_body(topic: str, payload: bytes, packet_id: int = 1) -> bytes:
    """Make the body of a PUBLISH without properties."""
    return _text(topic) + packet_id.to_bytes(2, "big") + b"\0" + payload


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded
