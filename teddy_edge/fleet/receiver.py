"""The cloud's end for events: takes batches, stores them, and confirms what is stored.

    python -m teddy_edge.fleet.receiver --host 127.0.0.1 --port 1883 --database fleet.db

A batch is taken where it continues its series: its chain comes out and joins what is stored. What
is stored already is dropped, and what leaves a gap is not taken, unless the bear says that it lost
what lies in the gap: the loss is then stored too. In each case the bear is told how far its series
is stored (retained, `{"epoch", "seq"}`), never before the store is durable, and sends from there.
What is no batch at all is logged and dropped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import logging
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from teddy_edge.clock import SystemClock
from teddy_edge.errors import EXIT_OK, WireError
from teddy_edge.fleet.command_desk import CommandDesk
from teddy_edge.fleet.sinks import Lost, Position, Sink
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.mqtt_link import Connection, Incoming, MqttLink, Subscription
from teddy_edge.settings import BrokerSettings
from teddy_edge.sync.signals import BearStatus, decode_signal
from teddy_edge.sync.wire import EventBatch, WireRecord, decode_batch
from teddy_edge.topics import PREFIX, Topics, bear_of

BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of a batch when unpacked, unless said otherwise: more than any bear can be set to send."""
CLIENT_ID: Final = "teddy-fleet-receiver"

logger = logging.getLogger("teddy_edge.fleet")

T = TypeVar("T")


class Receiver:
    """Takes part in the protocol for every bear of a broker."""

    def __init__(self, sink: Sink, batch_bytes_max: int = BATCH_BYTES_MAX) -> None:
        self._sink = sink
        self._batch_bytes_max = batch_bytes_max
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sink")
        self._desk = CommandDesk(sink, self._thread, SystemClock())

    def link(self, broker: BrokerSettings) -> MqttLink:
        """Make the link on which this receiver lives."""
        return MqttLink(
            broker,
            CLIENT_ID,
            subscriptions=[
                Subscription(f"{PREFIX}/+/events", self.on_events, ordered=True),
                Subscription(f"{PREFIX}/+/status", self.on_status, ordered=True),
                *self._desk.subscriptions(),
            ],
            sessions={"announce": self.announce, "commands": self._desk.run},
        )

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
            position = await self._in_thread(lambda: self._take(bear, batch))
        except WireError as error:
            logger.warning("%s: dropped a batch: %s", bear, error)
            return
        await _confirm(connection, bear, position)

    async def on_status(self, connection: Connection, message: Incoming) -> None:
        """Take up whether a bear is there."""
        del connection
        bear = bear_of(message.topic)
        try:
            status = decode_signal(BearStatus, message.payload)
        except WireError as error:
            logger.warning("%s: dropped a message: %s", bear, error)
            return
        if bear is not None:
            self._desk.note_presence(bear, is_there=status.online)

    def _take(self, bear: str, batch: EventBatch) -> Position:
        """Store what is new of a batch, if it joins; return how far the series is stored."""
        batch.verify()
        stored = self._sink.position(bear, batch.epoch)
        if stored is None:
            logger.info("%s: a new series, from %d on", bear, batch.first_seq)
        elif batch.last_seq <= stored.seq:
            return stored
        elif batch.after_seq > stored.seq:
            logger.warning("%s: %d came, %d is stored", bear, batch.first_seq, stored.seq)
            return stored
        position = Position(batch.epoch, batch.last_seq, batch.chain_after)
        lost = Lost(max(batch.after_seq, stored.seq if stored else 0) + 1, batch.first_seq - 1)
        self._sink.store(bear, position, _new_records(batch, stored), lost)
        return position

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _new_records(batch: EventBatch, stored: Position | None) -> Sequence[WireRecord]:
    """Leave out what is stored, and check that it is the same as what came."""
    if stored is None or stored.seq < batch.first_seq - 1 or not batch.chain_before:
        return batch.records
    known = stored.seq + 1 - batch.first_seq
    dataclasses.replace(
        batch, last_seq=stored.seq, chain_after=stored.chain, records=batch.records[:known]
    ).verify()
    return batch.records[known:]


async def _confirm(connection: Connection, bear: str, position: Position) -> None:
    payload = json.dumps({"epoch": str(position.epoch), "seq": position.seq}).encode()
    await connection.publish(Topics(bear).confirmed, payload, retain=True)


async def receive(broker: BrokerSettings, database: Path, batch_bytes_max: int) -> None:
    """Receive into a SQLite file until cancelled, or until SIGTERM or SIGINT."""
    with contextlib.closing(SqliteSink(database)) as sink:
        running = asyncio.create_task(Receiver(sink, batch_bytes_max).link(broker).run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await running


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the receiver as a program."""
    parser = argparse.ArgumentParser(
        prog="python -m teddy_edge.fleet.receiver", description=__doc__
    )
    parser.add_argument("--host", default="localhost", help="the broker (default: %(default)s)")
    parser.add_argument("--port", type=int, default=1883, help="its port (default: %(default)s)")
    parser.add_argument("--database", type=Path, required=True, help="the SQLite file to keep")
    parser.add_argument(
        "--batch-bytes-max",
        type=int,
        default=BATCH_BYTES_MAX,
        help="bytes of a batch, unpacked (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    broker = BrokerSettings(
        host=given.host,
        port=given.port,
        backoff_s_min=0.1,
        backoff_s_max=5,
        packet_bytes_max=given.batch_bytes_max,
        held_bytes_max=4 * given.batch_bytes_max,
    )
    asyncio.run(receive(broker, given.database, given.batch_bytes_max))
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
