"""A bear whose card was erased or set back: its events are never mixed with those from before."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from uuid import UUID

import pytest

from teddy_edge.events import decode_record
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.fleet.sqlite_sink import SqliteSink
from tests.acceptance.bear import EMMA, START_S_MAX, Bear
from tests.acceptance.cloud import PARENT, TOPICS, cloud_at
from tests.fleet.receiving import receiving

QUICK = {"TEDDY_EDGE_BUTTONS__DEBOUNCE_S": "0"}


def press(bear: Bear, count: int) -> int:
    """Press a paw so often; gives the number of the last event."""
    for _ in range(count):
        assert bear.client.press("belly").ok
    return int(bear.client.status().body["log"]["last_seq"])


async def live(bear: Bear, presses: int) -> UUID:
    """Start, record, and wait until the cloud has it all; gives the log's epoch."""
    await asyncio.to_thread(bear.start)
    last_seq = await asyncio.to_thread(press, bear, presses)
    await asyncio.to_thread(bear.wait_until_confirmed, last_seq)
    return UUID(bear.client.status().body["log"]["epoch"])


async def test_after_a_factory_reset_the_bear_counts_anew_in_a_series_of_its_own(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """The confirmation of the old log is retained, and far ahead; it moves nothing."""
    with (
        contextlib.closing(SqliteSink(tmp_path / "fleet.db")) as sink,
        Bear(tmp_path, broker.port, **QUICK) as bear,
    ):
        async with receiving(broker, sink):
            before = await live(bear, 10)
            old = list(sink.records("bear-001", before))
            bear.stop()
            shutil.rmtree(tmp_path / "data")
            after = await live(bear, 1)
            assert after != before
            assert list(sink.records("bear-001", before)) == old
            seqs = [record.seq for record in sink.records("bear-001", after)]
            assert seqs == list(range(1, len(seqs) + 1))
            async with cloud_at(broker.port) as cloud:
                (birth,) = await cloud.json_on(TOPICS.status)
                assert birth["epoch"] == str(after)
    assert "a confirmation of another log" in bear.log_file.read_text()


async def test_after_a_factory_reset_nothing_of_the_former_child_stands_on_the_broker(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with Bear(tmp_path, broker.port, **QUICK) as bear:
        bear.start()
        command = {"actor": PARENT, "data": EMMA}
        child_id = bear.client.command("register_child", command).body["data"]["child_id"]
        topics = {TOPICS.state("child", child_id), TOPICS.state("safety", child_id)}
        async with cloud_at(broker.port) as cloud:
            await cloud.on(
                lambda message: str(message.topic) in topics and bool(message.payload), 2
            )
        bear.stop()
        shutil.rmtree(tmp_path / "data")
        bear.start()
        async with cloud_at(broker.port) as cloud:
            await cloud.on(lambda message: str(message.topic) in topics and not message.payload, 2)


@pytest.mark.parametrize("presses", [0, 1, 12])
async def test_a_card_that_was_set_back_goes_up_anew_in_a_series_of_its_own(
    tmp_path: Path, broker: Mosquitto, presses: int
) -> None:
    """Whether or not it has counted past what the cloud has by the time that it connects."""
    with (
        contextlib.closing(SqliteSink(tmp_path / "fleet.db")) as sink,
        Bear(tmp_path, broker.port, **QUICK) as bear,
    ):
        async with receiving(broker, sink):
            before = await live(bear, 2)
            bear.stop()
            shutil.copytree(tmp_path / "data", tmp_path / "image")
            await live(bear, 5)
            bear.stop()
            known = list(sink.records("bear-001", before))

            shutil.rmtree(tmp_path / "data")
            shutil.move(tmp_path / "image", tmp_path / "data")
            broker.stop()
            await asyncio.to_thread(bear.start)
            await asyncio.to_thread(press, bear, presses)
            broker.start()
            await every_event_is_stored(bear, sink)
            assert list(sink.records("bear-001", before))[: len(known)] == known
            bear.stop()
            await live(bear, 1)
            await every_event_is_stored(bear, sink)


async def test_a_power_cut_that_took_the_end_of_the_log_goes_up_in_a_series_of_its_own(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """The card kept neither the last events nor the last confirmation; the cloud has both."""
    with (
        contextlib.closing(SqliteSink(tmp_path / "fleet.db")) as sink,
        Bear(tmp_path, broker.port, **QUICK) as bear,
    ):
        async with receiving(broker, sink):
            await live(bear, 3)
            bear.kill()
            kept = (tmp_path / "data" / "confirmed.json").read_bytes()
            (segment,) = (tmp_path / "data" / "log").glob("*.log")
            content = segment.read_bytes()
            await live(bear, 3)
            bear.kill()
            segment.write_bytes(content)
            (tmp_path / "data" / "confirmed.json").write_bytes(kept)
            broker.stop()
            await asyncio.to_thread(bear.start)
            await asyncio.to_thread(press, bear, 5)
            broker.start()
            await every_event_is_stored(bear, sink)


async def every_event_is_stored(bear: Bear, sink: SqliteSink) -> None:
    """Wait until the cloud has each event of the log, under the epoch that the bear then says."""
    recorded = {UUID(event["id"]) for event in bear.events()}
    async with asyncio.timeout(START_S_MAX):
        while not recorded <= stored_ids(bear, sink):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def stored_ids(bear: Bear, sink: SqliteSink) -> set[UUID]:
    epoch = UUID(bear.client.status().body["log"]["epoch"])
    stored = sink.records("bear-001", epoch)
    return {decode_record(each.seq, each.data_class, each.body).id for each in stored}
