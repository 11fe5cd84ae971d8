"""The loop that keeps a connection, and the way of a message to its handler."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from teddy_edge.backoff import Backoff
from teddy_edge.errors import LinkError
from teddy_edge.mqtt_link.client import Incoming, Will
from teddy_edge.mqtt_link.connection import Delivery, OneConnection
from teddy_edge.settings import BrokerSettings

logger = logging.getLogger("teddy_edge.mqtt_link")


class Connection(Protocol):
    """One connection to the broker; it never becomes another one."""

    session_present: bool
    """Whether the broker still had our session."""

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        correlation_data: bytes | None = None,
        content_type: str | None = None,
    ) -> None:
        """Return once the broker has acknowledged it, or raise a `LinkError`."""


Handler = Callable[[Connection, Incoming], Awaitable[None]]
"""Takes a message; its normal return is the acknowledgement. Cancelled when the connection ends."""

Session = Callable[[Connection], Awaitable[None]]
"""Lives with a connection and is cancelled when it ends; it may return earlier."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which messages go to which handler.

    `ordered`: one at a time, in the order of arrival. Else up to `receive_maximum` at once, started
    in that order. A topic that several filters match goes to the first of them.
    """

    topic_filter: str
    handler: Handler
    qos: int = 1
    ordered: bool = False

    def matches(self, topic: str) -> bool:
        """Tell whether the filter takes this topic."""
        levels, wanted = topic.split("/"), self.topic_filter.split("/")
        if wanted[-1] == "#":
            wanted = wanted[:-1]
            levels = levels[: len(wanted)]
        return len(levels) == len(wanted) and all(
            want in ("+", level) for want, level in zip(wanted, levels, strict=True)
        )


class MqttLink:
    """The bear's one link to its broker."""

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        *,
        subscriptions: Sequence[Subscription],
        sessions: Mapping[str, Session],
        will: Will | None = None,
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._subscriptions = subscriptions
        self._sessions = sessions
        self._will = will
        self._connected_at: float | None = None

    @property
    def connected(self) -> bool:
        """Whether a connection is up and subscribed."""
        return self._connected_at is not None

    async def run(self) -> None:
        """Keep a connection, for ever. Raises what a handler or a session raised."""
        backoff = Backoff(self._settings.backoff_s_min, self._settings.backoff_s_max)
        while True:
            try:
                await self._serve_one_connection()
            except LinkError as error:
                if _is_being_cancelled():  # a task group forgets it where a child failed as well
                    raise asyncio.CancelledError from error
                wait_s = backoff.next_s(self._held_s())
                logger.warning("%s; next try in %.1f s", error, wait_s)
            finally:
                self._connected_at = None
            await asyncio.sleep(wait_s)

    def _held_s(self) -> float:
        return 0.0 if self._connected_at is None else time.monotonic() - self._connected_at

    async def _serve_one_connection(self) -> None:
        lanes = [_Lane(each, self._settings.receive_maximum) for each in self._subscriptions]
        rest = _Lane(Subscription("#", _not_ours), 1)

        def deliver(delivery: Delivery) -> None:
            topic = delivery.incoming.topic
            next((lane for lane in lanes if lane.subscription.matches(topic)), rest).put(delivery)

        connection = OneConnection(self._settings, self._client_id, self._will, deliver)
        try:
            await connection.open()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.until_it_ends(), name="link end")
                tasks.create_task(connection.watch(), name="link watchdog")
                for lane in [*lanes, rest]:
                    name = f"link {lane.subscription.topic_filter}"
                    tasks.create_task(lane.run(connection, tasks), name=name)
                await connection.subscribe([(s.topic_filter, s.qos) for s in self._subscriptions])
                self._announce(connection)
                for name, session in self._sessions.items():
                    tasks.create_task(_call(session, connection), name=name)
        except BaseExceptionGroup as group:
            raise _what_ended_it(group) from group
        finally:
            connection.close()

    def _announce(self, connection: OneConnection) -> None:
        self._connected_at = time.monotonic()
        session = "our session was kept" if connection.session_present else "a new session"
        logger.info("connected to %s:%d, %s", self._settings.host, self._settings.port, session)


class _Lane:
    """The messages of one subscription on their way to its handler."""

    def __init__(self, subscription: Subscription, concurrent_max: int) -> None:
        self.subscription = subscription
        self._slots = asyncio.Semaphore(1 if subscription.ordered else concurrent_max)
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue()  # the connection bounds it

    def put(self, delivery: Delivery) -> None:
        self._queue.put_nowait(delivery)

    async def run(self, connection: Connection, tasks: asyncio.TaskGroup) -> None:
        name = f"handler {self.subscription.topic_filter}"
        while True:
            delivery = await self._queue.get()
            await self._slots.acquire()
            tasks.create_task(self._handle(connection, delivery), name=name)

    async def _handle(self, connection: Connection, delivery: Delivery) -> None:
        try:
            await self.subscription.handler(connection, delivery.incoming)
            delivery.acknowledge()
        finally:
            self._slots.release()
            delivery.let_go()


async def _call(session: Session, connection: Connection) -> None:
    await session(connection)


async def _not_ours(_connection: Connection, _message: Incoming) -> None:
    """Take what an earlier version of us subscribed to: unacknowledged it would hold a place."""
    logger.warning("dropped a message on a topic that nothing here subscribes to")


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _what_ended_it(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Choose the error to report: one that is not the link's own comes first."""
    leaves = list(_leaves(group))
    return next((leaf for leaf in leaves if not isinstance(leaf, LinkError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
