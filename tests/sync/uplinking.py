"""A bear's log on its way upstream over a real broker, and a cloud that does as it is told."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import aiomqtt

from teddy_edge.eventlog import Cursor, Entry, EventLog
from teddy_edge.events import Cause, SafetyViolationReported, encode_event
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.mqtt_link import MqttLink, Subscription
from teddy_edge.settings import BrokerSettings, LogSettings, SyncSettings
from teddy_edge.sync import Uplink
from teddy_edge.sync.urgent import UrgentLane
from teddy_edge.sync.wire import EventBatch, decode_batch
from teddy_edge.testing import FakeClock
from teddy_edge.topics import Topics

TOPICS = Topics("bear-001")
SETTINGS = SyncSettings(batch_records_max=3, batches_in_flight_max=2, confirm_timeout_s=3600)
"""Nothing goes out twice, however slow the machine is."""
IMPATIENT = SETTINGS.model_copy(update={"confirm_timeout_s": 0.2})
TIMEOUT_S = 30


class Cloud:
    """Takes batches, and confirms when told to."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self.batches: list[EventBatch] = []
        self.urgent: list[dict[str, Any]] = []
        self.order: list[str] = []
        self._arrived = asyncio.Event()

    async def listen(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            if str(message.topic) == TOPICS.urgent:
                self.urgent.append(json.loads(message.payload))
                self.order.append(f"urgent {self.urgent[-1]['seq']}")
            else:
                self.batches.append(decode_batch(message.payload, 1_000_000))
                self.order.append(f"events {self.batches[-1].first_seq}")
            self._arrived.set()

    async def ask_again(self, log: EventLog, from_seq: int, **changes: Any) -> None:
        content = {"epoch": str(log.epoch), "from_seq": from_seq, **changes}
        await self._client.publish(TOPICS.replay, json.dumps(content), qos=1)

    async def heard(self, what: str) -> None:
        """Wait for a message, named as in `order`."""
        async with asyncio.timeout(TIMEOUT_S):
            while what not in self.order:
                self._arrived.clear()
                await self._arrived.wait()

    async def confirm(self, log: EventLog, seq: int, **changes: Any) -> None:
        content = {"epoch": str(log.epoch), "seq": seq, **changes}
        await self._client.publish(TOPICS.confirmed, json.dumps(content), qos=1, retain=True)

    async def confirm_as(self, epoch: UUID, seq: int) -> None:
        """Confirm a series that is not the log's own."""
        content = {"epoch": str(epoch), "seq": seq}
        await self._client.publish(TOPICS.confirmed, json.dumps(content), qos=1, retain=True)

    def of(self, epoch: UUID) -> list[EventBatch]:
        """What came of one series."""
        return [batch for batch in self.batches if batch.epoch == epoch]

    async def has(self, count: int) -> list[list[int]]:
        """Wait for so many batches; gives the sequence numbers of each."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.batches) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return [[record.seq for record in batch.records] for batch in self.batches]


class Bear:
    """A log, and the uplink of it."""

    def __init__(
        self,
        tmp_path: Path,
        broker_port: int,
        settings: SyncSettings = SETTINGS,
        timeout_s: float = 10.0,
    ) -> None:
        self.log = EventLog.open(tmp_path / "log", LogSettings())
        self.log.start()
        self.cursor = Cursor.open(tmp_path / "confirmed.json", self.log.epoch)
        urgent = (self.log, self.cursor, TOPICS)
        self.uplink = Uplink(self.log, self.cursor, TOPICS, settings, FakeClock())
        self.link = MqttLink(
            BrokerSettings(
                port=broker_port, backoff_s_min=0.1, backoff_s_max=0.3, timeout_s=timeout_s
            ),
            "teddy-bear-001",
            subscriptions=[
                Subscription(TOPICS.confirmed, self.uplink.on_confirmed, ordered=True),
                Subscription(TOPICS.replay, self.uplink.on_replay, ordered=True),
            ],
            sessions={"uplink": self.uplink.run, "urgent": UrgentLane(*urgent).run},
        )

    async def append(self, count: int, random_bytes: int = 0) -> None:
        """Record so many at once: the uplink sees all of them or none."""
        bodies = [os.urandom(random_bytes) or b"body" for _ in range(count)]
        await self.log.append([Entry(5, body) for body in bodies])

    async def violate(self, details: str = "") -> None:
        """Record a safety event."""
        event = SafetyViolationReported("child-1", "stranger", "high", details)
        body = encode_event(event, "child/child-1", Cause(), FakeClock())
        await self.log.append([Entry(int(event.data_class), body)])

    async def confirmed(self, seq: int) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while self.uplink.confirmed_seq < seq:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    tmp_path: Path,
    broker: Mosquitto,
    settings: SyncSettings = SETTINGS,
    record: Callable[[Bear], Awaitable[None]] | None = None,
    link_port: int | None = None,
    timeout_s: float = 10.0,
) -> AsyncIterator[tuple[Bear, Cloud]]:
    """A bear at work; `record` lets it record what it will before it connects.

    `link_port`: where it connects, if not to the broker itself.
    """
    bear = Bear(tmp_path, link_port or broker.port, settings, timeout_s)
    if record is not None:
        await record(bear)
    async with aiomqtt.Client(
        "127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        await client.subscribe([(TOPICS.events, 1), (TOPICS.urgent, 1)])
        cloud = Cloud(client)
        tasks = [asyncio.create_task(cloud.listen()), asyncio.create_task(bear.link.run())]
        try:
            yield bear, cloud
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await bear.log.close()
