"""Subscribers to compare a bear with: each takes commands and acknowledges them by hand.

    python -m benchmarks.subscribers NAME PORT DIRECTORY COMMANDS

`bare` does nothing else; `bare_with_result` publishes a result for each command, and acknowledges
the command once the broker has the result, as a bear does: whoever answers through this client can
hardly be faster. The others store each command durably before they acknowledge it, and answer
nothing. After every so many commands a line says when the last of them was acknowledged (monotonic
seconds).
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import aiomqtt
from paho.mqtt.client import Client
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

RECEIVE_MAXIMUM = 64
"""As a bear has it."""
RESULT = bytes(178)
"""As large as a bear's result."""

Store = Callable[[bytes], object]


def bare(_directory: Path) -> Store:
    """Keep nothing."""
    return len


def sqlite_full(directory: Path) -> Store:
    """Insert into SQLite, WAL, synchronous=FULL, a transaction for each."""
    database = sqlite3.connect(directory / "commands.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE commands (seq INTEGER PRIMARY KEY, body BLOB)")
    return lambda body: database.execute("INSERT INTO commands (body) VALUES (?)", (body,))


def eventsourcing(directory: Path) -> Store:
    """Insert with the SQLite recorder of `eventsourcing`, synchronous=FULL."""
    peer = importlib.import_module("eventsourcing.sqlite")
    stored_event = importlib.import_module("eventsourcing.persistence").StoredEvent
    datastore = peer.SQLiteDatastore(str(directory / "events.db"), pool_size=1, max_overflow=0)
    with datastore.get_connection(commit=True) as connection:
        connection.cursor().execute("PRAGMA synchronous=FULL")
    recorder = peer.SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    return lambda body: recorder.insert_events([stored_event(uuid4(), 1, "told", body)])


def persist_queue(directory: Path) -> Store:
    """Put into the SQLite queue of `persist-queue`, a transaction for each."""
    peer = importlib.import_module("persistqueue")
    put: Store = peer.SQLiteAckQueue(str(directory / "queue")).put
    return put


STORES = {store.__name__: store for store in (bare, sqlite_full, eventsourcing, persist_queue)}


class Taken:
    """Acknowledges commands, and says when all of a round are."""

    def __init__(self, paho: Client, commands: int) -> None:
        self._paho = paho
        self._commands = commands
        self._count = 0

    def acknowledge(self, message: aiomqtt.Message) -> None:
        """Acknowledge one."""
        self._paho.ack(message.mid, 1)
        self._count += 1
        if self._count % self._commands == 0:
            print(time.monotonic(), flush=True)


async def store_all(client: aiomqtt.Client, store: Store, taken: Taken) -> None:
    """Store and acknowledge one after the other."""
    async for message in client.messages:
        store(message.payload)
        taken.acknowledge(message)


async def answer_all(client: aiomqtt.Client, topic: str, taken: Taken) -> None:
    """Answer and acknowledge as many at once as the broker sends."""

    async def answer(message: aiomqtt.Message) -> None:
        await client.publish(f"{topic}/{uuid4()}", RESULT, qos=1)
        taken.acknowledge(message)

    async with asyncio.TaskGroup() as tasks:
        async for message in client.messages:
            tasks.create_task(answer(message))


async def subscribe(name: str, port: int, directory: Path, commands: int) -> None:
    """Take commands for ever."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    properties.SessionExpiryInterval = 3600
    client = aiomqtt.Client(
        "127.0.0.1",
        port,
        identifier=name,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        max_inflight_messages=RECEIVE_MAXIMUM,
        properties=properties,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    client.pending_calls_threshold = commands  # no warning of as many results on their way
    paho = client._client
    paho.manual_ack_set(True)
    taken = Taken(paho, commands)
    async with client:
        await client.subscribe(f"teddy/v1/{name}/command/+", qos=1)
        print("ready", flush=True)
        if name == "bare_with_result":
            await answer_all(client, f"teddy/v1/{name}/result", taken)
        else:
            await store_all(client, STORES[name](directory), taken)


if __name__ == "__main__":
    Path(sys.argv[3]).mkdir()
    asyncio.run(subscribe(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
