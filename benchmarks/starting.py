"""How long a bear of some age takes to know what its decisions rest on, and its memory then.

    python -m benchmarks.starting DIRECTORY

The log is grown by presses of a button, two events each. Compared are a start that reads all of the
log, and one from a checkpoint that is as old as settings allow; each in a process of its own, from
opening the log on.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.progress import Progress
from teddy_edge.assembly import checkpoint_of
from teddy_edge.clock import SystemClock, new_id
from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.events import ButtonPressed, Cause, CommandDone, Event, encode_event
from teddy_edge.settings import Settings

COUNTS = (10_000, 100_000, 1_000_000)
EVENTS_PER_PRESS = 2
PRESSES_AT_ONCE = 250


def settings_in(directory: Path) -> Settings:
    """Give the defaults, with the data in a directory."""
    return Settings(data_directory=directory.absolute())


async def grow(settings: Settings, until_seq: int) -> None:
    """Append presses up to a number."""
    log, clock = EventLog.open(settings.log_directory, settings.log), SystemClock()
    log.start()

    def entry(event: Event, stream: str, cause: Cause) -> Entry:
        return Entry(event.data_class, encode_event(event, stream, cause, clock))

    while log.last_seq < until_seq:
        done_before = log.last_seq // EVENTS_PER_PRESS
        for number in range(done_before, done_before + PRESSES_AT_ONCE):
            cause = Cause(new_id(clock), None, "left_paw", "device")
            done = CommandDone("press_button", {}, done_before=number)
            press = ButtonPressed("left_paw")
            written = log.append([entry(press, "bear", cause), entry(done, "commands", cause)])
        await written
    await log.close()


async def write_checkpoint(settings: Settings) -> None:
    """Write one as of the end of the log."""
    log = EventLog.open(settings.log_directory, settings.log)
    await checkpoint_of(settings, SystemClock(), log).advance()
    await log.close()


def start(directory: Path) -> None:
    """Print milliseconds and MiB of a start."""
    settings = settings_in(directory)
    begin_s = time.perf_counter()
    log = EventLog.open(settings.log_directory, settings.log)
    checkpoint_of(settings, SystemClock(), log).begin()
    took_ms = (time.perf_counter() - begin_s) * 1000
    print(took_ms, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def median_start(settings: Settings, rounds: int, checkpoint: bytes | None) -> tuple[float, float]:
    """Give median milliseconds and MiB of starts, each from this checkpoint or from none."""
    directory = str(settings.data_directory)
    command = (sys.executable, "-m", "benchmarks.starting", directory, "--once")
    runs = []
    for _ in range(rounds):
        settings.checkpoint_file.unlink(missing_ok=True)  # a long start leaves one
        if checkpoint is not None:
            settings.checkpoint_file.write_bytes(checkpoint)
        runs.append(subprocess.check_output(command, text=True).split())
    times, sizes = zip(*runs, strict=True)
    return statistics.median(map(float, times)), statistics.median(map(float, sizes))


def measure(directory: Path, count: int, rounds: int) -> str:
    """Grow the log to so many events, and give one line."""
    settings = settings_in(directory)
    asyncio.run(grow(settings, count - settings.commands.checkpoint_records))
    settings.checkpoint_file.unlink(missing_ok=True)
    asyncio.run(write_checkpoint(settings))
    checkpoint = settings.checkpoint_file.read_bytes()
    asyncio.run(grow(settings, count))
    whole_ms, whole_mib = median_start(settings, rounds, None)
    short_ms, short_mib = median_start(settings, rounds, checkpoint)
    file_bytes = len(checkpoint)
    return (
        f"{count:10,}{whole_ms:12,.0f}{whole_mib:10.1f}{short_ms:15,.0f}{short_mib:10.1f}"
        f"{whole_ms / short_ms:8.1f}{file_bytes:14,}"
    )


def main() -> None:
    """Grow one log, and measure at each size."""
    parser = argparse.ArgumentParser(description="Measure how long a bear of some age starts.")
    parser.add_argument("directory", type=Path, help="where to write; what is there stays")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--once", action="store_true", help="start from what is there, once")
    given = parser.parse_args()
    if given.once:
        start(given.directory)
        return
    directory = given.directory / "starting"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    print(f"{'events':>10}{'all, ms':>12}{'MiB':>10}{'checkpoint, ms':>15}{'MiB':>10}", end="")
    print(f"{'ratio':>8}{'file, bytes':>14}", flush=True)
    progress = Progress()
    for count in COUNTS:
        progress.show(f"growing to {count:,} events, and starting")
        line = measure(directory, count, given.rounds)
        progress.clear()
        print(line, flush=True)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
