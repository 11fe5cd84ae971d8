"""The way of events upstream, over a real broker."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from teddy_edge.errors import LogBehindCloud
from teddy_edge.eventlog import Cursor
from teddy_edge.fleet.broker import Mosquitto
from tests.sync.uplinking import IMPATIENT, SETTINGS, TIMEOUT_S, TOPICS, Bear, Cloud, running


def absent_client(broker: Mosquitto) -> aiomqtt.Client:
    """A client for which the broker keeps what comes while it is away."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600
    return aiomqtt.Client(
        "127.0.0.1",
        broker.port,
        identifier="cloud",
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        properties=properties,
    )


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
    async with running(tmp_path, broker, IMPATIENT) as (bear, cloud):
        await bear.append(2)
        assert (await cloud.has(2))[:2] == [[1, 2], [1, 2]]
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
            await asyncio.wait_for(running, TIMEOUT_S)
    await bear.log.close()
    cursor = Cursor.open(tmp_path / "confirmed.json", bear.log.epoch)
    assert cursor.seq == 20


async def test_what_the_cloud_may_not_have_goes_out_before_its_numbers_are_left_behind(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """After a card was set back, its numbers stand for other events in the cloud."""
    async with running(tmp_path, broker, record=lambda bear: bear.append(10)) as (bear, cloud):
        await cloud.has(2)
        await cloud.confirm(bear.log, 20)
        await cloud.heard("events 10")
        seqs = {record.seq for batch in cloud.batches for record in batch.records}
        assert seqs == set(range(1, 11))


async def test_an_event_goes_out_that_is_recorded_while_its_number_is_left_behind(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card takes a moment to keep how far the cloud is, and what is recorded then counts."""
    is_moving, is_ready = threading.Event(), threading.Event()

    def move(*_: object) -> None:
        is_moving.set()
        is_ready.wait(2 * TIMEOUT_S)

    monkeypatch.setattr(Cursor, "move", move)
    roomy = SETTINGS.model_copy(update={"batches_in_flight_max": 4})
    async with running(tmp_path, broker, roomy, lambda bear: bear.append(1)) as (bear, cloud):
        await cloud.confirm(bear.log, 20)
        try:
            assert await asyncio.to_thread(is_moving.wait, TIMEOUT_S)
            await bear.append(1)
            await cloud.heard("events 2")
        finally:
            is_ready.set()


async def test_events_recorded_without_a_broker_go_up_in_order_when_it_is_back(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(tmp_path, broker) as (bear, cloud):
        await bear.append(1)
        await cloud.has(1)
        await cloud.confirm(bear.log, 1)
        await bear.confirmed(1)
        async with absent_client(broker) as client:
            await client.subscribe(TOPICS.events, qos=1)
        broker.stop()
        await bear.append(4)
        broker.start()  # the bear may be back before the cloud is
        async with absent_client(broker) as client:
            again = Cloud(client)
            listening = asyncio.create_task(again.listen())
            assert await again.has(2) == [[2, 3, 4], [5]]
            listening.cancel()


async def test_what_follows_does_not_wait_until_the_card_has_kept_a_confirmation(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_ready = threading.Event()
    monkeypatch.setattr(Cursor, "move", lambda *_: is_ready.wait(2 * TIMEOUT_S))
    async with running(tmp_path, broker) as (bear, cloud):
        await bear.append(7)
        await cloud.has(2)
        await cloud.confirm(bear.log, 3)
        try:
            assert (await cloud.has(3))[2] == [7]
            assert bear.uplink.confirmed_seq == 0
        finally:
            is_ready.set()
