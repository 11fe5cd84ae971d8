"""A bear that starts in the past and learns the time: what it recorded before is dated upstream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from uuid import UUID

from teddy_edge.clock import NS_PER_S, Trust
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.fleet.receiver import Receiver
from teddy_edge.fleet.restamping import dated
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.settings import BrokerSettings
from tests.acceptance.bear import Bear

YEAR_NS = 365 * 24 * 3600 * NS_PER_S


async def test_what_was_recorded_before_the_time_was_known_is_dated_at_the_receiver(
    tmp_path: Path, broker: Mosquitto
) -> None:
    synced, begun_ns = tmp_path / "synced", time.time_ns()
    program = ("-m", "tests.acceptance.learns_the_time", str(synced))
    with contextlib.closing(SqliteSink(tmp_path / "fleet.db")) as sink:
        link = Receiver(sink).link(BrokerSettings(port=broker.port))
        receiving = asyncio.create_task(link.run())
        with Bear(tmp_path, broker.port, TEDDY_EDGE_CLOCK__POLL_S="0.02") as bear:
            await asyncio.to_thread(bear.start, program)
            assert (await asyncio.to_thread(bear.client.press, "belly")).ok
            assert bear.client.status().body["clock_trust"] == "unsynced"
            synced.touch()
            await asyncio.to_thread(wait_for_the_time, bear)
            synced.unlink()  # the time server goes away again
            assert bear.client.status().body["clock_trust"] == "synced"
            assert (await asyncio.to_thread(bear.client.press, "left_paw")).ok
            log = bear.client.status().body["log"]
            await asyncio.to_thread(bear.wait_until_confirmed, log["last_seq"])
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        found = list(dated(lambda: sink.records("bear-001", UUID(log["epoch"]))))
    early = next(each for each in found if each.record.type == "button_pressed")
    assert early.record.trust is Trust.UNSYNCED
    assert early.record.wall_ns < begun_ns - 49 * YEAR_NS
    assert early.corrected_wall_ns is not None
    late = [each for each in found if each.record.type == "button_pressed"][-1]
    assert (late.record.trust, late.corrected_wall_ns) == (Trust.SYNCED, None)
    assert begun_ns < early.corrected_wall_ns < late.record.wall_ns
    assert [each.record.type for each in found].count("clock_synced") == 1


def wait_for_the_time(bear: Bear) -> None:
    """Wait until the bear has recorded that it knows the time."""
    for event in bear.client.events(1):
        if event["type"] == "clock_synced":
            return
