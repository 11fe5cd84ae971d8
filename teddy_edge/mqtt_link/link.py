"""The loop that keeps a connection, and the way of a message to its handler."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any

from teddy_edge.backoff import Backoff
from teddy_edge.errors import LinkError, LinkOverrun
from teddy_edge.mqtt_link.client import Will
from teddy_edge.mqtt_link.connection import Delivery, OneConnection
from teddy_edge.mqtt_link.subscription import Connection, Incoming, Session, Subscription
from teddy_edge.settings import BrokerSettings

logger = logging.getLogger("teddy_edge.mqtt_link")


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
            except LinkOverrun as error:  # what came was handled, so the next try brings us further
                wait_s = 0.0
                logger.warning("%s", error)
            except LinkError as error:
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
        tasks = _Tasks()
        try:
            await connection.open()
            tasks.start("link end", connection.until_it_ends())
            tasks.start("link watchdog", connection.watch())
            for lane in [*lanes, rest]:
                name = f"link {lane.subscription.topic_filter}"
                tasks.start(name, lane.run(connection, tasks))
            tasks.start("link sessions", self._begin(connection, tasks))
            await tasks.failed.wait()
        finally:
            await tasks.stop()
            connection.close()
            tasks.raise_defect()
        raise tasks.errors[0]

    async def _begin(self, connection: OneConnection, tasks: _Tasks) -> None:
        await connection.subscribe(self._subscriptions)
        self._announce(connection)
        for name, session in self._sessions.items():
            tasks.start(name, _call(session, connection))

    def _announce(self, connection: OneConnection) -> None:
        self._connected_at = time.monotonic()
        session = "our session was kept" if connection.session_present else "a new session"
        logger.info("connected to %s:%d, %s", self._settings.host, self._settings.port, session)


class _Lane:
    """The messages of one subscription on their way to its handler."""

    def __init__(self, subscription: Subscription, concurrent_max: int) -> None:
        self.subscription = subscription
        at_once = 1 if subscription.ordered else subscription.at_once_max or concurrent_max
        self._slots = asyncio.Semaphore(min(at_once, concurrent_max))
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue()  # the connection bounds it

    def put(self, delivery: Delivery) -> None:
        self._queue.put_nowait(delivery)

    async def run(self, connection: Connection, tasks: _Tasks) -> None:
        name = f"handler {self.subscription.topic_filter}"
        while True:
            delivery = await self._queue.get()
            await self._slots.acquire()
            tasks.start(name, self._handle(connection, delivery))

    async def _handle(self, connection: Connection, delivery: Delivery) -> None:
        try:
            await self.subscription.handler(connection, delivery.incoming)
            delivery.acknowledge()
        finally:
            self._slots.release()
            delivery.let_go()


class _Tasks:
    """The tasks of one connection. Unlike a TaskGroup it keeps a cancellation and a failure apart.

    (On Python 3.11 a group whose child fails leaves its parent marked as being cancelled.)
    """

    def __init__(self) -> None:
        self.failed = asyncio.Event()
        self.errors: list[BaseException] = []
        self._running: set[asyncio.Task[None]] = set()

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._note_its_end)

    def _note_its_end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.errors += _leaves(error)
            self.failed.set()

    async def stop(self) -> None:
        """Cancel them all and wait for their ends."""
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running)
            await asyncio.sleep(0)  # their ends are noted by callbacks

    def raise_defect(self) -> None:
        """Raise what is not the link's own trouble; it is never swallowed."""
        for error in self.errors:
            if not isinstance(error, LinkError):
                raise error


async def _call(session: Session, connection: Connection) -> None:
    await session(connection)


async def _not_ours(_connection: Connection, _message: Incoming) -> None:
    """Take what an earlier version of us subscribed to: unacknowledged it would hold a place."""
    logger.warning("dropped a message on a topic that nothing here subscribes to")


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
