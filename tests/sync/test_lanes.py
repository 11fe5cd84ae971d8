"""What is urgent passes a backlog, and a backlog is marked as what it is."""

from __future__ import annotations

import json
from pathlib import Path

from teddy_edge.eventlog import Entry
from teddy_edge.events import cloud_event, decode_record
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.sync.signals import UrgentEvent, decode_signal
from tests.sync.uplinking import SETTINGS, TOPICS, Bear, running

SLOW = SETTINGS.model_copy(update={"history_records_per_s": 0.01})
"""Three records a batch: a second batch of history is further away than any test waits."""


async def test_a_backlog_is_marked_and_news_are_not(tmp_path: Path, broker: Mosquitto) -> None:
    async with running(tmp_path, broker, record=lambda bear: bear.append(4)) as (bear, cloud):
        assert await cloud.has(2) == [[1, 2, 3], [4]]
        await bear.append(1)
        await cloud.confirm(bear.log, 4)
        assert (await cloud.has(3))[2] == [5]
        assert [batch.replayed for batch in cloud.batches] == [True, True, False]


async def test_a_backlog_is_not_kept_back_until_more_comes(
    tmp_path: Path, broker: Mosquitto
) -> None:
    patient = SETTINGS.model_copy(update={"batch_wait_s": 3600})
    async with running(tmp_path, broker, patient, lambda bear: bear.append(4)) as (_, cloud):
        assert await cloud.has(2) == [[1, 2, 3], [4]]


async def test_a_safety_event_passes_a_backlog_and_follows_in_order(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(tmp_path, broker, SLOW, lambda bear: bear.append(6)) as (bear, cloud):
        await cloud.heard("events 1")
        await bear.violate("in the garden")
        await cloud.heard("urgent 7")
        assert cloud.order == ["events 1", "urgent 7"]
    async with running(tmp_path, broker) as (bear, cloud):
        await cloud.heard("events 4")
        await cloud.confirm(bear.log, 6)
        await cloud.heard("events 7")
        await cloud.heard("urgent 7")
        (record,) = next(batch for batch in cloud.batches if batch.first_seq == 7).records
        event = decode_record(7, record.data_class, record.body)
        urgent = decode_signal(UrgentEvent, json.dumps(cloud.urgent[0]).encode())
        assert (urgent.id, urgent.epoch) == (event.id, bear.log.epoch)
        epoch = str(bear.log.epoch)
        assert cloud.urgent[0] == {**cloud_event(event, TOPICS.bear), "epoch": epoch}


async def test_a_safety_event_of_a_backlog_passes_it_too(tmp_path: Path, broker: Mosquitto) -> None:
    async def record(bear: Bear) -> None:
        await bear.append(6)
        await bear.violate()
        await bear.append(600)

    async with running(tmp_path, broker, SLOW, record) as (_, cloud):
        await cloud.heard("urgent 7")
        assert cloud.order.count("urgent 7") == 1
        assert "events 4" not in cloud.order


async def test_what_is_confirmed_is_urgent_no_more(tmp_path: Path, broker: Mosquitto) -> None:
    async with running(tmp_path, broker) as (bear, cloud):
        await bear.violate()
        await cloud.heard("urgent 1")
        await cloud.heard("events 1")
        await cloud.confirm(bear.log, 1)
        await bear.confirmed(1)
    async with running(tmp_path, broker) as (bear, cloud):
        await bear.violate()
        await cloud.heard("urgent 2")
        assert [event["seq"] for event in cloud.urgent] == [2]


async def test_only_safety_events_are_urgent(tmp_path: Path, broker: Mosquitto) -> None:
    async with running(tmp_path, broker) as (bear, cloud):
        for data_class in range(2, 7):
            await bear.log.append([Entry(data_class, b"body")])
        await bear.violate()
        await cloud.heard("urgent 6")
        assert [event["seq"] for event in cloud.urgent] == [6]
