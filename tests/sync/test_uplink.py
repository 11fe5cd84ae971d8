"""The way of events upstream, over a real broker."""

from __future__ import annotations

import asyncio
import errno
import threading
from pathlib import Path

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from teddy_edge.eventlog import Cursor
from teddy_edge.eventlog import cursor as cursors
from teddy_edge.fleet.broker import Mosquitto
from tests.sync.uplinking import IMPATIENT, TIMEOUT_S, TOPICS, Cloud, running


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


@pytest.mark.parametrize(
    ("seq", "chain"), [(20, None), (20, "00" * 16), (3, "00" * 16), (2, "00" * 16), (9, "00" * 16)]
)
async def test_where_the_cloud_has_other_events_all_goes_up_under_another_epoch(
    tmp_path: Path, broker: Mosquitto, seq: int, chain: str | None
) -> None:
    """More than there are, or others under our numbers; sent, on their way, or not sent yet."""
    async with running(tmp_path, broker, record=lambda bear: bear.append(10)) as (bear, cloud):
        await cloud.has(2)
        await cloud.confirm(bear.log, seq, chain=chain)
        while bear.cursor.epoch == bear.log.epoch:
            await cloud.has(len(cloud.batches) + 1)
        for last_seq in (3, 6, 9, 10):
            while not [b for b in cloud.of(bear.cursor.epoch) if b.last_seq == last_seq]:
                await cloud.has(len(cloud.batches) + 1)
            await cloud.confirm_as(bear.cursor.epoch, last_seq)
        await bear.confirmed(10)
        again = cloud.of(bear.cursor.epoch)
        assert {record.seq for batch in again for record in batch.records} == set(range(1, 11))
    async with running(tmp_path, broker) as (bear, cloud):
        assert (bear.cursor.seq, bear.cursor.epoch == bear.log.epoch) == (10, False)
        await bear.append(1)
        assert (await cloud.has(1))[0] == [11]


async def test_a_cloud_that_always_counts_wrongly_is_sent_one_series_and_no_more(
    tmp_path: Path, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, broker, record=lambda bear: bear.append(2)) as (bear, cloud):
        await cloud.has(1)
        await cloud.confirm(bear.log, 2, chain="00" * 16)
        while not cloud.of(bear.cursor.epoch) or bear.cursor.epoch == bear.log.epoch:
            await cloud.has(len(cloud.batches) + 1)
        series = bear.cursor.epoch
        await cloud.confirm_as(series, 20)
        await cloud.confirm_as(series, 1)
        await bear.confirmed(1)
        assert bear.cursor.epoch == series
    assert "the cloud confirms what was not sent" in caplog.text


async def test_a_confirmation_of_our_own_events_moves_the_cursor_wherever_it_ends(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(tmp_path, broker, record=lambda bear: bear.append(5)) as (bear, cloud):
        await cloud.has(2)
        for seq in (2, 3, 5):
            await cloud.confirm(bear.log, seq, chain=bear.log.chain_at(seq).hex().upper())
            await bear.confirmed(seq)
        assert bear.cursor.epoch == bear.log.epoch


async def test_a_card_that_does_not_keep_the_new_series_costs_another_one(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    async with running(tmp_path, broker, record=lambda bear: bear.append(2)) as (bear, cloud):
        monkeypatch.setattr(cursors, "write_whole", refuse)
        await cloud.confirm(bear.log, 20)
        while not cloud.of(bear.cursor.epoch) or bear.cursor.epoch == bear.log.epoch:
            await cloud.has(len(cloud.batches) + 1)
    assert Cursor.open(tmp_path / "confirmed.json", bear.log.epoch).epoch == bear.log.epoch


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
