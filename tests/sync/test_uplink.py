"""The way of events upstream, over a real broker."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from teddy_edge.errors import LogBehindCloud
from teddy_edge.eventlog import Cursor, Entry, EventLog
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.mqtt_link import MqttLink, Subscription
from teddy_edge.settings import BrokerSettings, LogSettings, SyncSettings
from teddy_edge.sync import Uplink
from teddy_edge.sync.wire import EventBatch, decode_batch
from teddy_edge.topics import Topics

TOPICS = Topics("bear-001")
SETTINGS = SyncSettings(batch_records_max=3, batches_in_flight_max=2, confirm_timeout_s=1)


class Cloud:
    """Takes batches, and confirms when told to."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self.batches: list[EventBatch] = []
        self._arrived = asyncio.Event()

    async def listen(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            self.batches.append(decode_batch(message.payload, 1_000_000))
            self._arrived.set()

    async def confirm(self, log: EventLog, seq: int, **changes: Any) -> None:
        content = {"epoch": str(log.epoch), "seq": seq, **changes}
        await self._client.publish(TOPICS.confirmed, json.dumps(content), qos=1, retain=True)

    async def has(self, count: int) -> list[list[int]]:
        """Wait for so many batches; gives the sequence numbers of each."""
        async with asyncio.timeout(10):
            while len(self.batches) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return [[record.seq for record in batch.records] for batch in self.batches]


class Bear:
    """A log, and the uplink of it."""

    def __init__(self, tmp_path: Path, broker: Mosquitto) -> None:
        self.log = EventLog.open(tmp_path / "log", LogSettings())
        self.log.start()
        self.cursor = Cursor.open(tmp_path / "confirmed.json", self.log.epoch)
        self.uplink = Uplink(self.log, self.cursor, TOPICS, SETTINGS)
        self.link = MqttLink(
            BrokerSettings(port=broker.port, backoff_s_min=0.1, backoff_s_max=0.3),
            "teddy-bear-001",
            subscriptions=[Subscription(TOPICS.confirmed, self.uplink.on_confirmed, ordered=True)],
            sessions={"uplink": self.uplink.run},
        )

    async def append(self, count: int, random_bytes: int = 0) -> None:
        bodies = [os.urandom(random_bytes) or b"body" for _ in range(count)]
        await asyncio.gather(*[self.log.append([Entry(5, body)]) for body in bodies])

    async def confirmed(self, seq: int) -> None:
        async with asyncio.timeout(10):
            while self.uplink.confirmed_seq < seq:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(tmp_path: Path, broker: Mosquitto) -> AsyncIterator[tuple[Bear, Cloud]]:
    bear = Bear(tmp_path, broker)
    async with aiomqtt.Client(
        "127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        await client.subscribe(TOPICS.events, qos=1)
        cloud = Cloud(client)
        tasks = [asyncio.create_task(cloud.listen()), asyncio.create_task(bear.link.run())]
        try:
            yield bear, cloud
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await bear.log.close()


async def test_events_go_up_in_order_and_only_a_window_ahead_of_the_confirmed(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(tmp_path, broker) as (bear, cloud):
        await bear.append(10)
        assert await cloud.has(2) == [[1, 2, 3], [4, 5, 6]]
        await asyncio.sleep(0.3)
        assert len(cloud.batches) == 2
        await cloud.confirm(bear.log, 3)
        assert (await cloud.has(3))[2] == [7, 8, 9]
        await cloud.confirm(bear.log, 9)
        assert (await cloud.has(4))[3] == [10]
        for batch in cloud.batches:
            batch.verify()


async def test_what_is_not_confirmed_goes_out_again(tmp_path: Path, broker: Mosquitto) -> None:
    async with running(tmp_path, broker) as (bear, cloud):
        await bear.append(2)
        assert await cloud.has(2) == [[1, 2], [1, 2]]
        assert bear.uplink.confirmed_seq == 0


async def test_the_confirmed_stays_confirmed_after_a_restart(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(tmp_path, broker) as (bear, cloud):
        await bear.append(2)
        await cloud.has(1)
        await cloud.confirm(bear.log, 2)
        await bear.confirmed(2)
    async with running(tmp_path, broker) as (bear, cloud):
        assert bear.uplink.confirmed_seq == 2
        await bear.append(1)
        assert (await cloud.has(1))[0] == [3]


@pytest.mark.parametrize(
    "confirmation",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"epoch": "x", "seq": 1}',
        b'{"epoch": "00000000-0000-0000-0000-000000000007", "seq": 1}',
        b'{"epoch": "LOG", "seq": -1}',
        b'{"epoch": "LOG", "seq": 9000000000000000}',
    ],
)
async def test_what_is_no_confirmation_of_this_log_moves_nothing(
    tmp_path: Path, broker: Mosquitto, confirmation: bytes
) -> None:
    async with running(tmp_path, broker) as (bear, cloud):
        await bear.append(1)
        await cloud.has(1)
        payload = confirmation.replace(b"LOG", str(bear.log.epoch).encode())
        await cloud._client.publish(TOPICS.confirmed, payload, qos=1)
        await asyncio.sleep(0.2)
        assert bear.uplink.confirmed_seq == 0
        await cloud.confirm(bear.log, 1)
        await bear.confirmed(1)


async def test_a_cloud_that_has_more_than_the_log_stops_the_daemon_and_its_numbers_are_kept(
    tmp_path: Path, broker: Mosquitto
) -> None:
    bear = Bear(tmp_path, broker)
    running = asyncio.create_task(bear.link.run())
    await bear.append(1)
    async with aiomqtt.Client(
        "127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        await Cloud(client).confirm(bear.log, 20)
        with pytest.raises(LogBehindCloud):
            await asyncio.wait_for(running, 10)
    await bear.log.close()
    cursor = Cursor.open(tmp_path / "confirmed.json", bear.log.epoch)
    assert cursor.seq == 20


async def test_events_recorded_without_a_broker_go_up_in_order_when_it_is_back(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(tmp_path, broker) as (bear, cloud):
        await bear.append(1)
        await cloud.has(1)
        await cloud.confirm(bear.log, 1)
        await bear.confirmed(1)
        broker.stop()
        await bear.append(4)
        broker.start()
        async with aiomqtt.Client(
            "127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5
        ) as client:
            await client.subscribe(TOPICS.events, qos=1)
            again = Cloud(client)
            listening = asyncio.create_task(again.listen())
            assert (await again.has(2))[:2] == [[2, 3, 4], [5]]
            listening.cancel()


async def test_a_batch_too_large_for_the_broker_goes_in_parts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is too large as a whole would end every connection, and nothing would go up."""
    with Mosquitto(tmp_path / "small", lines=["max_packet_size 2000"]) as small:
        async with running(tmp_path, small) as (bear, cloud):
            await bear.append(3, random_bytes=700)
            assert await cloud.has(2) == [[1], [2, 3]]
    assert "over its limit" not in caplog.text, "no connection ended"
