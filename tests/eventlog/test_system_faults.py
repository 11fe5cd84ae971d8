"""A real process on a real file system whose calls fail: by strace, and by a limit on file size."""

from __future__ import annotations

import asyncio
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from teddy_edge.errors import EXIT_IO, LogPoisoned
from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.settings import LogSettings

SETTINGS = LogSettings(segment_bytes_max=512, allocation_bytes=256)
ENTRY = Entry(5, b"x" * 100)
FAULTS = [
    ("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("fdatasync", "EIO"), ("fsync", "EIO"),
    ("ftruncate", "EIO"), ("rename", "EIO"),
]  # fmt: skip
strace = shutil.which("strace")


async def append_until_poisoned(directory: Path) -> int:
    """Append, and say each acknowledged number; what the process is to exit with."""
    try:
        log = EventLog.open(directory, SETTINGS)
        log.start()
        for size in (1, 2, 1, 2):
            print(await log.append([ENTRY] * size), flush=True)
        await log.close()
        await log.watch()
    except LogPoisoned:
        return EXIT_IO
    return 0


def main() -> int:
    """Run in the process whose calls fail."""
    directory, file_bytes_max = Path(sys.argv[1]), int(sys.argv[2])
    if file_bytes_max:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))
    return asyncio.run(append_until_poisoned(directory))


def run(directory: Path, *before: str, file_bytes_max: int = 0) -> tuple[int, int]:
    """Run the process; gives its exit code and the last number it called durable."""
    command = [*before, sys.executable, __file__, str(directory), str(file_bytes_max)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in result.stderr, result.stderr
    acknowledged = result.stdout.split()
    return result.returncode, int(acknowledged[-1]) if acknowledged else 0


async def check(directory: Path, acknowledged_seq: int) -> None:
    """What was acknowledged is there, and the log goes on."""
    log = EventLog.open(directory, SETTINGS)
    assert log.last_seq >= acknowledged_seq
    assert log.report.complete
    assert log.report.damage == []
    log.start()
    next_seq = log.last_seq + 1
    assert await log.append([ENTRY]) == next_seq
    await log.close()
    again = EventLog.open(directory, SETTINGS)
    assert [r.seq for r in again.read(1, 1000, 1 << 20)] == list(range(1, next_seq + 1))
    await again.close()


@pytest.mark.skipif(strace is None, reason="strace is not installed")
@pytest.mark.parametrize(("call", "error"), FAULTS)
def test_a_call_that_fails_once_ends_the_process_and_loses_nothing_acknowledged(
    call: str, error: str, tmp_path: Path
) -> None:
    """The Nth such call of a thread fails; the log is there already, so the writer is reached."""
    assert strace is not None
    number, poisoned = 1, 0
    while True:
        directory = tmp_path / str(number)
        asyncio.run(EventLog.open(directory, SETTINGS).close())
        inject = f"inject={call}:error={error}:when={number}"
        code, acknowledged = run(directory, strace, "-fqq", "-o", "/dev/null", "-e", inject)
        assert code in (0, EXIT_IO)
        asyncio.run(check(directory, acknowledged))
        if code == 0:
            break
        poisoned += 1
        number += 1
    assert poisoned >= 1


def test_a_write_that_the_system_takes_in_part_is_finished_or_poisons(tmp_path: Path) -> None:
    """At the limit on a file's size the system writes what fits, and refuses the rest."""
    codes = []
    for file_bytes_max in (100, 300, 420, 500, 1000):
        directory = tmp_path / str(file_bytes_max)
        code, acknowledged = run(directory, file_bytes_max=file_bytes_max)
        asyncio.run(check(directory, acknowledged))
        codes.append(code)
    assert codes == [EXIT_IO] * 4 + [0]


if __name__ == "__main__":
    sys.exit(main())
