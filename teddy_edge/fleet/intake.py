"""Takes the bears' events, stores them, and confirms what is stored.

A batch is taken where it continues its series: its chain comes out and joins what is stored. What
is stored already is dropped. What leaves a gap is not taken, unless the bear says that it has no
more what lies in the gap: the loss is then stored too. In each case the bear is told how far its
series is stored, never before the store is durable.

After a gap or a chain that does not join, the bear is asked to send again from where its series
ends, at most once a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from teddy_edge.clock import Clock
from teddy_edge.errors import LinkRefused, WireError
from teddy_edge.fleet.sinks import EventSink, Lost, Position, Taken
from teddy_edge.metrics import RateLimit
from teddy_edge.mqtt_link import Connection, Incoming, Subscription
from teddy_edge.sync.signals import (
    BearStatus,
    Confirmation,
    Replay,
    UrgentEvent,
    decode_signal,
    encode_signal,
)
from teddy_edge.sync.wire import EventBatch, WireRecord, decode_batch
from teddy_edge.topics import PREFIX, Topics, bear_of

REPLAYS_PER_MINUTE: Final = 1
BEARS_REMEMBERED_MAX: Final = 100_000

logger = logging.getLogger("teddy_edge.fleet")

T = TypeVar("T")


class EventIntake:
    """The events of every bear."""

    def __init__(
        self, sink: EventSink, thread: Executor, clock: Clock, batch_bytes_max: int
    ) -> None:
        """`thread` is the one that calls the sink; a batch may have so many bytes when unpacked."""
        self._sink = sink
        self._thread = thread
        self._batch_bytes_max = batch_bytes_max
        self._replays = RateLimit(clock, REPLAYS_PER_MINUTE, BEARS_REMEMBERED_MAX)

    def subscriptions(self) -> list[Subscription]:
        """Say what is heard of events; the urgent ones do not wait for the others."""
        return [
            Subscription(f"{PREFIX}/+/urgent", self.on_urgent, ordered=True),
            Subscription(f"{PREFIX}/+/events", self.on_events, ordered=True),
        ]

    async def announce(self, connection: Connection) -> None:
        """Tell every bear how far it is stored: a broker may have lost what it retained."""
        for bear, position in await self._in_thread(self._sink.current):
            await _confirm(connection, bear, position)

    async def on_events(self, connection: Connection, message: Incoming) -> None:
        """Take a batch and confirm; its return acknowledges the message."""
        bear = bear_of(message.topic)
        if bear is None:
            logger.warning("dropped a message: its topic names no bear")
            return
        try:
            batch = decode_batch(message.payload, self._batch_bytes_max)
            outcome = await self._in_thread(lambda: self._take(bear, batch))
        except WireError as error:
            logger.warning("%s: dropped a batch: %s", bear, error)
            return
        if outcome.problem:
            logger.warning("%s: %s", bear, outcome.problem)
        if outcome.position is not None:
            await _confirm(connection, bear, outcome.position)
        if outcome.is_missing:
            await self._ask_again(connection, bear, batch.epoch, outcome.position)

    async def on_urgent(self, connection: Connection, message: Incoming) -> None:
        """Keep a safety event that came ahead of its place; its return acknowledges it."""
        del connection
        bear = bear_of(message.topic)
        if bear is None:
            logger.warning("dropped a message: its topic names no bear")
            return
        try:
            event = decode_signal(UrgentEvent, message.payload)
        except WireError as error:
            logger.warning("%s: dropped a message: %s", bear, error)
            return
        if await self._in_thread(lambda: self._sink.keep_urgent(bear, event, message.payload)):
            logger.warning("%s: urgent: %s, event %d", bear, event.type, event.seq)

    async def note_log(self, bear: str, status: BearStatus) -> None:
        """Say where a bear has another log than before, or one that lost its end."""
        epoch = status.epoch
        if epoch is None:
            return
        current = await self._in_thread(lambda: self._sink.newest(bear))
        if current is not None and current.epoch != epoch:
            logger.warning("%s: a new log, %s; %s ended", bear, epoch, current.epoch)
        elif current is not None and current.seq > (status.last_seq or 0):
            facts = (bear, status.last_seq or 0, current.seq)
            logger.warning("%s: its log ends at %d; up to %d is stored", *facts)

    def _take(self, bear: str, batch: EventBatch) -> _Outcome:
        """Store what is new of a batch, if it joins."""
        stored = self._sink.position(bear, batch.epoch)
        stored_seq = 0 if stored is None else stored.seq
        try:
            batch.verify()
            if stored is not None and batch.last_seq <= stored.seq:
                return _Outcome(stored, self._compare(bear, batch))
            if batch.after_seq > stored_seq:
                problem = f"{batch.first_seq} came, {stored_seq} is stored"
                return _Outcome(stored, problem, is_missing=True)
            records = _new_records(batch, stored)
        except WireError as error:
            return _Outcome(stored, f"dropped a batch: {error}", is_missing=True)
        position = Position(batch.epoch, batch.last_seq, batch.chain_after)
        lost = Lost(max(batch.after_seq, stored_seq) + 1, batch.first_seq - 1)
        self._sink.store(bear, Taken(position, records, lost, batch.too_large))
        return _Outcome(position, _what_is_lacking(batch))

    def _compare(self, bear: str, batch: EventBatch) -> str:
        """Keep apart what came under numbers that stand for other events, and say so.

        So it is with a bear whose card was set back: it counted on from an earlier number.
        """
        known = self._sink.stored(bear, batch.epoch, batch.first_seq, batch.last_seq)
        by_seq = {record.seq: record for record in known}
        others = [record for record in batch.records if by_seq.get(record.seq, record) != record]
        if not others:
            return ""
        self._sink.keep_apart(bear, batch.epoch, others)
        what = f"{len(others)} events from {others[0].seq} on"
        return f"{what} are not those that are stored; they are kept apart"

    async def _ask_again(
        self, connection: Connection, bear: str, epoch: UUID, position: Position | None
    ) -> None:
        if self._replays.wait_s(bear) > 0:
            return
        from_seq = 1 if position is None else position.seq + 1
        logger.info("%s: asked to send again from %d", bear, from_seq)
        replay = encode_signal(Replay(epoch=epoch, from_seq=from_seq))
        try:
            await connection.publish(Topics(bear).replay, replay)
        except LinkRefused as error:
            logger.warning("%s: cannot ask for a replay: %s", bear, error.reason)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class _Outcome(NamedTuple):
    """How far a series is stored now, and what is wrong with what came."""

    position: Position | None
    problem: str = ""
    is_missing: bool = False


def _what_is_lacking(batch: EventBatch) -> str:
    if batch.too_large is None:
        return ""
    what = f"event {batch.first_seq} ({batch.too_large.event_id})"
    return f"{what} stays with the bear: {batch.too_large.body_bytes} bytes are too large"


def _new_records(batch: EventBatch, stored: Position | None) -> Sequence[WireRecord]:
    """Leave out what is stored, and check that it is the same as what came."""
    if stored is None or stored.seq < batch.first_seq - 1 or not batch.chain_before:
        return batch.records
    if batch.chain_at(stored.seq) != stored.chain:
        raise WireError(f"the chain does not continue from {stored.seq}")
    return batch.records[stored.seq + 1 - batch.first_seq :]


async def _confirm(connection: Connection, bear: str, position: Position) -> None:
    """Confirm. What the broker refuses for one bear must not keep the others waiting."""
    confirmation = Confirmation(epoch=position.epoch, seq=position.seq, chain=position.chain.hex())
    payload = encode_signal(confirmation)
    try:
        await connection.publish(Topics(bear).confirmed, payload, retain=True)
    except LinkRefused as error:
        logger.warning("%s: cannot confirm: %s", bear, error.reason)
