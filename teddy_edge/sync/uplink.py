"""Sends the log upstream and moves the cursor when the cloud confirms.

One connection after another, batches go out in order from the cursor on, at most
`batches_in_flight_max` ahead of what is confirmed. What is not confirmed within `confirm_timeout_s`
goes out again; the cloud drops what it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import NamedTuple

from teddy_edge.errors import LogBehindCloud, PacketTooLarge, WireError
from teddy_edge.eventlog import Cursor, EventLog
from teddy_edge.mqtt_link import Connection, Incoming
from teddy_edge.settings import SyncSettings
from teddy_edge.sync.signals import Confirmation, decode_signal
from teddy_edge.sync.wire import CONTENT_TYPE, EventBatch, batch_of, encode_batch
from teddy_edge.topics import Topics

logger = logging.getLogger("teddy_edge.sync")

AHEAD_MAX = 100_000_000
"""How far the cloud may be ahead of a log that lost its end; more is no such thing."""


class Uplink:
    """The way of events upstream."""

    def __init__(
        self, log: EventLog, cursor: Cursor, topics: Topics, settings: SyncSettings
    ) -> None:
        self._log = log
        self._cursor = cursor
        self._topics = topics
        self._settings = settings
        self._changed = asyncio.Event()
        self._moving = asyncio.Lock()

    @property
    def confirmed_seq(self) -> int:
        """The last sequence number that the cloud has stored."""
        return self._cursor.seq

    async def on_confirmed(self, connection: Connection, incoming: Incoming) -> None:
        """Move the cursor; what is not a confirmation of this log is logged and dropped."""
        del connection
        try:
            confirmation = decode_signal(Confirmation, incoming.payload)
        except WireError as error:
            logger.warning("%s", error, extra={"topic": incoming.topic})
            return
        last_seq = self._log.last_seq
        if confirmation.epoch != self._log.epoch or confirmation.seq > last_seq + AHEAD_MAX:
            facts = {"epoch": str(confirmation.epoch), "seq": confirmation.seq}
            logger.warning("a confirmation of another log", extra=facts)
            return
        if confirmation.seq > self._cursor.seq:
            async with self._moving:
                await self._move(confirmation.seq)
            self._changed.set()
        if confirmation.seq > last_seq:
            raise LogBehindCloud(last_seq, confirmation.seq)

    async def _move(self, seq: int) -> None:
        """Move the cursor; where the card does not take it, what was confirmed goes out again."""
        try:
            await asyncio.to_thread(self._cursor.move, seq)
        except OSError as error:
            logger.warning("a confirmation is not kept", extra={"seq": seq, "reason": str(error)})

    async def run(self, connection: Connection) -> None:
        """Send for as long as the connection lives."""
        watching = asyncio.create_task(self._watch_log(), name="uplink-watch")
        try:
            await self._send_for_ever(connection)
        finally:
            watching.cancel()

    async def _watch_log(self) -> None:
        seq = self._log.last_seq
        while True:
            seq = await self._log.wait_beyond(seq)
            self._changed.set()

    async def _send_for_ever(self, connection: Connection) -> None:
        window = _Window(self._cursor.seq)
        while True:
            self._changed.clear()
            window.confirm(self._cursor.seq)
            waiting = self._log.last_seq - window.read_seq
            if waiting > 0 and len(window.unconfirmed) < self._settings.batches_in_flight_max:
                if waiting < self._settings.batch_records_max:
                    await asyncio.sleep(self._settings.batch_wait_s)
                await self._send_batch(connection, window)
            elif not await self._change(window):
                logger.info("unconfirmed events are sent again", extra={"seq": self._cursor.seq})
                window = _Window(self._cursor.seq)

    async def _change(self, window: _Window) -> bool:
        """Wait for new records or a confirmation; False where the oldest batch waited too long."""
        timeout_s = None
        if window.unconfirmed:
            waited_s = asyncio.get_running_loop().time() - window.unconfirmed[0].sent_at_s
            timeout_s = max(0.0, self._settings.confirm_timeout_s - waited_s)
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _send_batch(self, connection: Connection, window: _Window) -> None:
        last_seq = self._log.last_seq
        stored = await asyncio.to_thread(
            self._log.read,
            window.read_seq + 1,
            self._settings.batch_records_max,
            self._settings.batch_bytes_max,
        )
        if not stored:  # all of it is lost: the next batch says so
            window.read_seq = last_seq
            return
        batch = batch_of(self._log.epoch, stored, window.sent_seq)
        while not await self._is_taken(connection, batch):
            stored = stored[: len(batch.records) // 2]
            batch = batch_of(self._log.epoch, stored, window.sent_seq)
        window.sent(batch.last_seq)

    async def _is_taken(self, connection: Connection, batch: EventBatch) -> bool:
        """Publish a batch; false where it is too large for the broker and a part of it may do."""
        payload = encode_batch(batch)
        try:
            await connection.publish(self._topics.events, payload, content_type=CONTENT_TYPE)
        except PacketTooLarge:
            if len(batch.records) == 1:
                raise
            return False
        return True


class _Unconfirmed(NamedTuple):
    last_seq: int
    sent_at_s: float


class _Window:
    """What one connection has sent and the cloud has not confirmed."""

    def __init__(self, confirmed_seq: int) -> None:
        self.sent_seq = confirmed_seq
        self.read_seq = confirmed_seq
        """As `sent_seq`, and beyond it where the records behind it are lost."""
        self.unconfirmed: deque[_Unconfirmed] = deque()

    def sent(self, last_seq: int) -> None:
        self.sent_seq = self.read_seq = last_seq
        self.unconfirmed.append(_Unconfirmed(last_seq, asyncio.get_running_loop().time()))

    def confirm(self, seq: int) -> None:
        self.sent_seq = max(self.sent_seq, seq)
        self.read_seq = max(self.read_seq, seq)
        while self.unconfirmed and self.unconfirmed[0].last_seq <= seq:
            self.unconfirmed.popleft()
