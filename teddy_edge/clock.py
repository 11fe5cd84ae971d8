"""Time and ids. The only module that asks the machine what time it is.

Order never comes from here (it is the log's sequence number); timers use `monotonic_ns`. Wall time
is what people read, and comes with a `Trust`, since a Pi without a network boots in the past.
"""

from __future__ import annotations

import ctypes
import enum
import os
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

TIME_ERROR = 5
"""What adjtimex(2) returns while the kernel's clock is not synchronised."""

NS_PER_S = 1_000_000_000


class Trust(enum.StrEnum):
    """How far the wall clock may be believed."""

    UNSYNCED = "unsynced"
    SYNCED = "synced"
    SET = "set"
    """Set by a parent."""


class Clock(Protocol):
    """What the daemon knows of time."""

    @property
    def boot_id(self) -> uuid.UUID:
        """The kernel's id of this boot; monotonic times compare only within one."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, as the machine believes."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back within a boot."""

    def trust(self) -> Trust:
        """Whether the wall time may be believed now."""


class SystemClock:
    """The machine's own clocks; trust comes from the kernel (adjtimex), not from a guess."""

    def __init__(self) -> None:
        self._boot_id = uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        self._adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex

    @property
    def boot_id(self) -> uuid.UUID:
        """See `Clock`."""
        return self._boot_id

    def wall_ns(self) -> int:
        """See `Clock`."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """See `Clock`."""
        return time.monotonic_ns()

    def trust(self) -> Trust:
        """Ask the kernel, changing nothing (modes = 0 in the first field of struct timex)."""
        timex = ctypes.create_string_buffer(512)
        state = self._adjtimex(timex)
        if state < 0:
            raise OSError(ctypes.get_errno(), "adjtimex")
        return Trust.UNSYNCED if state == TIME_ERROR else Trust.SYNCED


def new_id(clock: Clock) -> uuid.UUID:
    """Make a UUIDv7 (RFC 9562): 48 bits of wall milliseconds, then random bits."""
    milliseconds = clock.wall_ns() // 1_000_000 & (1 << 48) - 1
    random = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (random >> 64 & 0xFFF) << 64
    return uuid.UUID(int=value | 0b10 << 62 | random & (1 << 62) - 1)


def rfc3339(wall_ns: int) -> str:
    """Write a wall time in UTC with milliseconds, as it crosses every border."""
    moment = datetime.fromtimestamp(wall_ns // NS_PER_S, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{wall_ns % NS_PER_S // 1_000_000:03d}Z"
