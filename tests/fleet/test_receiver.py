"""The cloud's end stores each event once, in order, and confirms only what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import signal
import sqlite3
import sys
import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import aiomqtt
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teddy_edge.errors import SinkUnusable, WireError
from teddy_edge.eventlog import next_chain
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.fleet.receiver import BATCH_BYTES_MAX, Receiver
from teddy_edge.fleet.sinks import Lost, Position, Taken
from teddy_edge.fleet.sqlite_sink import STEPS, SqliteSink
from teddy_edge.sync.wire import EventBatch, WireRecord, decode_batch, encode_batch
from tests.fleet.batches import SmallLog
from tests.fleet.receiving import CONFIRMED, EVENTS, heard, receiving, send
from tests.mqtt_link.linking import TIMEOUT_S, settings_for, until


@pytest.fixture
async def bear(broker: Mosquitto) -> AsyncIterator[aiomqtt.Client]:
    """A bear's client, as bare as can be."""
    client = aiomqtt.Client(broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5)
    async with client:
        await client.subscribe(CONFIRMED, qos=1)
        yield client


def confirmation(log: SmallLog, seq: int) -> dict[str, Any]:
    """What says that a log is stored up to a number."""
    return {"epoch": str(log.epoch), "seq": seq, "chain": log.batch(1, seq).chain_after.hex()}


async def test_batches_are_stored_and_confirmed(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    log = SmallLog(30)
    async with receiving(broker, sink):
        confirmed = await send(bear, log.batch(1, 10), log.batch(11, 30))
        assert confirmed == confirmation(log, 30)
        assert list(sink.records("bear-1", log.epoch)) == log.records


async def test_what_comes_twice_is_stored_once(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    log = SmallLog(30)
    batches = [log.batch(1, 10), log.batch(1, 10), log.batch(5, 20), log.batch(2, 3)]
    async with receiving(broker, sink):
        assert (await send(bear, *batches))["seq"] == 20
        assert list(sink.records("bear-1", log.epoch)) == log.slice(1, 20)


async def test_what_leaves_a_gap_waits_for_what_is_missing(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    log = SmallLog(30)
    async with receiving(broker, sink):
        assert (await send(bear, log.batch(1, 10), log.batch(12, 20)))["seq"] == 10
        assert (await send(bear, log.batch(11, 30)))["seq"] == 30
        assert list(sink.records("bear-1", log.epoch)) == log.records


async def test_what_the_bear_lost_is_noted_and_does_not_hold_up_the_rest(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    log = SmallLog(30)
    alone = dataclasses.replace(log.batch(15, 15), chain_before=b"", lost_before=4)
    async with receiving(broker, sink):
        assert (await send(bear, log.batch(1, 10), alone, alone))["seq"] == 15
        assert (await send(bear, log.batch(16, 30)))["seq"] == 30
        assert list(sink.records("bear-1", log.epoch)) == log.records[:10] + log.records[14:]
        assert sink.lost("bear-1", log.epoch) == [Lost(11, 14)]


async def test_a_new_epoch_is_a_series_of_its_own(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    before, after = SmallLog(10, content="before"), SmallLog(4, content="after")
    async with receiving(broker, sink):
        await send(bear, before.batch(1, 10))
        confirmed = await send(bear, after.batch(1, 4))
        assert confirmed == confirmation(after, 4)
        assert list(sink.records("bear-1", before.epoch)) == before.records
        assert list(sink.records("bear-1", after.epoch)) == after.records
        assert [(name, place.epoch) for name, place in sink.current()] == [("bear-1", after.epoch)]


async def test_a_bear_that_comes_later_finds_what_was_confirmed(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    log = SmallLog(3)
    async with receiving(broker, sink):
        await send(bear, log.batch(1, 3))
    async with aiomqtt.Client(broker.host, broker.port) as later:
        await later.subscribe(CONFIRMED)
        message = await asyncio.wait_for(anext(later.messages), TIMEOUT_S)
    assert message.retain
    assert json.loads(message.payload) == confirmation(log, 3)


def test_a_stored_batch_is_on_the_disk(sink: SqliteSink) -> None:
    """What SQLite itself promises for WAL with synchronous=FULL (2)."""
    pragmas = [
        sink._connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous")
    ]
    assert pragmas == ["wal", 2]


def altered(batch: EventBatch) -> EventBatch:
    changed = WireRecord(batch.first_seq, 1, b"another event")
    return dataclasses.replace(batch, records=[changed, *batch.records[1:]])


@pytest.mark.parametrize("forged", ["altered", "of another history", "not a batch"])
async def test_what_does_not_join_is_neither_stored_nor_confirmed(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink, forged: str
) -> None:
    log = SmallLog(20)
    other_history = SmallLog(20, epoch=log.epoch, content="other")
    payload = {
        "altered": encode_batch(altered(log.batch(11, 20))),
        "of another history": encode_batch(other_history.batch(5, 20)),
        "not a batch": b"\x00",
    }[forged]
    async with receiving(broker, sink):
        await send(bear, log.batch(1, 10))
        await bear.publish(EVENTS, payload, qos=1)
        assert (await send(bear, log.batch(1, 10)))["seq"] == 10
        assert list(sink.records("bear-1", log.epoch)) == log.slice(1, 10)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 6) | st.integers(1, 2**63 - 1),
            st.integers(0, 3) | st.integers(0, 2**63 - 1),
            st.booleans(),
            st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=3)), min_size=1, max_size=3),
        ),
        max_size=5,
    )
)
def test_batches_as_they_may_come_are_taken_or_refused_and_nothing_else(
    given_batches: list[tuple[int, int, bool, list[tuple[int, bytes]]]],
) -> None:
    """Up to the greatest sequence number, in any order, with any loss and with none."""
    with contextlib.closing(SqliteSink(Path(":memory:"))) as sink:
        receiver = Receiver(sink)
        for first_seq, lost_before, chained, records in given_batches:
            with contextlib.suppress(WireError):
                batch = decode_batch(
                    loose_batch(first_seq, lost_before, chained, records), BATCH_BYTES_MAX
                )
                outcome = receiver._intake._take("bear-1", batch)
                assert sink.position("bear-1", batch.epoch) == outcome.position


