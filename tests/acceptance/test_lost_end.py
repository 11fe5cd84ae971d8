"""A bear whose log lost its end: it starts, and what it records from then on reaches the cloud."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.events import ButtonPressed, Cause, encode_event
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.fleet.receiver import Receiver
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.settings import BrokerSettings, LogSettings
from teddy_edge.testing import FakeClock
from tests.acceptance.bear import Bear
from tests.acceptance.cloud import TOPICS, cloud_at


async def test_no_number_that_the_cloud_knows_is_given_again(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with Bear(tmp_path, broker.port, TEDDY_EDGE_BUTTONS__DEBOUNCE_S="0") as bear:
        bear.start()
        for _ in range(5):
            assert bear.client.press("belly").ok
        status = bear.client.status().body["log"]
        async with cloud_at(broker.port) as cloud:
            confirmed = f'{{"epoch": "{status["epoch"]}", "seq": {status["last_seq"]}}}'
            await cloud.publish(TOPICS.confirmed, confirmed, retain=True)
            bear.wait_until_confirmed(status["last_seq"])
            bear.stop()
            (segment,) = (tmp_path / "data" / "log").glob("*.log")
            content = segment.read_bytes()
            segment.write_bytes(content[: len(content) // 2])

            bear.start()
            reply = bear.client.press("belly")
            assert reply.body["seq"] > status["last_seq"]
            await cloud.on(lambda _: reply.body["seq"] in cloud.event_seqs(), 1)
            assert bear.client.query("get_bear_state", {}).body["complete"] is False


async def test_a_log_that_ends_in_a_hole_starts(tmp_path: Path, broker: Mosquitto) -> None:
    directory = tmp_path / "data" / "log"
    settings = LogSettings(segment_bytes_max=1024)
    log = EventLog.open(directory, settings)
    log.start()
    for _ in range(20):
        body = encode_event(ButtonPressed(button="belly"), "bear", Cause(), FakeClock())
        await log.append([Entry(5, body)])
    await log.close()
    *_, last_but_one, last = sorted(directory.glob("*.log"))
    damaged = bytearray(last_but_one.read_bytes())
    damaged[-60] ^= 0xFF
    last_but_one.write_bytes(damaged)
    last.write_bytes(last.read_bytes()[:64])
    with Bear(tmp_path, broker.port, TEDDY_EDGE_LOG__SEGMENT_BYTES_MAX="1024") as bear:
        bear.start()
        assert bear.client.press("belly").ok
        assert bear.stop() == 0


async def test_the_real_receiver_stores_what_comes_behind_a_lost_end(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with contextlib.closing(SqliteSink(tmp_path / "fleet.db")) as sink:
        receiving = asyncio.create_task(Receiver(sink).link(BrokerSettings(port=broker.port)).run())
        with Bear(tmp_path, broker.port, TEDDY_EDGE_BUTTONS__DEBOUNCE_S="0") as bear:
            bear.start()
            for _ in range(5):
                assert (await asyncio.to_thread(bear.client.press, "belly")).ok
            last_seq = bear.client.status().body["log"]["last_seq"]
            await asyncio.to_thread(bear.wait_until_confirmed, last_seq)
            bear.stop()
            (segment,) = (tmp_path / "data" / "log").glob("*.log")
            segment.write_bytes(segment.read_bytes()[: segment.stat().st_size // 2])

            bear.start()
            for _ in range(5):
                assert (await asyncio.to_thread(bear.client.press, "belly")).ok
            last_seq = bear.client.status().body["log"]["last_seq"]
            await asyncio.to_thread(bear.wait_until_confirmed, last_seq)
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
