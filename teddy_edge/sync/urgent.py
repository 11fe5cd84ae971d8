"""Says safety events at once, ahead of any backlog.

The same events follow in order in `events`; whoever has one already knows it by its id. So this
lane may leave out and repeat: what the broker refuses or loses arrives in order all the same.

New events go as soon as they are gathered. What was recorded before the connection, and is not
confirmed, is looked through beside that, so that a week's backlog does not hold up what happens
now.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Final

from teddy_edge.errors import LinkRefused
from teddy_edge.eventlog import READ_BYTES_MAX, READ_RECORDS_MAX, Cursor, EventLog, StoredRecord
from teddy_edge.events import DataClass, cloud_event, decode_record
from teddy_edge.mqtt_link import Connection
from teddy_edge.topics import Topics

GATHER_S: Final = 0.01
"""How long new records are gathered before they are looked through."""

logger = logging.getLogger("teddy_edge.sync")


class UrgentLane:
    """The way of safety events upstream."""

    def __init__(self, log: EventLog, cursor: Cursor, topics: Topics) -> None:
        self._log = log
        self._cursor = cursor
        self._topics = topics
        self._reached_seq = 0
        """All safety events up to here went out."""

    async def run(self, connection: Connection) -> None:
        """Send for as long as the connection lives."""
        begun_seq = self._log.last_seq
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._send_new(connection, begun_seq), name="urgent new")
            lanes.create_task(self._send_old(connection, begun_seq), name="urgent old")

    async def _send_new(self, connection: Connection, begun_seq: int) -> None:
        seq = begun_seq
        while True:
            await self._log.wait_beyond(seq)
            await asyncio.sleep(GATHER_S)
            last_seq = self._log.last_seq
            while seq < last_seq:
                seq = await self._send_after(connection, seq, last_seq)
            if self._reached_seq >= begun_seq:
                self._reached_seq = seq

    async def _send_old(self, connection: Connection, begun_seq: int) -> None:
        self._reached_seq = max(self._reached_seq, self._cursor.seq)
        while self._reached_seq < begun_seq:
            seq = await self._send_after(connection, self._reached_seq, begun_seq)
            self._reached_seq = min(seq, begun_seq)

    async def _send_after(self, connection: Connection, seq: int, last_seq: int) -> int:
        """Send the safety events among the next records; gives the last number looked at."""
        stored = await asyncio.to_thread(self._log.read, seq + 1, READ_RECORDS_MAX, READ_BYTES_MAX)
        for record in stored:
            if record.data_class == DataClass.SAFETY:
                await self._send(connection, record)
        return stored[-1].seq if stored else last_seq

    async def _send(self, connection: Connection, stored: StoredRecord) -> None:
        record = decode_record(stored.seq, stored.data_class, stored.body)
        event = {**cloud_event(record, self._topics.bear), "epoch": str(self._cursor.epoch)}
        payload = json.dumps(event, ensure_ascii=False).encode()
        try:
            await connection.publish(
                self._topics.urgent, payload, content_type="application/cloudevents+json"
            )
        except LinkRefused as error:
            facts = {"seq": stored.seq, "reason": error.reason}
            logger.warning("a safety event goes in order only", extra=facts)
