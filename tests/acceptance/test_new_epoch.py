"""A bear whose card was erased or set back: its events are never mixed with those from before."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from uuid import UUID

from teddy_edge.events import decode_record
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.fleet.sqlite_sink import SqliteSink
from tests.acceptance.bear import Bear
from tests.acceptance.cloud import TOPICS, cloud_at
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


async def test_what_a_bear_recorded_on_a_card_that_was_set_back_is_kept_apart_and_not_lost(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with (
        contextlib.closing(SqliteSink(tmp_path / "fleet.db")) as sink,
        Bear(tmp_path, broker.port, **QUICK) as bear,
    ):
        async with receiving(broker, sink):
            epoch = await live(bear, 2)
            image_seq = bear.client.status().body["log"]["last_seq"]
            bear.stop()
            shutil.copytree(tmp_path / "data", tmp_path / "image")
            await live(bear, 5)
            bear.stop()
            known = list(sink.records("bear-001", epoch))

            shutil.rmtree(tmp_path / "data")
            shutil.move(tmp_path / "image", tmp_path / "data")
            broker.stop()
            await asyncio.to_thread(bear.start)
            await asyncio.to_thread(press, bear, 1)
            recorded = {event["id"] for event in bear.events() if event["seq"] > image_seq}
            broker.start()
            await asyncio.to_thread(bear.wait_for_death)  # systemd starts it again
            await live(bear, 1)

            assert list(sink.records("bear-001", epoch))[: len(known)] == known
            apart = sink.apart("bear-001", epoch)
            ids = {decode_record(each.seq, each.data_class, each.body).id for each in apart}
            assert {str(event_id) for event_id in ids} == recorded
