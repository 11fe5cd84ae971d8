"""Time and ids. The only module that asks the machine what time it is.

Order never comes from here (it is the log's sequence number); timers use `monotonic_ns`. Wall time
is what people read, and comes with a `Trust`, since a Pi without a network boots in the past. Who
reads both asks for the trust first: should the clock be set in between, it says too little.
"""

from __future__ import annotations

import ctypes
import enum
import os
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

TIME_ERROR = 5
"""What adjtimex(2) returns while the kernel's clock is not synchronised."""

TIMEX_BYTES_MAX = 512
"""More than struct timex takes on any machine; nothing in it is read."""

NS_PER_S = 1_000_000_000
NS_PER_US = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Trust(enum.StrEnum):
    """How far the wall clock may be believed."""

    UNSYNCED = "unsynced"
    SYNCED = "synced"
    SET = "set"
    """Set by a parent."""


@dataclass(frozen=True, slots=True)
class KnownTime:
    """What is known of the time in this boot."""

    offset_ns: int
    """From monotonic to wall time."""
    trust: Trust


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

    def hold(self, known: KnownTime) -> None:
        """Tell the time by this until the next boot, while the kernel does not know it."""


class SystemClock:
    """The machine's own clocks; trust comes from the kernel (adjtimex), not from a guess.

    The kernel gives its trust up about nine hours after it last heard from a time server.
    """

    def __init__(self) -> None:
        self._boot_id = uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        # A PyDLL keeps the interpreter's lock: the call is shorter than getting it again.
        self._adjtimex = ctypes.PyDLL(None, use_errno=True).adjtimex
        self._timex = ctypes.create_string_buffer(TIMEX_BYTES_MAX)
        self._held: KnownTime | None = None

    @property
    def boot_id(self) -> uuid.UUID:
        """See `Clock`."""
        return self._boot_id

    def wall_ns(self) -> int:
        """See `Clock`."""
        if self._held is None or self._kernel_knows():
            return time.time_ns()
        return time.monotonic_ns() + self._held.offset_ns

    def monotonic_ns(self) -> int:
        """See `Clock`."""
        return time.monotonic_ns()

    def trust(self) -> Trust:
        """See `Clock`."""
        if self._kernel_knows():
            return Trust.SYNCED
        return Trust.UNSYNCED if self._held is None else self._held.trust

    def hold(self, known: KnownTime) -> None:
        """See `Clock`."""
        self._held = known

    def _kernel_knows(self) -> bool:
        """Ask the kernel, changing nothing (modes = 0 in the first field of struct timex)."""
        state = self._adjtimex(self._timex)
        if state < 0:
            raise OSError(ctypes.get_errno(), "adjtimex")
        return bool(state != TIME_ERROR)


def new_id(clock: Clock) -> uuid.UUID:
    """Make a UUIDv7 (RFC 9562): 48 bits of wall milliseconds, then random bits."""
    milliseconds = clock.wall_ns() // 1_000_000 & (1 << 48) - 1
    random = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (random >> 64 & 0xFFF) << 64
    return uuid.UUID(int=value | 0b10 << 62 | random & (1 << 62) - 1)


def rfc3339(wall_ns: int) -> str:
    """Write a wall time in UTC with milliseconds, as it crosses every border."""
    moment = datetime.fromtimestamp(wall_ns // NS_PER_S, UTC)
    return f"{moment.isoformat()[:19]}.{wall_ns % NS_PER_S // 1_000_000:03d}Z"


def microseconds(moment: datetime) -> int:
    """Give a time in microseconds since 1970, exactly: a datetime holds no more."""
    return (moment - EPOCH) // timedelta(microseconds=1)
