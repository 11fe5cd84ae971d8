"""Durable appends a second: the log, the raw limit and sqlite, interleaved in one run.

    python benchmarks/appends.py DIRECTORY [DEVICE]

With DEVICE (as in /sys/block) also the bytes and flushes that it counted for each event.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.eventlog.frame import FRAME_BYTES_MIN
from teddy_edge.settings import LogSettings

ROUNDS = 5
PRODUCERS = {1: 2000, 64: 20_000}
"""Producers, and events of all of them."""

Run = Callable[[Path, int, int, int], None]


def log(directory: Path, producers: int, events: int, event_bytes: int) -> None:
    """Append with the log, each producer waiting for its own event."""
    asyncio.run(_log(directory, producers, events, event_bytes))


async def _log(directory: Path, producers: int, events: int, event_bytes: int) -> None:
    opened = EventLog.open(directory / "log", LogSettings())
    opened.start()
    entry = Entry(5, bytes(range(200)) * (event_bytes // 200) + bytes(event_bytes % 200))

    async def produce(count: int) -> None:
        for _ in range(count):
            await opened.append([entry])

    await asyncio.gather(*[produce(events // producers) for _ in range(producers)])
    await opened.close()


def raw(directory: Path, producers: int, events: int, event_bytes: int) -> None:
    """Write and fdatasync the same bytes into zeros: the limit of the device and file system."""
    size = event_bytes + FRAME_BYTES_MIN
    descriptor = os.open(directory / "raw", os.O_RDWR)
    batch = b"\xaa" * size * producers
    for number in range(events // producers):
        os.pwrite(descriptor, batch, number * len(batch))
        os.fdatasync(descriptor)
    os.close(descriptor)


def sqlite(directory: Path, producers: int, events: int, event_bytes: int) -> None:
    """Insert into sqlite, WAL, synchronous=FULL, one transaction for each batch."""
    database = sqlite3.connect(directory / "events.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, body BLOB)")
    body = b"\xaa" * event_bytes
    for _ in range(events // producers):
        database.execute("BEGIN")
        database.executemany("INSERT INTO events (body) VALUES (?)", [(body,)] * producers)
        database.execute("COMMIT")
    database.close()


def prepare(directory: Path, events: int, event_bytes: int) -> None:
    """Make an empty directory with a file of zeros for the raw limit, all of it synced."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    (directory / "raw").write_bytes(bytes((event_bytes + FRAME_BYTES_MIN) * events))
    os.sync()


def counters(device: str | None) -> tuple[int, int]:
    """Give bytes written and flushes done by the device so far."""
    if device is None:
        return 0, 0
    fields = Path(f"/sys/block/{device}/stat").read_text().split()
    return int(fields[6]) * 512, int(fields[15])


def main() -> None:
    """Print medians and the ratio to the raw limit."""
    directory = Path(sys.argv[1]) / "appends"
    device = sys.argv[2] if len(sys.argv) > 2 else None
    runs: dict[str, Run] = {"raw limit": raw, "log": log, "sqlite FULL": sqlite}
    for event_bytes in (200, 1000):
        for producers, events in PRODUCERS.items():
            found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in runs}
            for _ in range(ROUNDS):
                for name, run in runs.items():
                    prepare(directory, events, event_bytes)
                    before, begin_s = counters(device), time.perf_counter()
                    run(directory, producers, events, event_bytes)
                    took_s, after = time.perf_counter() - begin_s, counters(device)
                    device_bytes = (after[0] - before[0]) / events
                    found[name].append((events / took_s, device_bytes, after[1] - before[1]))
            print(f"\n{producers} producers, {event_bytes} B an event, {events} events")
            report(found, events)


def report(found: dict[str, list[tuple[float, float, float]]], events: int) -> None:
    """Print one line for each."""
    limit = statistics.median(rate for rate, _, _ in found["raw limit"])
    print(f"{'':14}{'events/s':>12}{'of limit':>10}{'device B/event':>16}{'flushes/event':>15}")
    for name, results in found.items():
        rate, device_bytes, flushes = (
            statistics.median(column) for column in zip(*results, strict=True)
        )
        print(
            f"{name:14}{rate:12,.0f}{rate / limit:10.2f}{device_bytes:16,.0f}"
            f"{flushes / events:15.3f}"
        )


if __name__ == "__main__":
    main()
