"""The cloud asks for events again, and gets them in order, marked as no news."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from teddy_edge.fleet.broker import Mosquitto
from tests.mqtt_link.linking import until
from tests.sync.uplinking import IMPATIENT, SETTINGS, TOPICS, Bear, Cloud, running


async def confirm_all(bear: Bear, cloud: Cloud, count: int) -> None:
    """Let some events be recorded and confirmed."""
    await bear.append(count)
    for seq in range(3, count + 3, 3):
        await cloud.heard(f"events {seq - 2}")
        await cloud.confirm(bear.log, min(seq, count))
    await bear.confirmed(count)
    cloud.batches.clear()
    cloud.order.clear()


async def test_what_is_confirmed_is_sent_again_from_where_the_cloud_asks(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(tmp_path, broker) as (bear, cloud):
        await confirm_all(bear, cloud, 9)
        await cloud.ask_again(bear.log, 2)
        await cloud.has(1)
        await cloud.confirm(bear.log, 9)  # it has them all, and gets them all the same
        assert await cloud.has(3) == [[2, 3, 4], [5, 6, 7], [8, 9]]
        assert all(batch.replayed for batch in cloud.batches)
        await bear.append(1)
        assert (await cloud.has(4))[3] == [10]
        assert not cloud.batches[3].replayed
        assert bear.uplink.counts.replays == 1
        assert bear.uplink.confirmed_seq == 9


async def test_a_cloud_that_lost_its_store_is_not_flooded(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """What it has not confirmed again is on its way within the window, as ever."""
    async with running(tmp_path, broker) as (bear, cloud):
        await confirm_all(bear, cloud, 9)
        await cloud.ask_again(bear.log, 1)
        assert await cloud.has(2) == [[1, 2, 3], [4, 5, 6]]
        await asyncio.sleep(0.2)
        assert len(cloud.batches) == 2
        bear.uplink._settings = IMPATIENT  # from its next wait on
        await cloud.confirm(bear.log, 3)
        assert (await cloud.has(3))[2] == [7, 8, 9]
        assert (await cloud.has(5))[3:5] == [[4, 5, 6], [7, 8, 9]], "not confirmed: once more"
        assert bear.uplink.confirmed_seq == 9


async def test_a_replay_leaves_out_nothing_that_is_not_confirmed(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(tmp_path, broker) as (bear, cloud):
        await bear.append(5)
        await cloud.has(2)
        await cloud.ask_again(bear.log, 5)
        assert (await cloud.has(4))[2:] == [[1, 2, 3], [4, 5]]


@pytest.mark.parametrize(
    "changes",
    [
        {"from_seq": 0},
        {"from_seq": -1},
        {"from_seq": 4},
        {"from_seq": 10**30},
        {"from_seq": "1"},
        {"from_seq": 1.5},
        {"from_seq": None},
        {"epoch": "EMMASECRET"},
        {"epoch": "00000000-0000-0000-0000-000000000007"},
        {"epoch": None},
    ],
    ids=str,
)
async def test_a_request_that_makes_no_sense_is_refused_counted_and_logged(
    tmp_path: Path,
    broker: Mosquitto,
    changes: Mapping[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(tmp_path, broker) as (bear, cloud):
        await confirm_all(bear, cloud, 3)
        await cloud.ask_again(bear.log, **{"from_seq": 1, **changes})
        await until(lambda: bear.uplink.counts.replays_refused == 1)
        await bear.append(1)
        assert await cloud.has(1) == [[4]]
        assert bear.uplink.counts.replays == 0
    assert "a replay is refused" in caplog.text
    assert "EMMASECRET" not in caplog.text


async def test_a_retained_request_is_refused(tmp_path: Path, broker: Mosquitto) -> None:
    """It would send everything again at each connect."""
    async with running(tmp_path, broker) as (bear, cloud):
        await confirm_all(bear, cloud, 3)
        request = json.dumps({"epoch": str(bear.log.epoch), "from_seq": 1})
        await cloud._client.publish(TOPICS.replay, request, qos=1, retain=True)
        await until(lambda: bear.uplink.counts.replays_refused == 1)
        await bear.append(1)
        assert await cloud.has(1) == [[4]]
        assert bear.uplink.counts.replays == 0


async def test_requests_that_come_too_often_are_refused(tmp_path: Path, broker: Mosquitto) -> None:
    settings = SETTINGS.model_copy(update={"replays_per_minute": 2})
    async with running(tmp_path, broker, settings) as (bear, cloud):
        await confirm_all(bear, cloud, 3)
        for _ in range(5):
            await cloud.ask_again(bear.log, 1)
        counts = bear.uplink.counts
        await until(lambda: counts.replays + counts.replays_refused == 5)
        assert (counts.replays, counts.replays_refused) == (2, 3)
        await bear.append(1)
        await cloud.heard("events 4")


async def test_a_replay_goes_on_when_what_was_on_its_way_is_confirmed(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(tmp_path, broker) as (bear, cloud):
        await confirm_all(bear, cloud, 9)
        await bear.append(1)
        await cloud.heard("events 10")
        cloud.batches.clear()
        await cloud.ask_again(bear.log, 1)
        await cloud.confirm(bear.log, 10)
        assert await cloud.has(3) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
        await bear.append(1)
        assert (await cloud.has(4))[3] == [11]
