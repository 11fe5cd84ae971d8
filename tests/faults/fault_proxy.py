"""A TCP proxy between a client and its broker that fails in the ways a link does.

It knows where MQTT packets begin and end, so that a fault can hit the middle of one, or the moment
before an acknowledgement passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from random import Random
from typing import Self

from teddy_edge.fleet.broker import free_port

PUBACK = 4
LINGER_FOR_NOTHING = struct.pack("ii", 1, 0)
"""What makes a close a reset (RST)."""
ON_ITS_WAY_S = 0.01
"""How long what was sent before a reset has to arrive."""


class LinkFault(enum.StrEnum):
    """What can happen to a link."""

    DROP = "dropped"
    DELAY = "delayed"
    HALF_OPEN = "half-open"
    RESET = "reset in the middle of a packet"
    CUT = "cut before an acknowledgement passes"
    REFUSE = "refused for a while"


@dataclass(eq=False)
class Passage:
    """A client's connection to us, and ours to the broker."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    is_deaf: bool = False
    """Whether all that comes is taken and nothing is passed on, not even an end."""

    def close(self) -> None:
        """End both, as after a goodbye."""
        self.client.close()
        self.broker.close()

    def reset(self) -> None:
        """End both with a reset: nothing more arrives."""
        for writer in (self.client, self.broker):
            if not writer.is_closing():
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_FOR_NOTHING)
            writer.transport.abort()


class FaultProxy:
    """Serves on a port of its own; where a packet is cut is drawn from `random`.

    `bytes_per_s` is what it passes on in each direction; by default all that comes.
    """

    def __init__(self, broker_port: int, random: Random, bytes_per_s: float = math.inf) -> None:
        self.port = free_port()
        self._broker_port = broker_port
        self._random = random
        self._bytes_per_s = bytes_per_s
        self._server: asyncio.Server | None = None
        self._passages: set[Passage] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_passage = asyncio.Event()
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._trap: LinkFault | None = None
        self._sprung = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        """Pass connections on until the block ends; leaves none of them open."""
        await self._listen()
        try:
            yield self
        finally:
            self._stop_listening()
            self._end_all(Passage.reset)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # transports close in the turn after

    async def inflict(self, fault: LinkFault, for_s: float) -> bool:
        """Let a fault happen; tells whether it hit anything.

        `for_s` is how long the link is delayed or refuses, and how long what can be hit is awaited.
        """
        match fault:
            case LinkFault.DROP:
                return await _within(for_s, self._has_passage) and self._end_all(Passage.close)
            case LinkFault.HALF_OPEN:
                return await _within(for_s, self._has_passage) and self._end_all(_fall_deaf)
            case LinkFault.RESET | LinkFault.CUT:
                return await self._set_trap(fault, for_s)
            case LinkFault.DELAY:
                self._is_open.clear()
                await asyncio.sleep(for_s)
                self._is_open.set()
            case LinkFault.REFUSE:
                self._stop_listening()
                self._end_all(Passage.reset)
                await asyncio.sleep(for_s)
                await self._listen()
        return True

    def _end_all(self, end: Callable[[Passage], None]) -> bool:
        """End all that are not deaf; no fault hits a passage that ends."""
        hit = [passage for passage in self._passages if not passage.is_deaf]
        for passage in hit:
            end(passage)
        self._has_passage.clear()
        return bool(hit)

    async def _set_trap(self, fault: LinkFault, for_s: float) -> bool:
        self._trap = fault
        self._sprung.clear()
        is_sprung = await _within(for_s, self._sprung)
        self._trap = None
        return is_sprung

    def _bytes_that_pass(self, packet: bytes) -> int:
        """All of them, unless the packet springs the trap."""
        if self._trap is LinkFault.CUT and packet[0] >> 4 == PUBACK:
            passed_bytes = 0
        elif self._trap is LinkFault.RESET:
            passed_bytes = self._random.randrange(1, len(packet))
        else:
            return len(packet)
        self._trap = None
        self._sprung.set()
        return passed_bytes

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def _stop_listening(self) -> None:
        assert self._server is not None
        self._server.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass_on(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            from_broker, broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            client.transport.abort()
            return
        passage = Passage(client, broker)
        self._passages.add(passage)
        self._has_passage.set()
        try:
            await asyncio.gather(
                self._pump(passage, reader, broker), self._pump(passage, from_broker, client)
            )
        finally:
            passage.close()
            self._passages.discard(passage)

    async def _pump(
        self, passage: Passage, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                packet = await _read_packet(reader)
                await self._is_open.wait()
                if self._bytes_per_s < math.inf:
                    await asyncio.sleep(len(packet) / self._bytes_per_s)
                if passage.is_deaf:
                    continue
                passed_bytes = self._bytes_that_pass(packet)
                writer.write(packet[:passed_bytes])
                await writer.drain()
                if passed_bytes < len(packet):
                    await asyncio.sleep(ON_ITS_WAY_S)
                    passage.reset()
        if not passage.is_deaf:
            writer.close()


def _fall_deaf(passage: Passage) -> None:
    passage.is_deaf = True


async def _within(for_s: float, event: asyncio.Event) -> bool:
    """Wait for an event; tells whether it came in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await event.wait()
    return event.is_set()


async def _read_packet(reader: asyncio.StreamReader) -> bytes:
    """Read one MQTT packet: a byte for its kind, up to four for its length, its body."""
    head = await reader.readexactly(2)
    while head[-1] & 0x80:
        head += await reader.readexactly(1)
    length = sum((digit & 0x7F) << 7 * place for place, digit in enumerate(head[1:]))
    return head + await reader.readexactly(length)
