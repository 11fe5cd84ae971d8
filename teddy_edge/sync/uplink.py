"""Sends the log upstream and moves the cursor when the cloud confirms.

One connection after another, batches go out in order from the cursor on, at most
`batches_in_flight_max` ahead of what is confirmed. What is not confirmed within `confirm_timeout_s`
goes out again; the cloud drops what it has.

This is the lane of history. What is no news, a backlog or what the cloud asked for again, is marked
and held to `history_records_per_s`; safety events, read models and results have lanes of their own
and pass it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from teddy_edge.clock import Clock, new_id
from teddy_edge.errors import HistoryForked, LinkRefused, PacketTooLarge, WireError
from teddy_edge.eventlog import Cursor, EventLog
from teddy_edge.metrics import RateLimit
from teddy_edge.mqtt_link import Connection, Incoming
from teddy_edge.settings import SyncSettings
from teddy_edge.sync.batch_size import BatchSize
from teddy_edge.sync.signals import Confirmation, Replay, decode_signal
from teddy_edge.sync.window import Window
from teddy_edge.sync.wire import CONTENT_TYPE, EventBatch, batch_of, encode_batch
from teddy_edge.topics import Topics

logger = logging.getLogger("teddy_edge.sync")

AHEAD_MAX = 100_000_000
"""How far the cloud may be ahead of a log that was set back; more is no such thing."""


@dataclass(slots=True)
class UplinkCounts:
    """What happened since the start."""

    replays: int = 0
    replays_refused: int = 0
    too_large: int = 0
    """Records that stayed here because the broker takes no packet of their size."""


class Uplink:
    """The way of events upstream."""

    def __init__(
        self, log: EventLog, cursor: Cursor, topics: Topics, settings: SyncSettings, clock: Clock
    ) -> None:
        self.counts = UplinkCounts()
        self._log = log
        self._cursor = cursor
        self._clock = clock
        self._topics = topics
        self._settings = settings
        self._replay_limit = RateLimit(clock, settings.replays_per_minute, keys_max=1)
        self._changed = asyncio.Event()
        self._moving = asyncio.Lock()
        self._stored_seq = cursor.seq
        """What the cloud says it has; in a replay this may be less than the cursor."""
        self._window = Window(cursor.seq, log.last_seq)
        self._batch_size = BatchSize(settings.batch_bytes_max)
        self._replay_from: int | None = None
        self._too_large_seq = 0

    @property
    def confirmed_seq(self) -> int:
        """The last sequence number that the cloud has stored."""
        return self._cursor.seq

    async def on_confirmed(self, connection: Connection, incoming: Incoming) -> None:
        """Move the cursor; what is not a confirmation of this log is logged and dropped.

        Raises `HistoryForked` where the cloud has stored other events under our numbers.
        """
        del connection
        try:
            confirmation = decode_signal(Confirmation, incoming.payload)
        except WireError as error:
            logger.warning("%s", error, extra={"topic": incoming.topic})
            return
        is_near = confirmation.seq <= self._log.last_seq + AHEAD_MAX
        if confirmation.epoch != self._cursor.epoch or not is_near:
            facts = {"epoch": str(confirmation.epoch), "seq": confirmation.seq}
            logger.warning("a confirmation of another log", extra=facts)
            return
        if not await self._is_ours(confirmation):
            if self._cursor.seq == 0 and self._cursor.epoch != self._log.epoch:
                # a cloud that counts wrongly would be sent one series after the other
                logger.error(
                    "the cloud confirms what was not sent", extra={"seq": confirmation.seq}
                )
                return
            raise await self._begin_series(confirmation.seq)
        self._stored_seq = max(self._stored_seq, confirmation.seq)
        self._changed.set()  # what follows need not wait for the card
        async with self._moving:
            await self._move(confirmation.seq)

    async def _is_ours(self, confirmation: Confirmation) -> bool:
        """Tell whether it speaks of the events that are in this log.

        They are others where a card was set back, or lost its end, and numbers were given again.
        """
        seq = confirmation.seq
        if seq > self._log.last_seq:
            return False
        if confirmation.chain is None:
            return True
        chain = self._window.chain_at(seq) or await asyncio.to_thread(self._log.chain_at, seq)
        return not chain or chain == bytes.fromhex(confirmation.chain)

    async def _begin_series(self, confirmed_seq: int) -> HistoryForked:
        """Have all of the log sent anew, under an epoch of its own, over another connection."""
        epoch = new_id(self._clock)
        self._replay_from = None
        async with self._moving:
            try:
                await asyncio.to_thread(self._cursor.begin_series, epoch)
            except OSError as error:  # the next start finds the same, and begins another one
                logger.warning("a new series is not kept", extra={"reason": str(error)})
        return HistoryForked(confirmed_seq, self._log.last_seq, epoch)

    async def _move(self, seq: int) -> None:
        """Move the cursor; where the card does not take it, what was confirmed goes out again."""
        try:
            await asyncio.to_thread(self._cursor.move, seq)
        except OSError as error:
            logger.warning("a confirmation is not kept", extra={"seq": seq, "reason": str(error)})

    async def on_replay(self, connection: Connection, incoming: Incoming) -> None:
        """Go back to where the cloud asks; what makes no sense is logged, counted and dropped."""
        del connection
        try:
            from_seq = self._replay_asked_for(incoming)
        except WireError as error:
            self.counts.replays_refused += 1
            logger.warning("a replay is refused: %s", error)
            return
        self.counts.replays += 1
        logger.info("events are sent again, as the cloud asks", extra={"seq": from_seq})
        self._replay_from = from_seq
        self._changed.set()

    def _replay_asked_for(self, incoming: Incoming) -> int:
        """Read where to begin, never beyond what is not confirmed; else raise `WireError`."""
        if incoming.retain:
            raise WireError("it was retained, and would come again")
        replay = decode_signal(Replay, incoming.payload)
        if replay.epoch != self._cursor.epoch:
            raise WireError(f"it is of another log, {replay.epoch}")
        if replay.from_seq > self._log.last_seq:
            raise WireError(f"it begins at {replay.from_seq}; the log ends at {self._log.last_seq}")
        if (wait_s := self._replay_limit.wait_s("replay")) > 0:
            raise WireError(f"there were too many; the next one in {wait_s} s")
        return min(replay.from_seq, self._cursor.seq + 1)

    async def run(self, connection: Connection) -> None:
        """Send for as long as the connection lives."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_log(self._log.last_seq), name="uplink watch")
            tasks.create_task(self._send_for_ever(connection), name="uplink send")

    async def _watch_log(self, seq: int) -> None:
        while True:
            seq = await self._log.wait_beyond(seq)
            self._changed.set()

    async def _send_for_ever(self, connection: Connection) -> None:
        self._stored_seq = self._cursor.seq
        self._window = Window(self._cursor.seq, self._log.last_seq)
        while True:
            self._changed.clear()
            self._window = window = self._begin_replay() or self._window
            window.confirm(self._stored_seq)
            waiting = self._log.last_seq - window.read_seq
            if waiting > 0 and len(window.unconfirmed) < self._settings.batches_in_flight_max:
                is_news = window.read_seq >= window.history_seq
                if is_news and waiting < self._settings.batch_records_max:
                    await asyncio.sleep(self._settings.batch_wait_s)
                await self._send_next(connection, window)
            elif not await self._change(window):
                logger.info("unconfirmed events are sent again", extra={"seq": self._cursor.seq})
                self._window = window.again(self._log.last_seq)

    def _begin_replay(self) -> Window | None:
        """Make the window of a replay, where one was asked for."""
        if self._replay_from is None:
            return None
        self._stored_seq = self._replay_from - 1
        self._replay_from = None
        return Window(self._stored_seq, self._log.last_seq, self._cursor.seq)

    async def _change(self, window: Window) -> bool:
        """Wait for new records or a signal; False where the oldest batch waited too long."""
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

    async def _send_next(self, connection: Connection, window: Window) -> None:
        last_seq = self._log.last_seq
        begun_at_s = asyncio.get_running_loop().time()
        batch = await asyncio.to_thread(self._read_batch, window)
        if batch is None:  # all of it is lost: the next batch says so
            window.read_seq = last_seq
            return
        batch = await self._publish(connection, batch)
        sent_at_s = asyncio.get_running_loop().time()
        window.sent(batch.last_seq, batch.chain_after, sent_at_s)
        if batch.replayed:
            pace_s = len(batch.records) / self._settings.history_records_per_s
            await asyncio.sleep(pace_s - (sent_at_s - begun_at_s))

    def _read_batch(self, window: Window) -> EventBatch | None:
        """Read what follows, either history or news."""
        stored = self._log.read(
            window.read_seq + 1,
            self._settings.batch_records_max,
            self._batch_size.bytes_max,
        )
        if not stored:
            return None
        is_history = stored[0].seq <= window.history_seq
        if is_history:
            stored = [record for record in stored if record.seq <= window.history_seq]
        return batch_of(self._cursor.epoch, stored, window.sent_seq, replayed=is_history)

    async def _publish(self, connection: Connection, batch: EventBatch) -> EventBatch:
        """Publish a batch, or as much of it as the broker takes; gives what was published.

        What it refuses is tried again later over the same connection, which others need meanwhile.
        """
        while True:
            payload = await asyncio.to_thread(encode_batch, batch)
            try:
                with self._batch_size.learned_from(batch.body_bytes):
                    await connection.publish(
                        self._topics.events, payload, content_type=CONTENT_TYPE
                    )
            except LinkRefused as refusal:
                if isinstance(refusal, PacketTooLarge) and batch.too_large is None:
                    batch = batch.smaller()
                    self._note_too_large(batch)
                    continue
                logger.warning("events are refused", extra={"reason": refusal.reason})
                await asyncio.sleep(self._settings.confirm_timeout_s)
            else:
                return batch

    def _note_too_large(self, batch: EventBatch) -> None:
        """Count and log, once, that a record stays here; its batch tells the cloud the same."""
        if batch.too_large is None or batch.last_seq <= self._too_large_seq:
            return
        self._too_large_seq = batch.last_seq
        self.counts.too_large += 1
        facts = {
            "seq": batch.last_seq,
            "event_id": str(batch.too_large.event_id),
            "body_bytes": batch.too_large.body_bytes,
        }
        logger.error("an event is too large for the broker and stays in the log", extra=facts)
