"""A whole bear under test: the real daemon as a process, on a real broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from teddy_edge.errors import DaemonUnreachable
from teddy_edge.local_client import LocalClient

DAEMON = ("-m", "teddy_edge.cli", "run", "--simulate")
START_S_MAX = 60.0
STOP_S_MAX = 30.0

EMMA = {
    "parent_id": "parent-123",
    "device_id": "device-456",
    "name": "Emma",
    "age": 7,
    "udid": "unique-device-emma-001",
}


class Bear:
    """One bear's card and settings; its daemon can be started and killed again and again."""

    def __init__(self, directory: Path, broker_port: int, **settings: str) -> None:
        self.data_directory = directory / "data"
        self.socket = directory / "run" / "api.sock"
        self.log_file = directory / "daemon.log"
        self.client = LocalClient(self.socket)
        self._environ = {
            **os.environ,
            "TEDDY_EDGE_SOCKET": str(self.socket),
            "TEDDY_EDGE_DATA_DIRECTORY": str(self.data_directory),
            "TEDDY_EDGE_BROKER__HOST": "127.0.0.1",
            "TEDDY_EDGE_BROKER__PORT": str(broker_port),
            "TEDDY_EDGE_BROKER__BACKOFF_S_MIN": "0.1",
            "TEDDY_EDGE_BROKER__BACKOFF_S_MAX": "0.3",
            "TEDDY_EDGE_COMMANDS__ALLOW_UNSIGNED": "true",
            "TEDDY_EDGE_QUERIES__CATCH_UP_S_MAX": "30",
            "TEDDY_EDGE_SYNC__STATE_WINDOW_S": "0.05",
            "TEDDY_EDGE_DIAGNOSTICS__FORMAT": "json",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, program: Sequence[str] = DAEMON) -> None:
        """Start the daemon and wait until its socket answers."""
        self.launch(program)
        assert self.wakes(), self.log_file.read_text()

    def launch(self, program: Sequence[str] = DAEMON) -> None:
        """Start the daemon."""
        with self.log_file.open("ab") as log_file:
            self._process = subprocess.Popen(
                [sys.executable, *program], env=self._environ, stdout=log_file, stderr=log_file
            )

    def wakes(self) -> bool:
        """Wait until its socket answers; false if it ends before."""
        assert self._process is not None
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline:
            try:
                self.client.status()
            except DaemonUnreachable:
                if self._process.poll() is not None:
                    return False
                time.sleep(0.02)
            else:
                return True
        raise AssertionError(f"not ready within {START_S_MAX} s: {self.log_file.read_text()}")

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self._process is not None
        return self._process.pid

    def wait_until(self, what: str, value: object) -> None:
        """Wait until a dotted part of the status has a value."""
        deadline = time.monotonic() + START_S_MAX
        while (found := self._part(what)) != value:
            assert time.monotonic() < deadline, f"{what} is {found}, not {value}"
            time.sleep(0.02)

    def wait_until_confirmed(self, seq: int) -> None:
        """Wait until the cloud has confirmed this event, and maybe later ones."""
        deadline = time.monotonic() + START_S_MAX
        while (found := self.client.status().body["log"]["confirmed_seq"]) < seq:
            assert time.monotonic() < deadline, f"{found} is confirmed, not {seq}"
            time.sleep(0.02)

    def _part(self, what: str) -> object:
        part: Any = self.client.status().body
        for key in what.split("."):
            part = part[key]
        return part

    def kill(self) -> None:
        """SIGKILL, as the power going away does to a process."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, as systemd does; gives the exit code."""
        return self._end(signal.SIGTERM)

    def wait_for_death(self) -> int:
        """Wait until the daemon has ended by itself; gives the exit code."""
        assert self._process is not None
        code = self._process.wait(START_S_MAX)
        self._process = None
        return code

    def _end(self, sign: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(sign)
        code = self._process.wait(STOP_S_MAX)
        self._process = None
        return code

    def __enter__(self) -> Self:
        """Give the bear, not started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind."""
        if self._process is not None:
            self.kill()

    def events(self) -> list[dict[str, Any]]:
        """Every event that the running daemon has."""
        last_seq = self.client.status().body["log"]["last_seq"]
        found: list[dict[str, Any]] = []
        if last_seq:
            for event in self.client.events(1):
                found.append(event)
                if event["seq"] == last_seq:
                    break
        return found

    def events_of(self, event_type: str) -> list[dict[str, Any]]:
        """Every event of one type."""
        return [event for event in self.events() if event["type"] == event_type]
