"""The cloud's end of the protocol, for every bear of a broker.

`intake` takes events, `command_desk` follows commands; what both keep is in a `Sink`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from teddy_edge.clock import SystemClock
from teddy_edge.errors import WireError
from teddy_edge.fleet.command_desk import CommandDesk
from teddy_edge.fleet.intake import EventIntake
from teddy_edge.fleet.sinks import Sink
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.mqtt_link import Connection, Incoming, MqttLink, Subscription
from teddy_edge.settings import BrokerSettings
from teddy_edge.sync.signals import BearStatus, decode_signal
from teddy_edge.topics import PREFIX, bear_of

BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of a batch when unpacked, unless said otherwise: more than any bear can be set to send."""
CLIENT_ID: Final = "teddy-fleet-receiver"

logger = logging.getLogger("teddy_edge.fleet")


class Receiver:
    """Takes part in the protocol for every bear of a broker."""

    def __init__(self, sink: Sink, batch_bytes_max: int = BATCH_BYTES_MAX) -> None:
        thread = ThreadPoolExecutor(1, thread_name_prefix="sink")
        clock = SystemClock()
        self._intake = EventIntake(sink, thread, clock, batch_bytes_max)
        self._desk = CommandDesk(sink, thread)

    def link(self, broker: BrokerSettings) -> MqttLink:
        """Make the link on which this receiver lives."""
        return MqttLink(
            broker,
            CLIENT_ID,
            subscriptions=[
                *self._intake.subscriptions(),
                *self._desk.subscriptions(),
                Subscription(f"{PREFIX}/+/status", self._on_status, ordered=True),
            ],
            sessions={"announce": self._intake.announce, "commands": self._desk.run},
        )

    async def _on_status(self, connection: Connection, message: Incoming) -> None:
        """Take up whether a bear is there, and with which log."""
        bear = bear_of(message.topic)
        try:
            status = decode_signal(BearStatus, message.payload)
        except WireError as error:
            logger.warning("%s: dropped a message: %s", bear, error)
            return
        if bear is not None:
            await self._intake.note_log(bear, status)
            await self._desk.note_presence(connection, bear, is_there=status.online)


async def receive(broker: BrokerSettings, database: Path, batch_bytes_max: int) -> None:
    """Receive into a SQLite file until cancelled, or until SIGTERM or SIGINT."""
    with contextlib.closing(SqliteSink(database)) as sink:
        running = asyncio.create_task(Receiver(sink, batch_bytes_max).link(broker).run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await running
