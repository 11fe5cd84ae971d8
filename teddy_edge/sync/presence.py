"""Says whether the bear is there: a retained birth after each connect, a will for its end."""

from __future__ import annotations

import logging

from teddy_edge import __version__
from teddy_edge.clock import Clock
from teddy_edge.errors import LinkRefused
from teddy_edge.eventlog import Cursor, EventLog
from teddy_edge.mqtt_link import Connection, Will
from teddy_edge.sync.signals import BearStatus, encode_signal
from teddy_edge.topics import Topics

logger = logging.getLogger("teddy_edge.sync")


class Presence:
    """The retained `status` of a bear."""

    def __init__(self, log: EventLog, cursor: Cursor, topics: Topics, clock: Clock) -> None:
        self._log = log
        self._cursor = cursor
        self._topics = topics
        self._clock = clock

    @property
    def will(self) -> Will:
        """What the broker publishes when the bear is gone; only what will still be true then."""
        return Will(self._topics.status, encode_signal(BearStatus(online=False)))

    async def run(self, connection: Connection) -> None:
        """Say the birth. The broker says the will, after a clean stop too.

        All else goes on where the broker refuses it.
        """
        birth = BearStatus(
            online=True,
            bear=self._topics.bear,
            version=__version__,
            epoch=self._cursor.epoch,
            last_seq=self._log.last_seq,
            clock_trust=self._clock.trust(),
        )
        try:
            await connection.publish(self._topics.status, encode_signal(birth), retain=True)
        except LinkRefused as error:
            logger.warning("the birth is refused", extra={"reason": error.reason})
