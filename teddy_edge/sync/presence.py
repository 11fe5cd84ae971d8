"""Says whether the bear is there: a retained birth after each connect, a will for its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from teddy_edge.mqtt_link import Connection, Will
from teddy_edge.topics import Topics


class Presence:
    """The retained `status` of a bear."""

    def __init__(self, topics: Topics, facts: Callable[[], dict[str, Any]]) -> None:
        """`facts` gives what a birth tells: version, epoch, last seq, trust of the clock."""
        self._topics = topics
        self._facts = facts

    @property
    def will(self) -> Will:
        """What the broker publishes when the bear is gone; only what will still be true then."""
        return Will(self._topics.status, json.dumps({"online": False}).encode())

    async def run(self, connection: Connection) -> None:
        """Say the birth. The broker says the will, after a clean stop too."""
        birth = json.dumps({"online": True, **self._facts()}).encode()
        await connection.publish(self._topics.status, birth, retain=True)
