"""Keeps the retained read models current, so that the parents' app sees the truth at once.

What is retained is JSON: the row as `data`, the last event that it includes as `seq`, when and by
what clock it was published, whether the history behind it is `complete`, and if not why
(`incomplete_because`). A deactivated child's topics are cleared, and so is what stands there of a
child that this log does not know: after a factory reset nobody else would.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Sequence

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

AT_ONCE = 8
"""Rows on their way at a time."""
DUE_MAX = 64
"""Rows of those that a connect asks for which go out before what changed meanwhile."""
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
        self._due: dict[str, None] = {}
        """What the connects ask for and has not gone out, in order."""
        self._standing: set[str] = set()
        self._wake = asyncio.Event()
        read_models.listen(self._note)

    def _note(self, keys: set[str]) -> None:
        self._changed |= _published(keys)
        if self._changed:
            self._wake.set()

    async def run(self, connection: Connection) -> None:
        """Publish for as long as the connection lives: what changed, and step by step all else.

        What an earlier connection has not come to goes first, and safety before the rest of it.
        """
        keys = sorted(_published(set(await self._read_models.keys(""))))
        self._due.update(dict.fromkeys(sorted(keys, key=lambda key: not key.startswith(SAFETY))))
        self._wake.set()
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._settings.state_window_s)
            self._wake.clear()
            changed, self._changed = sorted(self._changed), set()
            await self._publish_all(connection, changed)
            for key in changed:
                self._due.pop(key, None)
            await self._publish_all(connection, self._next_due())
            standing, self._standing = sorted(self._standing), set()
            for topic in standing:
                await self._clear_unknown(connection, topic)

    def _next_due(self) -> Sequence[str]:
        """Take some of what each connect asks for."""
        keys = list(itertools.islice(self._due, DUE_MAX))
        for key in keys:
            del self._due[key]
        if self._due:
            self._wake.set()
        return keys

    async def _publish_all(self, connection: Connection, keys: Sequence[str]) -> None:
        """Publish rows, some at a time: each waits for an answer of the broker."""
        for begin in range(0, len(keys), AT_ONCE):
            async with asyncio.TaskGroup() as tasks:
                for key in keys[begin : begin + AT_ONCE]:
                    tasks.create_task(self._publish(connection, key), name=f"state {key}")

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


def _published(keys: set[str]) -> set[str]:
    """Choose what is published; a child's safety goes with the child."""
    of_children = {key.replace("child/", SAFETY, 1) for key in keys if key.startswith("child/")}
    return {key for key in keys | of_children if key.startswith(PUBLISHED)}
