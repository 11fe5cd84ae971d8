"""Asks the cloud, after each connect, for every command that has no result.

A command may be lost on its way although the broker acknowledged it, and so may its result. The
bear cannot know of a command that never came; the cloud knows what it sent. So the bear says that
it is there, and the cloud sends again; what had come before gets the same result again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from teddy_edge.errors import LinkRefused, PacketTooLarge
from teddy_edge.eventlog import Cursor, EventLog
from teddy_edge.messages import Result
from teddy_edge.mqtt_link import Connection
from teddy_edge.sync.signals import Pending, encode_signal
from teddy_edge.topics import Topics

logger = logging.getLogger("teddy_edge.sync")


class PendingRequest:
    """Says `pending` once for each connection."""

    def __init__(
        self,
        log: EventLog,
        cursor: Cursor,
        topics: Topics,
        finished: Callable[[], Sequence[Result]],
    ) -> None:
        """`finished` gives the results to name, the newest last."""
        self._log = log
        self._cursor = cursor
        self._topics = topics
        self._finished = finished

    async def run(self, connection: Connection) -> None:
        """Say it. Where the broker takes no packet of its size, fewer commands are named."""
        finished = [
            (result.command_id, result.status, result.seq)
            for result in self._finished()
            if result.command_id is not None
        ]
        while True:
            pending = Pending(
                epoch=self._cursor.epoch, last_seq=self._log.last_seq, finished=tuple(finished)
            )
            try:
                await connection.publish(self._topics.pending, encode_signal(pending))
            except LinkRefused as error:
                if isinstance(error, PacketTooLarge) and finished:
                    finished = finished[(len(finished) + 1) // 2 :]
                    continue
                logger.warning("the cloud is not asked for commands: %s", error.reason)
            return
