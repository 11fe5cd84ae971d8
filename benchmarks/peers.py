"""What others do with the same events, all of it durable: each is opened, run once, and closed.

The limit is a plain write and fdatasync into zeros. Peers that can make a batch durable are asked
for batches of as many events as there are producers: the best that they could do with these.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from uuid import uuid4
from zlib import crc32

from teddy_edge.eventlog.frame import FRAME_BYTES_MIN


@dataclass(frozen=True, slots=True)
class Load:
    """Events to append: so many together, again and again."""

    event_bytes: int
    together: int
    """The producers, each of which waits for its own event; or the events of a batch."""
    times: int

    @property
    def events(self) -> int:
        """All of them."""
        return self.together * self.times

    @property
    def body(self) -> bytes:
        """The content of each event: noise, so that no device can make it smaller."""
        return Random(1).randbytes(self.event_bytes)


Appending = Callable[[], None]
"""Append everything, and return when it is durable."""
Contender = Callable[[Path, Load], AbstractContextManager[Appending]]
"""Opens in an empty directory, and closes afterwards."""


@contextmanager
def raw(directory: Path, load: Load) -> Iterator[Appending]:
    """Write and fdatasync the bytes of the log's batches into zeros that are on the device."""
    batch = Random(1).randbytes((load.event_bytes + FRAME_BYTES_MIN) * load.together)
    path = directory / "raw"
    path.write_bytes(bytes(len(batch) * load.times))
    descriptor = os.open(path, os.O_RDWR)

    def append() -> None:
        for number in range(load.times):
            os.pwrite(descriptor, batch, number * len(batch))
            os.fdatasync(descriptor)

    yield append
    os.close(descriptor)


class GroupCommit:
    """What one would write first: a queue, a thread, write and fdatasync at the end of a file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._queue: asyncio.Queue[tuple[bytes, asyncio.Future[None]]] = asyncio.Queue()

    async def append(self, body: bytes) -> None:
        """Return when it is durable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((body, future))
        await future

    async def run(self) -> None:
        """Write for ever what waits."""
        with ThreadPoolExecutor(1) as executor:
            while True:
                waiting = [await self._queue.get()]
                while not self._queue.empty():
                    waiting.append(self._queue.get_nowait())
                bodies = [body for body, _ in waiting]
                await asyncio.get_running_loop().run_in_executor(executor, self._write, bodies)
                for _, future in waiting:
                    future.set_result(None)

    def _write(self, bodies: list[bytes]) -> None:
        frames = [struct.pack("<II", len(body), crc32(body)) + body for body in bodies]
        os.write(self._descriptor, b"".join(frames))
        os.fdatasync(self._descriptor)


@contextmanager
def group_commit(directory: Path, load: Load) -> Iterator[Appending]:
    """Each producer waits for its own event, which a straightforward group commit writes."""
    body = load.body

    async def produce(log: GroupCommit) -> None:
        for _ in range(load.times):
            await log.append(body)

    async def append() -> None:
        log = GroupCommit(directory / "log")
        running = asyncio.create_task(log.run())
        await asyncio.gather(*[produce(log) for _ in range(load.together)])
        running.cancel()

    with asyncio.Runner() as runner:
        yield lambda: runner.run(append())


@contextmanager
def _sqlite_batch(directory: Path, load: Load) -> Iterator[Callable[[], None]]:
    """Open sqlite, WAL, synchronous=FULL; gives what inserts one batch in one transaction."""
    rows = [(load.body,)] * load.together
    database = sqlite3.connect(
        directory / "events.db", isolation_level=None, check_same_thread=False
    )
    with closing(database):
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, body BLOB)")

        def insert() -> None:
            database.execute("BEGIN")
            database.executemany("INSERT INTO events (body) VALUES (?)", rows)
            database.execute("COMMIT")

        yield insert


@contextmanager
def sqlite(directory: Path, load: Load) -> Iterator[Appending]:
    """Insert into sqlite, WAL, synchronous=FULL, one transaction for each batch."""
    with _sqlite_batch(directory, load) as insert:

        def append() -> None:
            for _ in range(load.times):
                insert()

        yield append


@contextmanager
def sqlite_off_the_loop(directory: Path, load: Load) -> Iterator[Appending]:
    """The same in a program that must not stand still meanwhile: in a thread, and awaited."""
    with (
        _sqlite_batch(directory, load) as insert,
        ThreadPoolExecutor(1) as thread,
        asyncio.Runner() as runner,
    ):

        async def append() -> None:
            for _ in range(load.times):
                await asyncio.get_running_loop().run_in_executor(thread, insert)

        yield lambda: runner.run(append())


@contextmanager
def eventsourcing(directory: Path, load: Load) -> Iterator[Appending]:
    """Insert with the SQLite recorder of `eventsourcing`, one call for each batch."""
    peer = importlib.import_module("eventsourcing.sqlite")
    stored_event = importlib.import_module("eventsourcing.persistence").StoredEvent
    datastore = peer.SQLiteDatastore(str(directory / "events.db"), pool_size=1, max_overflow=0)
    with closing(datastore):
        with datastore.get_connection(commit=True) as connection:
            connection.cursor().execute("PRAGMA synchronous=FULL")
        recorder = peer.SQLiteApplicationRecorder(datastore)
        recorder.create_table()
        body, aggregate_id = load.body, uuid4()

        def append() -> None:
            for first in range(1, load.events + 1, load.together):
                versions = range(first, first + load.together)
                recorder.insert_events(
                    [stored_event(aggregate_id, version, "told", body) for version in versions]
                )

        yield append


@contextmanager
def persist_queue(directory: Path, load: Load) -> Iterator[Appending]:
    """Put into the SQLite queue of `persist-queue`: a transaction for each event, whatever is set.

    Its file queue is left out: it syncs once in 100 events, and acknowledges before.
    """
    peer = importlib.import_module("persistqueue")
    with closing(peer.SQLiteAckQueue(str(directory / "queue"))) as queue:
        body = load.body

        def append() -> None:
            for _ in range(load.events):
                queue.put(body)

        yield append


def synchronous_of_sqlite(directory: Path) -> int:
    """Give what `PRAGMA synchronous` is in WAL mode where nobody sets it; 2 is FULL."""
    with closing(sqlite3.connect(directory / "default.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        return int(database.execute("PRAGMA synchronous").fetchone()[0])
