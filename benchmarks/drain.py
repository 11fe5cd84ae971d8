"""A backlog goes upstream: by the daemon's own uplink, and one event in each message."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.wire import WireClient
from teddy_edge.clock import SystemClock, new_id
from teddy_edge.eventlog import Cursor, Entry, EventLog, StoredRecord
from teddy_edge.events import Cause, CommandDone, ConversationTurnRecorded, encode_event
from teddy_edge.mqtt_link import Connection, MqttLink, Session, Subscription
from teddy_edge.settings import BrokerSettings, LogSettings, SyncSettings
from teddy_edge.sync import Uplink
from teddy_edge.sync.signals import Confirmation, encode_signal
from teddy_edge.sync.wire import EventBatch, decode_batch
from teddy_edge.topics import Topics

TOPICS = Topics("bear-002")
BATCH_BYTES_MAX = 4 * 1024**2
APPENDS = 500
NO_LIMIT = 1_000_000
READ_BYTES = 1024**3


async def recorded(directory: Path, events: int) -> list[StoredRecord]:
    """Record turns of a conversation, each with the end of its command; gives all of it."""
    log = EventLog.open(directory, LogSettings())
    log.start()
    for _ in range(0, events, 2 * APPENDS):
        await log.append([entry for _ in range(APPENDS) for entry in _a_turn()])
    stored = log.read(1, events, READ_BYTES)
    await log.close()
    return stored


def _a_turn() -> list[Entry]:
    clock = SystemClock()
    cause = Cause(new_id(clock), None, "parent-123", "parent")
    turn = ConversationTurnRecorded(
        conversation_id=str(new_id(clock)),
        child_id=str(new_id(clock)),
        speaker="child",
        topics=["animals"],
        sentiment=0.5,
        duration_s=1.5,
        words=None,
    )
    done = CommandDone(name="record_conversation_turn", data={})
    stream = f"conversation/{turn.conversation_id}"
    return [
        Entry(turn.data_class, encode_event(turn, stream, cause, clock)),
        Entry(done.data_class, encode_event(done, "commands", cause, clock)),
    ]


async def drain_in_batches(
    directory: Path, port: int
) -> tuple[float, list[tuple[EventBatch, int]]]:
    """Send all of a log to a cloud that confirms; gives the seconds, and the batches."""
    log = EventLog.open(directory, LogSettings())
    log.start()
    log.read(1, log.last_seq, READ_BYTES)  # as the daemon does at its start, so the index is there
    settings = SyncSettings(history_records_per_s=NO_LIMIT)
    nothing_yet = directory / f"confirmed-{new_id(SystemClock())}.json"
    cursor = Cursor.open(nothing_yet, log.epoch)
    uplink = Uplink(log, cursor, TOPICS, settings, SystemClock())
    batches: list[tuple[EventBatch, int]] = []
    is_done = asyncio.Event()

    def hear(_topic: str, payload: bytes, packet_bytes: int) -> None:
        batch = decode_batch(payload, BATCH_BYTES_MAX)
        batches.append((batch, packet_bytes))
        confirmation = Confirmation(epoch=batch.epoch, seq=batch.last_seq)
        cloud.send(TOPICS.confirmed, encode_signal(confirmation))
        if batch.last_seq == log.last_seq:
            is_done.set()

    cloud = await WireClient.connect(port, "cloud of the drain", hear, [TOPICS.events])
    confirmed = Subscription(TOPICS.confirmed, uplink.on_confirmed, ordered=True)
    took_s = await _timed(port, [confirmed], uplink.run, is_done)
    cloud.close()
    await log.close()
    return took_s, batches


async def drain_one_by_one(stored: Sequence[StoredRecord], port: int, together: int) -> float:
    """Publish each record by itself, so many in flight; gives the seconds. Nobody confirms."""
    waiting = iter(stored)
    is_done = asyncio.Event()

    async def publish_rest(connection: Connection) -> None:
        for record in waiting:
            await connection.publish(TOPICS.events, record.body)

    async def publish_all(connection: Connection) -> None:
        await asyncio.gather(*[publish_rest(connection) for _ in range(together)])
        is_done.set()

    return await _timed(port, [], publish_all, is_done)


async def _timed(
    port: int, subscriptions: Sequence[Subscription], session: Session, is_done: asyncio.Event
) -> float:
    """Give the seconds from a connection's begin until all is done."""
    began_s = 0.0

    async def begin(connection: Connection) -> None:
        nonlocal began_s
        began_s = time.monotonic()
        await session(connection)

    link = MqttLink(
        BrokerSettings(host="127.0.0.1", port=port),
        f"drain-{new_id(SystemClock())}",
        subscriptions=subscriptions,
        sessions={"drain": begin},
    )
    running = asyncio.create_task(link.run())
    await is_done.wait()
    took_s = time.monotonic() - began_s
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return took_s
