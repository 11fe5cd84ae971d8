"""A mosquitto of our own: a real broker on a loopback port, for the tests and the playground.

It can be stopped, killed and started again on the same port. Its configuration, its log, its
process id and what it persists lie in one directory, so that another process can take it over.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from teddy_edge.errors import BrokerUnavailable

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.01
PORTS = range(20_000, 32_000)
"""Below Linux's range for outgoing connections: a client that tries a port of that range while the
broker is down can connect to itself, and then keeps the broker from coming back."""


@dataclass(frozen=True, slots=True)
class Persistence:
    """When mosquitto writes its sessions and retained messages to its file.

    With `on_changes` after every `interval` changes, else every `interval` seconds; a clean stop
    always writes, a SIGKILL never.
    """

    interval: int = 1800
    on_changes: bool = False


def find_mosquitto() -> Path:
    """Find the program; Debian puts it where a person's PATH does not look."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BrokerUnavailable(
            "mosquitto is not on PATH or in /usr/sbin; install it: apt-get install mosquitto"
        )
    return Path(found)


def free_port() -> int:
    """Choose a loopback port that nobody listens on now."""
    for port in random.sample(PORTS, 100):
        if is_free(port):
            return port
    raise BrokerUnavailable(f"no free loopback port between {PORTS.start} and {PORTS.stop}")


def is_free(port: int) -> bool:
    """Tell whether a broker could listen on a loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Mosquitto:
    """One broker process; `lines` are further lines of its configuration (an ACL, a listener)."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        persistence: Persistence | None = Persistence(),
        lines: Sequence[str] = (),
    ) -> None:
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self.log_file = directory / "mosquitto.log"
        self.config_file = directory / "mosquitto.conf"
        self.pid_file = directory / "mosquitto.pid"
        self._directory = directory
        self._persistence = persistence
        self._lines = lines
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The running process, also one that another process of ours started here."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        try:
            pid = int(self.pid_file.read_text())
            is_ours = str(self.config_file).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if is_ours else None

    def start(self) -> None:
        """Start it and wait until it accepts connections, or raise `BrokerUnavailable`."""
        if self.pid is not None:
            return
        program = find_mosquitto()
        if not is_free(self.port):
            raise BrokerUnavailable(f"port {self.port} is taken by another program")
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.config_file.write_text("\n".join(self._config()) + "\n")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (a program that we found)
                [program, "-c", self.config_file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C on the terminal is for whoever owns the broker
            )
        self.pid_file.write_text(str(self._process.pid))
        self._wait_until_it_accepts(self._process)

    def stop(self) -> None:
        """End it cleanly; it writes its sessions first. Nothing happens if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would; what it had not written is gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it cleanly and start it on the same port."""
        self.stop()
        self.start()

    def log_tail(self, lines_max: int = 10) -> str:
        """The last lines that it logged."""
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines_max:])

    def _config(self) -> list[str]:
        lines = [
            f"listener {self.port} {self.host}",
            "allow_anonymous true",
            "set_tcp_nodelay true",
            "max_inflight_messages 1000",
            "max_queued_messages 100000",
            "log_type error",
            "log_type warning",
            "log_type notice",
            *self._lines,
        ]
        if os.getuid() == 0:  # as root, mosquitto would become a user who cannot read here
            lines.append("user root")
        if self._persistence is not None:
            lines += [
                "persistence true",
                f"persistence_location {self._directory}/",
                f"autosave_interval {self._persistence.interval}",
                f"autosave_on_changes {str(self._persistence.on_changes).lower()}",
            ]
        return lines

    def _wait_until_it_accepts(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1):
                return
            time.sleep(POLL_S)
        self.kill()
        raise BrokerUnavailable(f"mosquitto did not start on port {self.port}:\n{self.log_tail()}")

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            os.kill(pid, number)

    def _end(self, number: signal.Signals) -> None:
        deadline = time.monotonic() + STOP_TIMEOUT_S
        self._signal(number)
        while self.pid is not None:
            if time.monotonic() > deadline:
                number, deadline = signal.SIGKILL, deadline + STOP_TIMEOUT_S
                self._signal(number)
            time.sleep(POLL_S)
        if self._process is not None:  # dead, and maybe not seen to be so yet
            self._process.wait()
        self.pid_file.unlink(missing_ok=True)
