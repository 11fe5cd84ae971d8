"""The other end of the wire, as a maker's cloud or a parents' app would be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from teddy_edge.sync.wire import decode_batch
from teddy_edge.topics import Topics

TOPICS = Topics("bear-001")
PARENT = {"id": "parent-123", "role": "parent"}
WAIT_S_MAX = 60.0


class Cloud:
    """Sends commands and queries, keeps everything that the bear publishes."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self.messages: list[aiomqtt.Message] = []
        self._arrived = asyncio.Event()

    async def listen(self) -> None:
        """Keep what arrives."""
        async for message in self._client.messages:
            self.messages.append(message)
            self._arrived.set()

    async def publish(self, topic: str, payload: bytes | str, **options: Any) -> None:
        """Publish anything, at QoS 1."""
        await self._client.publish(topic, payload, qos=1, **options)

    async def send(
        self, name: str, data: dict[str, Any], command_id: str | None = None, **changes: Any
    ) -> str:
        """Send a command; gives its id."""
        command_id = command_id or str(uuid4())
        envelope = {
            "id": command_id,
            "name": name,
            "actor": PARENT,
            "issued_at": "2020-01-01T10:00:00Z",
            "data": data,
            **changes,
        }
        await self.publish(TOPICS.command(name), json.dumps(envelope))
        return command_id

    async def ask(self, name: str, data: dict[str, Any]) -> dict[str, Any]:
        """Ask a query and give its answer."""
        query_id = str(uuid4())
        envelope = {"id": query_id, "name": name, "actor": PARENT, "data": data}
        await self.publish(TOPICS.query(name), json.dumps(envelope))
        (answer,) = await self.json_on(f"teddy/v1/bear-001/answer/{query_id}")
        return answer

    async def json_on(self, topic: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for so many messages on a topic, and give them."""
        messages = await self.on(lambda message: str(message.topic) == topic, count)
        return [json.loads(payload_of(message)) for message in messages]

    async def results(self, command_id: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for so many results of a command."""
        return await self.json_on(f"teddy/v1/bear-001/result/{command_id}", count)

    async def on(
        self, fits: Callable[[aiomqtt.Message], bool], count: int
    ) -> list[aiomqtt.Message]:
        """Wait for so many messages that fit."""
        async with asyncio.timeout(WAIT_S_MAX):
            while len(found := [each for each in self.messages if fits(each)]) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return found

    def event_seqs(self) -> list[int]:
        """The sequence numbers of all records that came, in the order of their coming."""
        batches = [
            decode_batch(payload_of(message), 10_000_000)
            for message in self.messages
            if str(message.topic) == TOPICS.events
        ]
        return [record.seq for batch in batches for record in batch.records]


def payload_of(message: aiomqtt.Message) -> bytes:
    """The payload, which is never anything but bytes."""
    assert isinstance(message.payload, bytes)
    return message.payload


def reply_to(topic: str, correlation_data: bytes) -> Properties:
    """Ask for the reply on a topic of our own."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ResponseTopic = topic
    properties.CorrelationData = correlation_data
    return properties


@asynccontextmanager
async def cloud_at(port: int, name: str | None = None) -> AsyncIterator[Cloud]:
    """Connect to a broker and listen to everything on it.

    For one with a name the broker keeps what comes while it is away.
    """
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0 if name is None else 3600
    async with aiomqtt.Client(
        "127.0.0.1",
        port,
        identifier=name,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=name is None,
        properties=properties,
    ) as client:
        await client.subscribe("#", qos=1)
        cloud = Cloud(client)
        listening = asyncio.create_task(cloud.listen())
        try:
            yield cloud
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
