"""Subscribers to compare a bear with: each takes commands one by one and acknowledges by hand.

    python -m benchmarks.subscribers NAME PORT DIRECTORY COMMANDS

`bare` does nothing else; the others store each command durably before they acknowledge it. After
every so many commands a line says when the last of them was acknowledged (monotonic seconds).
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
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

RECEIVE_MAXIMUM = 64
"""As a bear has it."""

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


async def subscribe(name: str, port: int, directory: Path, commands: int) -> None:
    """Take commands for ever."""
    store = STORES[name](directory)
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    properties.SessionExpiryInterval = 3600
    client = aiomqtt.Client(
        "127.0.0.1",
        port,
        identifier=name,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        properties=properties,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    paho = client._client
    paho.manual_ack_set(True)
    async with client:
        await client.subscribe(f"teddy/v1/{name}/command/+", qos=1)
        print("ready", flush=True)
        taken = 0
        async for message in client.messages:
            store(message.payload)
            paho.ack(message.mid, 1)
            taken += 1
            if taken % commands == 0:
                print(time.monotonic(), flush=True)


if __name__ == "__main__":
    Path(sys.argv[3]).mkdir()
    asyncio.run(subscribe(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
