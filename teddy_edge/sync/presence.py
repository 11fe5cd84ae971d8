"""Says whether the bear is there: a retained birth after each connect, a will for its end."""

from __future__ import annotations

from collections.abc import Callable

from teddy_edge.mqtt_link import Connection, Will
from teddy_edge.sync.signals import BearStatus, encode_signal
from teddy_edge.topics import Topics


class Presence:
    """The retained `status` of a bear."""

    def __init__(self, topics: Topics, birth: Callable[[], BearStatus]) -> None:
        """`birth` gives what is said after a connect."""
        self._topics = topics
        self._birth = birth

    @property
    def will(self) -> Will:
        """What the broker publishes when the bear is gone; only what will still be true then."""
        return Will(self._topics.status, encode_signal(BearStatus(online=False)))

    async def run(self, connection: Connection) -> None:
        """Say the birth. The broker says the will, after a clean stop too."""
        await connection.publish(self._topics.status, encode_signal(self._birth()), retain=True)
