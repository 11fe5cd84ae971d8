"""The real daemon, and a cloud as light as can be, which hears what it says and confirms it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

from benchmarks.wire import WireClient
from teddy_edge.errors import DaemonUnreachable
from teddy_edge.local_client import LocalClient
from teddy_edge.sync.signals import Confirmation, encode_signal
from teddy_edge.sync.wire import EventBatch, decode_batch
from teddy_edge.topics import Topics

TOPICS = Topics("bear-001")
PARENT = {"id": "parent-123", "role": "parent"}
CHILD = {"parent_id": "parent-123", "device_id": "d", "name": "Emma", "age": 7, "udid": "u-1"}
BATCH_BYTES_MAX = 4 * 1024**2
START_S_MAX = 60.0


class BearUnderLoad:
    """One daemon with its settings as they are by default, but for unsigned commands and rate."""

    def __init__(self, directory: Path, port: int, launcher: tuple[str, ...] = ()) -> None:
        """The launcher is put before the daemon's command line, and becomes the daemon."""
        self.batches: list[tuple[EventBatch, int]] = []
        """What came upstream, each with the bytes of its packet."""
        self.process_id = 0
        self._results: asyncio.Queue[float] = asyncio.Queue()
        self._client = LocalClient(directory / "api.sock")
        self._directory = directory
        self._launcher = launcher
        self._port = port
        self._cloud: WireClient | None = None
        self._conversation_id = ""

    @contextlib.asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        """Run the daemon with a child that talks; leaves nothing running."""
        environ = {
            **os.environ,
            "TEDDY_EDGE_SOCKET": str(self._client.path),
            "TEDDY_EDGE_DATA_DIRECTORY": str(self._directory / "data"),
            "TEDDY_EDGE_BROKER__HOST": "127.0.0.1",
            "TEDDY_EDGE_BROKER__PORT": str(self._port),
            "TEDDY_EDGE_COMMANDS__ALLOW_UNSIGNED": "true",
            "TEDDY_EDGE_COMMANDS__PER_MINUTE": "1000000",
        }
        heard = [f"teddy/v1/{TOPICS.bear}/result/+", TOPICS.events]
        self._cloud = await WireClient.connect(self._port, "cloud", self._hear, heard)
        with (self._directory / "daemon.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(*self._launcher, sys.executable, "-m", "teddy_edge.cli", "run", "--simulate"),
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.process_id = process.pid
        try:
            await asyncio.to_thread(self._begin_to_talk)
            yield
        finally:
            process.terminate()
            await process.wait()
            self._cloud.close()

    def _begin_to_talk(self) -> None:
        deadline = time.monotonic() + START_S_MAX
        while not self._is_connected():
            assert time.monotonic() < deadline, "the daemon does not start"
            time.sleep(0.05)
        child = self._client.command("register_child", {"data": CHILD}).body["data"]
        talk = self._client.command("start_conversation", {"data": child}).body["data"]
        self._conversation_id = talk["conversation_id"]

    def _is_connected(self) -> bool:
        try:
            return bool(self._client.status().body["broker"]["connected"])
        except DaemonUnreachable:
            return False

    def command(self, bear: str) -> tuple[str, bytes]:
        """Make a command to this bear, or to a subscriber in its place: its topic and payload."""
        name = "record_conversation_turn"
        envelope = {
            "id": str(uuid4()),
            "name": name,
            "actor": PARENT,
            "issued_at": "2026-11-22T10:00:00Z",
            "data": {
                "conversation_id": self._conversation_id,
                "speaker": "child",
                "topics": ["animals"],
                "sentiment": 0.5,
                "duration_s": 1.5,
            },
        }
        return Topics(bear).command(name), json.dumps(envelope).encode()

    async def results(self, count: int) -> float:
        """Wait for so many results; gives when the last of them came (monotonic seconds)."""
        at_s = 0.0
        for _ in range(count):
            at_s = await self._results.get()
        return at_s

    def _hear(self, topic: str, payload: bytes, packet_bytes: int) -> None:
        if topic != TOPICS.events:
            self._results.put_nowait(time.monotonic())
            return
        batch = decode_batch(payload, BATCH_BYTES_MAX)
        self.batches.append((batch, packet_bytes))
        assert self._cloud is not None
        confirmation = Confirmation(epoch=batch.epoch, seq=batch.last_seq)
        self._cloud.send(TOPICS.confirmed, encode_signal(confirmation))
