"""Processes whose flushes take as long as a memory card's.

    python -m benchmarks.card DIRECTORY

says in seconds what one flush takes, to a process that was started in the same way.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

FLUSHING = "fsync,fdatasync,sync_file_range,sync,syncfs"
"""The system calls that wait for the device."""
FLUSHES = 100
PAGE_BYTES = 4096


def require_strace() -> None:
    """End with what to install where there is no strace, and with its reason where it may not."""
    if shutil.which("strace") is None:
        sys.exit("--card-ms needs strace, which is not installed (as root: apt-get install strace)")
    tried = subprocess.run([*slowed_by(0.001), "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        sys.exit(f"--card-ms needs strace, which may not trace here: {tried.stderr.strip()}")


def slowed_by(card_ms: float) -> tuple[str, ...]:
    """Give what to put before a program, so that each of its flushes takes so much longer.

    The program keeps the process id that it would have had: with -D strace is beside it, not above.
    With --seccomp-bpf no other call is stopped. One thread's delay does not hold up another's.
    """
    if not card_ms:
        return ()
    delay = f"inject={FLUSHING}:delay_exit={round(card_ms * 1000)}us"
    quiet = ("-qq", "-o", os.devnull, "-e", "signal=none", "-e", f"trace={FLUSHING}")
    return ("strace", "-D", "-f", "--seccomp-bpf", *quiet, "-e", delay)


def flush_s(directory: Path, card_ms: float) -> float:
    """Give the median time of one flush to a process that is slowed down so much."""
    measuring = (sys.executable, "-m", "benchmarks.card", str(directory))
    return float(subprocess.check_output([*slowed_by(card_ms), *measuring]))


def own_flush_s(directory: Path) -> float:
    """Give the median time of one write and fdatasync of a page that is on the device."""
    path, took_s = directory / "page", []
    path.write_bytes(bytes(PAGE_BYTES))
    descriptor = os.open(path, os.O_RDWR)
    for number in range(FLUSHES):
        began_s = time.perf_counter()
        os.pwrite(descriptor, bytes([number % 256]) * PAGE_BYTES, 0)
        os.fdatasync(descriptor)
        took_s.append(time.perf_counter() - began_s)
    os.close(descriptor)
    return statistics.median(took_s)


if __name__ == "__main__":
    print(own_flush_s(Path(sys.argv[1])))
