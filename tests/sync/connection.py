"""A connection that keeps what is published, and refuses or delays it when told to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from teddy_edge.errors import LinkRefused, PacketTooLarge


@dataclass(frozen=True, slots=True)
class Published:
    """One message."""

    topic: str
    payload: bytes
    retain: bool
    correlation_data: bytes | None


class RecordingConnection:
    """A `Connection` without a broker."""

    def __init__(self) -> None:
        self.session_present = False
        self.published: list[Published] = []
        self.refused_topics: set[str] = set()
        self.payload_bytes_max = 2**28
        self._arrived = asyncio.Event()

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        correlation_data: bytes | None = None,
        content_type: str | None = None,
    ) -> None:
        await asyncio.sleep(0)
        if topic in self.refused_topics:
            raise LinkRefused("publish to", topic, "Not authorized")
        if len(payload) > self.payload_bytes_max:
            raise PacketTooLarge(topic, len(payload), self.payload_bytes_max)
        self.published.append(Published(topic, payload, retain, correlation_data))
        self._arrived.set()

    async def has(self, count: int) -> list[Published]:
        """Wait for so many messages."""
        async with asyncio.timeout(30):
            while len(self.published) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.published
