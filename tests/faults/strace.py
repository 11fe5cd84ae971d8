"""The real daemon under strace, which lets one of its storage calls fail."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance.bear import DAEMON

STORAGE_CALLS = (
    "openat",
    "pread64",
    "pwrite64",
    "fdatasync",
    "fsync",
    "ftruncate",
    "rename",
    "mkdir",
)
SEQS_MAX = 40
"""Segments up to this number are watched."""
FLUSH_S_MAX = 60.0

_CALL = re.compile(r"(\d+) +(\w+)\((.*)")
_INJECTED = "(INJECTED)"


class Fault(NamedTuple):
    """What happens instead of a call: as strace's `inject` has it, "error=EIO" or "retval=0"."""

    call: str
    number: int
    """Which of the calls of one thread it is, from 1."""
    effect: str
    onwards: bool = False
    """Whether all later ones are hit too."""

    @property
    def expression(self) -> str:
        """As strace reads it."""
        return f"{self.call}:{self.effect}:when={self.number}{'+' * self.onwards}"


class Trace(NamedTuple):
    """The storage calls of a run, in order."""

    lines: list[str]

    @property
    def injected(self) -> list[int]:
        """Which of the lines were made to fail."""
        return [at for at, line in enumerate(self.lines) if _INJECTED in line]

    def calls(self) -> Counter[str]:
        """How often the busiest thread made each call."""
        counts = Counter(
            _CALL.findall("\n".join(line.partition("(")[0] + "(" for line in self.lines))
        )
        most: Counter[str] = Counter()
        for (_, call, _), count in counts.items():
            most[call] = max(most[call], count)
        return most


@cache
def why_not() -> str | None:
    """Say why strace cannot be used here; None if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-D", "-f", "--seccomp-bpf", "-e", "trace=fsync", "true"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return None if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()}"


def needs_strace() -> pytest.MarkDecorator:
    """Skip, and say why, where there is no strace."""
    return pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def daemon_under_strace(log: Path, trace: Path, *faults: Fault) -> tuple[str, ...]:
    """The arguments for Python that make it become the daemon, traced, with the same pid."""
    become = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
    watched = [argument for path in _paths(log) for argument in ("-P", str(path))]
    injections = [argument for fault in faults for argument in ("-e", f"inject={fault.expression}")]
    return (
        "-c", become, "strace", "-D", "-f", "--seccomp-bpf", "-y", "-o", str(trace),
        "-e", f"trace={','.join(STORAGE_CALLS)}", *injections, *watched,
        sys.executable, *DAEMON,
    )  # fmt: skip


def _paths(log: Path) -> list[Path]:
    numbered = [
        f"{seq:020}{suffix}"
        for seq in range(1, SEQS_MAX + 1)
        for suffix in (".log", ".log.new", ".torn", ".torn.new", ".log.damaged")
    ]
    return [log, *(log / name for name in ["origin", "origin.new", *numbered])]


def read_trace(trace: Path, exit_code: int) -> Trace:
    """Read what strace wrote; it ends a moment after the daemon."""
    deadline = time.monotonic() + FLUSH_S_MAX
    while not (text := trace.read_text()).endswith(f"exited with {exit_code} +++\n"):
        assert time.monotonic() < deadline, text[-2000:]
        time.sleep(0.01)
    return Trace([line for line in text.splitlines() if _CALL.match(line)])