def loose_batch(
    first_seq: int, lost_before: int, chained: bool, records: list[tuple[int, bytes]]
) -> bytes:
    """A batch whose chain comes out, from a history of its own."""
    before = chain = bytes(16) if chained else b""
    numbered = [WireRecord(first_seq + at, *record) for at, record in enumerate(records)]
    for record in numbered:
        if record.seq < 2**64:
            chain = next_chain(chain, record.seq, record.data_class, record.body)
    last_seq = numbered[-1].seq
    return encode_batch(
        EventBatch(UUID(int=1), first_seq, last_seq, before, chain, numbered, lost_before)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"first_seq": float("inf")},
        {"first_seq": 2**63, "last_seq": 2**63},
        {"records": [[2**64 - 1, b"x"]]},
        {"records": [["EMMASECRET", b"x"]]},
    ],
    ids=str,
)
async def test_a_batch_that_is_none_is_acknowledged_and_the_receiver_goes_on(
    broker: Mosquitto,
    bear: aiomqtt.Client,
    sink: SqliteSink,
    changes: dict[str, object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = SmallLog(3)
    content = msgpack.unpackb(zlib.decompress(encode_batch(log.batch(1, 1))))
    forged = zlib.compress(msgpack.packb({**content, **changes}))
    async with receiving(broker, sink):
        await bear.publish(EVENTS, forged, qos=1)
        assert (await send(bear, log.batch(1, 3)))["seq"] == 3
    assert "EMMASECRET" not in caplog.text


class FullDisk(SqliteSink):
    """A store that can be read and not written."""

    def store(self, bear: str, taken: Taken) -> None:
        raise sqlite3.OperationalError("disk full")


async def test_what_could_not_be_stored_is_not_confirmed_and_comes_again(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink, tmp_path: Path
) -> None:
    log = SmallLog(10)
    with contextlib.closing(FullDisk(tmp_path / "fleet.db")) as full:
        link = Receiver(full).link(settings_for(broker.port))
        failing = asyncio.create_task(link.run())
        await until(lambda: link.connected)
        await bear.publish(EVENTS, encode_batch(log.batch(1, 10)), qos=1)
        with pytest.raises(sqlite3.OperationalError, match="disk full"):
            await asyncio.wait_for(failing, TIMEOUT_S)
    assert len(bear.messages) == 0
    async with receiving(broker, sink):
        message = await asyncio.wait_for(anext(bear.messages), TIMEOUT_S)
    assert json.loads(message.payload) == confirmation(log, 10)


async def test_a_receiver_that_starts_says_what_it_has(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    log = SmallLog(3)
    position = Position(log.epoch, 3, log.batch(1, 3).chain_after)
    sink.store("bear-1", Taken(position, log.records, Lost(1, 0)))
    async with receiving(broker, sink):
        message = await asyncio.wait_for(anext(bear.messages), TIMEOUT_S)
    assert json.loads(message.payload) == confirmation(log, 3)


@pytest.mark.parametrize("topic", ["teddy/v1/b ear/events", "teddy/v1//events"])
async def test_a_topic_without_a_bear_is_dropped(
    broker: Mosquitto,
    bear: aiomqtt.Client,
    sink: SqliteSink,
    topic: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = SmallLog(3)
    with caplog.at_level(logging.WARNING):
        async with receiving(broker, sink):
            await bear.publish(topic, encode_batch(log.batch(1, 3)), qos=1)
            await send(bear, log.batch(1, 3))
    assert "names no bear" in caplog.text
    assert [name for name, _ in sink.current()] == ["bear-1"]


async def test_the_program_keeps_what_it_received_over_a_kill(
    broker: Mosquitto, bear: aiomqtt.Client, tmp_path: Path
) -> None:
    log = SmallLog(20)
    database = tmp_path / "program.db"

    async def start() -> asyncio.subprocess.Process:
        command: Sequence[str | Path] = (
            *(sys.executable, "-m", "teddy_edge.cli", "fleet", "receive", "--host", broker.host),
            *("--port", str(broker.port), "--database", database),
        )
        return await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)

    process = await start()
    assert process.stderr is not None
    await process.stderr.readuntil(b"connected to")
    await send(bear, log.batch(1, 10))
    process.kill()
    await process.wait()
    process = await start()
    confirmed = await send(bear, log.batch(8, 20))
    while confirmed["seq"] != 20:  # it says what it has stored already before it takes the batch
        confirmed = await heard(bear)
    process.terminate()
    assert await process.wait() == 0
    with contextlib.closing(SqliteSink(database)) as sink:
        assert list(sink.records("bear-1", log.epoch)) == log.records


async def test_a_receiver_killed_between_storing_and_confirming_stores_once(
    broker: Mosquitto, bear: aiomqtt.Client, tmp_path: Path
) -> None:
    log = SmallLog(20)
    database, armed = tmp_path / "program.db", tmp_path / "armed"
    command: Sequence[str | Path] = (
        *(sys.executable, "-m", "tests.faults.dies_after_store"),
        *(str(broker.port), database, armed),
    )

    async def start() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        assert process.stderr is not None
        await process.stderr.readuntil(b"connected to")
        return process

    process = await start()
    armed.touch()
    await bear.publish(EVENTS, encode_batch(log.batch(1, 10)), qos=1)
    assert await process.wait() == -signal.SIGKILL
    assert len(bear.messages) == 0, "nothing is confirmed"
    with contextlib.closing(SqliteSink(database)) as sink:
        assert list(sink.records("bear-1", log.epoch)) == log.slice(1, 10), "and all is stored"
    process = await start()  # the broker has the batch yet, for it was not acknowledged
    confirmed = await send(bear, log.batch(1, 10), log.batch(11, 20))
    while confirmed["seq"] != 20:
        confirmed = await heard(bear)
    process.terminate()
    assert await process.wait() == 0
    with contextlib.closing(SqliteSink(database)) as sink:
        assert list(sink.records("bear-1", log.epoch)) == log.records


def test_a_file_of_an_older_program_is_taken_over(tmp_path: Path) -> None:
    file, epoch = tmp_path / "fleet.db", UUID(int=7)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript(f"{STEPS[0]} PRAGMA user_version=1;")
        row = ("bear-1", epoch.bytes, 3, 5, b"body")
        connection.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?)", row)
        connection.commit()
    with contextlib.closing(SqliteSink(file)) as sink:
        assert list(sink.records("bear-1", epoch)) == [WireRecord(3, 5, b"body")]
        assert sink.open_commands("bear-1", 1) == []
        assert sink.urgent("bear-1") == []
    with contextlib.closing(SqliteSink(file)) as again:
        assert len(list(again.records("bear-1", epoch))) == 1


def test_a_file_of_a_newer_program_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "fleet.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(SinkUnusable, match=r"fleet\.db has format 99"):
        SqliteSink(file)
