"""A broker that takes only small packets ends nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from teddy_edge.events import decode_record
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.sync.wire import TooLarge
from tests.sync.uplinking import IMPATIENT, running


async def test_a_batch_too_large_for_the_broker_goes_in_parts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is too large as a whole would end every connection, and nothing would go up."""
    with Mosquitto(tmp_path / "small", lines=["max_packet_size 2000"]) as small:
        async with running(tmp_path, small) as (bear, cloud):
            await bear.append(3, random_bytes=700)
            assert await cloud.has(2) == [[1], [2, 3]]
    assert "over its limit" not in caplog.text, "no connection ended"


async def test_an_event_too_large_for_the_broker_is_told_of_and_holds_up_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path / "small", lines=["max_packet_size 2000"]) as small:
        async with running(tmp_path, small) as (bear, cloud):
            await bear.append(1)
            await bear.violate(os.urandom(5000).hex())
            await bear.append(1)
            await cloud.heard("events 2")
            await cloud.confirm(bear.log, 2)
            await cloud.heard("events 3")
            await cloud.confirm(bear.log, 3)
            await bear.confirmed(3)
            (told,) = [batch for batch in cloud.batches if batch.too_large is not None]
            assert (told.first_seq, told.last_seq, list(told.records)) == (2, 2, [])
            (stored,) = bear.log.read(2, 1, 1)
            assert told.too_large == TooLarge(
                data_class=stored.data_class,
                event_id=decode_record(2, stored.data_class, stored.body).id,
                body_bytes=len(stored.body),
            )
            assert (told.chain_before, told.chain_after) == (stored.chain_before, stored.chain)
            assert bear.uplink.counts.too_large == 1
    assert "too large for the broker and stays" in caplog.text
    assert "goes in order only" in caplog.text, "the same event was urgent"
    assert "next try" not in caplog.text, "no connection ended"


async def test_what_is_told_again_is_counted_once(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "small", lines=["max_packet_size 2000"]) as small:
        async with running(tmp_path, small, IMPATIENT) as (bear, cloud):
            await bear.violate(os.urandom(5000).hex())
            assert (await cloud.has(2))[:2] == [[], []]
            assert bear.uplink.counts.too_large == 1
