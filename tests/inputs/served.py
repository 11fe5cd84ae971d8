"""A local API with everything behind it fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from teddy_edge.errors import CommandRejected
from teddy_edge.inputs.api import LocalApi
from teddy_edge.local_client import LocalClient
from teddy_edge.settings import ApiSettings, CommandSettings, Settings
from teddy_edge.testing import FakeClock
from tests.inputs.recording import RecordingCommands, RecordingQueries


class FakePins:
    """`Pins` with one button, pressed as told."""

    def __init__(self) -> None:
        self.rejection: CommandRejected | None = None

    async def press(self, button: str) -> int:
        if button != "belly":
            raise CommandRejected("unknown_button", "the buttons are: belly", "button")
        if self.rejection is not None:
            raise self.rejection
        return 12


class FakeView:
    """A `BearView` over a list of events that a test adds to."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.given = 0
        self.more = asyncio.Event()
        self.is_complete = True
        self.rebuild: dict[str, Any] = {
            "is_running": False,
            "position": 0,
            "last_seq": 0,
            "took_s": None,
            "failed_because": None,
        }
        self.measured: dict[str, Any] = {
            "command_throughput": 0.0,
            "query_response_time": None,
            "cache_hit_rate": 0.0,
            "error_rate": 0.0,
            "read_model_freshness": 0.0,
            "commands": {"total": 0, "failed": 0},
            "queries": {"total": 0, "failed": 0},
            "cache": {"entries": 0, "hits": 0, "misses": 0, "evictions": 0},
            "log": {
                "last_seq": 0,
                "complete": True,
                "lost": 0,
                "damaged_places": 0,
                "files_set_aside": 0,
            },
            "read_models": {"position": 0},
            "sync": {"replays": 0, "replays_refused": 0, "too_large": 0},
        }

    def health(self) -> dict[str, Any]:
        return self.measured

    def begin_rebuild(self) -> bool:
        if self.rebuild["is_running"]:
            return False
        self.rebuild["is_running"] = True
        return True

    def tell(self, count: int, padding: str = "") -> None:
        start = len(self.told) + 1
        self.told += [{"seq": seq, "text": padding} for seq in range(start, start + count)]
        self.more.set()

    def status(self) -> dict[str, Any]:
        seq = len(self.told)
        return {
            "bear": "bear-001",
            "version": "0.1.0",
            "broker": {"host": "localhost", "port": 1883, "connected": False},
            "log": {
                "epoch": "e",
                "last_seq": seq,
                "confirmed_seq": seq,
                "complete": self.is_complete,
            },
            "rebuild": dict(self.rebuild),
            "clock_trust": "synced",
            "socket": "api.sock",
        }

    async def events(self, first_seq: int) -> AsyncIterator[dict[str, Any]]:
        seq = first_seq
        while True:
            while len(self.told) < seq:
                self.more.clear()
                await self.more.wait()
            self.given = seq
            yield self.told[seq - 1]
            seq += 1


class Served:
    """A local API on a socket of its own."""

    def __init__(
        self, directory: Path, pins: FakePins | None = None, request_timeout_s: float = 10.0
    ) -> None:
        self.settings = Settings(
            socket=directory / "api.sock",
            commands=CommandSettings(payload_bytes_max=1024, depth_max=4),
            api=ApiSettings(
                connections_max=6, listeners_max=2, request_timeout_s=request_timeout_s
            ),
        )
        self.clock = FakeClock()
        self.commands = RecordingCommands()
        self.queries = RecordingQueries()
        self.view = FakeView()
        self.api = LocalApi(self.settings, self.commands, self.queries, self.view, pins, self.clock)
        self.client = LocalClient(self.settings.socket_path)


@asynccontextmanager
async def serving(served: Served) -> AsyncIterator[Served]:
    task = asyncio.create_task(served.api.run())
    await asyncio.wait_for(served.api.ready.wait(), 60)
    try:
        yield served
    finally:
        task.cancel()
        await asyncio.wait_for(asyncio.wait({task}), 60)
    assert task.cancelled()
