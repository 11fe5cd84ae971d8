"""A link that ends on large packets, or a broker that refuses them, ends nothing for good."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path
from random import Random

import pytest

from teddy_edge.errors import LinkLost, LinkRefused
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.settings import SyncSettings
from teddy_edge.sync.batch_size import BYTES_MIN, BatchSize
from tests.faults.fault_proxy import FaultProxy
from tests.mqtt_link.linking import until
from tests.sync.uplinking import TOPICS, Bear, Cloud, running

RECORDS = 64
LARGE = SyncSettings(batch_wait_s=0, batches_in_flight_max=64, confirm_timeout_s=3600)
"""All that is recorded here goes in one batch."""


async def record_what_does_not_compress(bear: Bear) -> None:
    for _ in range(RECORDS):
        await bear.append(1, random_bytes=1000)


async def all_confirmed(bear: Bear, cloud: Cloud) -> None:
    """Confirm what comes, as it comes, until that is everything."""
    for count in itertools.count(1):
        await cloud.has(count)
        await cloud.confirm(bear.log, cloud.batches[count - 1].last_seq)
        if cloud.batches[count - 1].last_seq == bear.log.last_seq:
            break
    await bear.confirmed(bear.log.last_seq)


async def test_batches_shrink_until_a_slow_link_takes_them(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """One of 64 KB takes longer than an answer is awaited, on each connection anew."""
    async with (
        FaultProxy(broker.port, Random(1), bytes_per_s=25_000).serving() as slow,
        running(tmp_path, broker, LARGE, record_what_does_not_compress, slow.port, timeout_s=1) as (
            bear,
            cloud,
        ),
    ):
        await all_confirmed(bear, cloud)


async def test_batches_go_in_parts_below_a_limit_that_the_broker_does_not_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """mosquitto answers with a reason code that no PUBACK may have, and stays."""
    with Mosquitto(tmp_path / "limited", lines=["message_size_limit 3000"]) as limited:
        async with running(tmp_path, limited, LARGE, record_what_does_not_compress) as (
            bear,
            cloud,
        ):
            await bear.violate(os.urandom(5000).hex())
            await all_confirmed(bear, cloud)
            (told,) = [batch for batch in cloud.batches if batch.too_large is not None]
            assert told.first_seq == RECORDS + 1
    assert "next try" not in caplog.text, "no connection ended"


def test_the_size_is_halved_by_each_end_and_grows_with_what_is_through() -> None:
    size = BatchSize(64_000)
    for end in (LinkLost("gone"), asyncio.CancelledError()):
        with pytest.raises(type(end)), size.learned_from(40_000):
            raise end
    assert size.bytes_max == 10_000, "half of what was tried, and half of that"
    sizes = []
    for _ in range(6):
        with size.learned_from(10_000):
            pass
        sizes.append(size.bytes_max)
    assert sizes[:4] == [11_250, 12_656, 14_238, 16_017], "quickly, until the limit is near"
    assert sizes[4:] == [16_267, 16_521], "and slowly then"
    for _ in range(200):
        with size.learned_from(10_000):
            pass
    assert size.bytes_max == 64_000, "never more than the settings allow"


def test_the_size_is_never_less_than_the_least() -> None:
    size = BatchSize(64_000)
    for _ in range(20):
        with pytest.raises(LinkLost), size.learned_from(100_000):  # one record, over any size
            raise LinkLost("gone")
    assert size.bytes_max == BYTES_MIN


def test_a_connection_that_ends_on_a_lone_event_says_nothing_of_the_size() -> None:
    size = BatchSize(64_000)
    with pytest.raises(LinkLost), size.learned_from(100):
        raise LinkLost("gone")
    assert size.bytes_max == 64_000


def test_what_a_broker_refuses_says_nothing_of_the_size() -> None:
    size = BatchSize(64_000)
    with pytest.raises(LinkRefused), size.learned_from(40_000):
        raise LinkRefused("publish to", TOPICS.events, "Not authorized")
    assert size.bytes_max == 64_000


async def test_events_that_the_broker_refuses_wait_and_the_connection_stands(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Commands, results and what is urgent need it meanwhile."""
    rules = tmp_path / "rules"
    rules.write_text(f"topic readwrite #\ntopic deny {TOPICS.events}\n")
    rules.chmod(0o600)
    impatient = LARGE.model_copy(update={"confirm_timeout_s": 0.1})
    with Mosquitto(tmp_path / "strict", lines=[f"acl_file {rules}"]) as strict:
        async with running(tmp_path, strict, impatient) as (bear, cloud):
            await bear.append(1)
            await until(lambda: caplog.text.count("events are refused") >= 2)
            await bear.violate()
            await cloud.heard("urgent 2")
    assert "next try" not in caplog.text, "no connection ended"
