"""Keeps the retained read models current, so that the parents' app sees the truth at once.

What is retained is JSON: the row as `data`, the last event that it includes as `seq`, when and by
what clock it was published, whether the history behind it is `complete`, and if not why
(`incomplete_because`). A deactivated child's topics are cleared, and so is what stands there of a
child that this log does not know: after a factory reset nobody else would.
"""

from __future__ import annotations

import asyncio
import json
import logging

from teddy_edge.clock import Clock, rfc3339
from teddy_edge.errors import LinkRefused
from teddy_edge.mqtt_link import Connection, Incoming
from teddy_edge.projections import ChildProjectionManager
from teddy_edge.projections.bear import KEY as BEAR_KEY
from teddy_edge.settings import SyncSettings
from teddy_edge.topics import Topics

logger = logging.getLogger("teddy_edge.sync")

SAFETY = "safety/"
PUBLISHED = ("bear/", "child/", SAFETY)
"""The models that the parents' app sees; pages of lists and single conversations are asked for."""


STANDING_MAX = 10_000
"""Topics found on the broker that are looked at after a connect; the rest after the next one."""


class StatePublisher:
    """Publishes every row after a connect, then what changed, coalesced."""

    def __init__(
        self,
        read_models: ChildProjectionManager,
        topics: Topics,
        settings: SyncSettings,
        clock: Clock,
    ) -> None:
        self._read_models = read_models
        self._topics = topics
        self._settings = settings
        self._clock = clock
        self._changed: set[str] = set()
        self._standing: set[str] = set()
        self._wake = asyncio.Event()
        read_models.listen(self._note)

    def _note(self, keys: set[str]) -> None:
        of_children = {key.replace("child/", "safety/", 1) for key in keys if key[:6] == "child/"}
        self._changed |= {key for key in keys | of_children if key.startswith(PUBLISHED)}
        if self._changed:
            self._wake.set()

    async def run(self, connection: Connection) -> None:
        """Publish for as long as the connection lives."""
        self._note(set(await self._read_models.keys("")))
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._settings.state_window_s)
            self._wake.clear()
            keys, self._changed = sorted(self._changed), set()
            for key in keys:
                await self._publish(connection, key)
            standing, self._standing = sorted(self._standing), set()
            for topic in standing:
                await self._clear_unknown(connection, topic)

    async def on_retained(self, connection: Connection, incoming: Incoming) -> None:
        """Take note of what stands on the broker; `run` clears what no row is of."""
        del connection
        is_under = incoming.topic.startswith(self._topics.states.removesuffix("#"))
        if incoming.payload and is_under and len(self._standing) < STANDING_MAX:
            self._standing.add(incoming.topic)
            self._wake.set()

    async def _publish(self, connection: Connection, key: str) -> None:
        """Publish a row, where there is one or there surely is none."""
        payload = await self._payload(key)
        if payload is not None:
            await self._retain(connection, self._topic(key), payload)

    async def _clear_unknown(self, connection: Connection, topic: str) -> None:
        """Clear a topic that no row is of, unless the row may have been lost."""
        if await self._read_models.get_settled(self._key(topic)) is not None:
            return
        if self._read_models.lost() is None:
            await self._retain(connection, topic, b"")

    async def _retain(self, connection: Connection, topic: str, payload: bytes) -> None:
        """Publish; what the broker refuses waits for the next change, and keeps nothing offline."""
        try:
            await connection.publish(topic, payload, retain=True)
        except LinkRefused as error:
            facts = {"topic": topic, "reason": error.reason}
            logger.warning("a read model is not published", extra=facts)

    def _topic(self, key: str) -> str:
        model, _, row_id = key.partition("/")
        return self._topics.state(model, self._topics.bear if key == BEAR_KEY else row_id)

    def _key(self, topic: str) -> str:
        key = topic.removeprefix(self._topics.states.removesuffix("#"))
        return BEAR_KEY if key == f"bear/{self._topics.bear}" else key

    async def _payload(self, key: str) -> bytes | None:
        """Say the row and how current it is; b"", which clears it, for a deactivated child.

        None where there is no row, and it may have been lost: what stands there is older, and true.
        """
        child = await self._read_models.get_settled(f"child/{key.partition('/')[2]}")
        position = self._read_models.position
        row = await self._read_models.get_settled(key)
        if row is None and self._read_models.lost() is not None:
            return None
        if row is None or (child is not None and not child["is_active"]):
            return b""
        # What safety is made of never leaves a whole log.
        is_safety = key.startswith(SAFETY)
        lacking = self._read_models.lost() if is_safety else self._read_models.lacking()
        state = {
            "seq": position,
            "published_at": rfc3339(self._clock.wall_ns()),
            "clock_trust": self._clock.trust().value,
            "complete": lacking is None,
            "incomplete_because": lacking,
            "data": row,
        }
        return json.dumps(state, ensure_ascii=False).encode()
