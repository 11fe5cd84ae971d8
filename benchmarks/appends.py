"""Durable appends a second: the log, the limit, and others, interleaved in one run.

    python -m benchmarks.appends DIRECTORY [--device DEVICE]

With --card-ms every fdatasync takes that much longer, as on a memory card; then only those are
compared that call it from Python. A virtual disk syncs in 0.1 ms, where waking a thread costs as
much as the sync; a card takes 1 ms and more.

The log and the group commit are asked by producers that each wait for their own event, in an event
loop that goes on meanwhile. "By 64" is one caller with 64 events at once. A peer blocks its caller;
"awaited" is the same in a thread, as an event loop would have to do it.

Rates are those of appending alone. Device bytes and flushes are what the device counted from the
first event until everything was closed, so nobody else should write to it; by default it is the
one that holds DIRECTORY.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import os
import shutil
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from benchmarks.device import Counters, counters, device_under
from benchmarks.peers import (
    Appending,
    Contender,
    Load,
    eventsourcing,
    group_commit,
    persist_queue,
    raw,
    sqlite,
    sqlite_off_the_loop,
    synchronous_of_sqlite,
)
from benchmarks.progress import Progress
from teddy_edge.eventlog import Entry, EventLog, Policy
from teddy_edge.settings import LogSettings

EVENT_BYTES = (200, 1000)
TIMES = {1: 2000, 64: 300}
"""Producers, and how often each of them appends."""
LONE_TIMES = 2000
"""How many events those append that make one durable at a time, whatever the producers."""
LIMIT = "raw limit"
DATA_CLASS = 5
SETTINGS = LogSettings()
SPARES = SETTINGS.spare_segments_max
POLICY = Policy(removable=frozenset({DATA_CLASS}))
LIBRARIES = {"eventsourcing": "eventsourcing", "persistqueue": "persist-queue"}
"""Modules, and the names of what they are installed by."""


async def opened(directory: Path) -> EventLog:
    """Open a log that writes; what it holds may leave it once it is confirmed."""
    log = EventLog.open(directory / "log", SETTINGS, policy=POLICY)
    log.start()
    return log


@contextmanager
def fresh_log(directory: Path, load: Load) -> Iterator[Appending]:
    """Append with a new log, each producer waiting for its own event."""
    with asyncio.Runner() as runner:
        log = runner.run(opened(directory))
        yield lambda: runner.run(produce(log, load))
        runner.run(log.close())


async def produce(log: EventLog, load: Load) -> None:
    """Let every producer append one event after the other."""
    entry = Entry(DATA_CLASS, load.body)

    async def produce_one_by_one() -> None:
        for _ in range(load.times):
            await log.append([entry])

    await asyncio.gather(*[produce_one_by_one() for _ in range(load.together)])


@contextmanager
def log_in_batches(directory: Path, load: Load) -> Iterator[Appending]:
    """Append as many events at once as there are producers, as those peers do that can."""
    entries = [Entry(DATA_CLASS, load.body)] * load.together

    async def append() -> None:
        for _ in range(load.times):
            await log.append(entries)

    with asyncio.Runner() as runner:
        log = runner.run(opened(directory))
        yield lambda: runner.run(append())
        runner.run(log.close())


@contextmanager
def recycled_log(directory: Path, load: Load) -> Iterator[Appending]:
    """The same as a bear does after some time: in files that retention has freed."""
    with asyncio.Runner() as runner:
        log = runner.run(opened(directory))
        runner.run(begin_recycled_segment(log, directory))
        yield lambda: runner.run(produce(log, load))
        runner.run(log.close())


async def begin_recycled_segment(log: EventLog, directory: Path) -> None:
    """Fill segments, let all leave the log that may, and append until one of them is used again."""
    entries = [Entry(DATA_CLASS, bytes(1000))] * 64
    while log.last_seq * 1000 < (SPARES + 1) * SETTINGS.segment_bytes_max:
        await log.append(entries)
    while log.retention.reduce(log.last_seq):
        pass
    if spare_count(directory) < SPARES:
        raise RuntimeError("retention kept no file for the next segments")
    while spare_count(directory) == SPARES:
        await log.append(entries)


def spare_count(directory: Path) -> int:
    """Count the files that wait for a segment."""
    return len(list((directory / "log").glob("*.spare")))


class Cost(NamedTuple):
    """What one run took."""

    events_per_s: float
    device: Counters | None


SYNCING_FROM_PYTHON = (raw, fresh_log, log_in_batches, recycled_log, group_commit)
"""Those that `--card-ms` slows down."""


@dataclass(slots=True)
class Row:
    """One contender, under one load, and what each of its runs took."""

    name: str
    contender: Contender
    load: Load
    costs: list[Cost] = field(default_factory=list)

    def run(self, directory: Path, device: Path | None) -> None:
        """Run it once more, in an empty directory."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        with self.contender(directory, self.load) as append:
            os.sync()
            before = counters(device) if device else None
            begin_s = time.perf_counter()
            append()
            took_s = time.perf_counter() - begin_s
        spent = counters(device).since(before) if device and before else None
        self.costs.append(Cost(self.load.events / took_s, spent))

    @property
    def events_per_s(self) -> float:
        """The median rate."""
        return statistics.median(cost.events_per_s for cost in self.costs)

    def shown(self, limit_per_s: float) -> str:
        """One line, with medians and the ratio to the limit."""
        ratio = self.events_per_s / limit_per_s
        line = f"{self.name:28}{self.events_per_s:12,.0f}{ratio:10.2f}"
        counted = [cost.device for cost in self.costs if cost.device is not None]
        if not counted:
            return f"{line}{'not counted':>16}{'not counted':>15}"
        events = self.load.events
        written_bytes = statistics.median(device.written_bytes for device in counted) / events
        flushes = statistics.median(device.flushes for device in counted) / events
        return f"{line}{written_bytes:16,.0f}{flushes:15.3f}"


def rows_for(producers: int, event_bytes: int) -> list[Row]:
    """Everything that can run here, the limit first."""
    load = Load(event_bytes, producers, TIMES[producers])
    lone = Load(event_bytes, 1, LONE_TIMES)
    rows = [
        Row(LIMIT, raw, load),
        Row("log", fresh_log, load),
        Row("log, recycled", recycled_log, load),
        Row("asyncio group commit", group_commit, load),
        Row("sqlite FULL", sqlite, lone),
    ]
    by = f"by {producers}, " if producers > 1 else ""
    rows.append(Row(f"sqlite FULL, {by}awaited", sqlite_off_the_loop, load))
    if producers > 1:
        rows.insert(3, Row(f"log, by {producers}", log_in_batches, load))
        rows.append(Row(f"sqlite FULL, by {producers}", sqlite, load))
    if find_spec("eventsourcing"):
        name = f"eventsourcing, by {producers}" if producers > 1 else "eventsourcing"
        rows.append(Row(name, eventsourcing, load))
    if find_spec("persistqueue"):
        rows.append(Row("persist-queue", persist_queue, lone))
    return rows


def slow_down(card_s: float) -> None:
    """Let every fdatasync of this process take longer."""
    fdatasync = os.fdatasync

    def slower(descriptor: int) -> None:
        time.sleep(card_s)
        fdatasync(descriptor)

    os.fdatasync = slower  # type: ignore[assignment]


def report(rows: list[Row]) -> None:
    """Print one line for each."""
    print(f"{'':28}{'events/s':>12}{'of limit':>10}{'device B/event':>16}{'flushes/event':>15}")
    for row in rows:
        print(row.shown(limit_per_s=rows[0].events_per_s))


def explain(directory: Path, device: Path | None) -> None:
    """Print what is compared with what."""
    where = "no block device of its own: bytes and flushes are not counted"
    print(f"device under {directory}: {where if device is None else device.name}")
    for module, library in LIBRARIES.items():
        if find_spec(module):
            print(f"{library} {importlib.metadata.version(library)}")
        else:
            print(f"{library}: left out, it is not installed (`make bench` installs it)")
    synchronous = synchronous_of_sqlite(directory)
    is_full = "FULL" if synchronous >= 2 else "not FULL: its rates are not of durable events"
    print(
        f"sqlite {sqlite3.sqlite_version}: synchronous=FULL is set for sqlite and eventsourcing;\n"
        f"  persist-queue sets nothing and has the default of this sqlite, {is_full}.\n"
        "  It commits each event by itself, also with many producers."
    )


def main() -> None:
    """Print medians and the ratio to the limit."""
    parser = argparse.ArgumentParser(description="Measure durable appends beside others.")
    parser.add_argument("directory", type=Path, help="where to write; what is there stays")
    parser.add_argument("--device", help="as in /sys/block, instead of the one found")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--card-ms", type=float, default=0.0, help="let each fdatasync take longer")
    given = parser.parse_args()
    directory = given.directory / "appends"
    directory.mkdir(parents=True, exist_ok=True)
    device = device_under(directory, given.device)
    explain(directory, device)
    if given.card_ms:
        slow_down(given.card_ms / 1000)
        print(f"every fdatasync takes {given.card_ms} ms longer, as a card's would")
    progress = Progress()
    for event_bytes in EVENT_BYTES:
        for producers in TIMES:
            rows = rows_for(producers, event_bytes)
            if given.card_ms:
                rows = [row for row in rows if row.contender in SYNCING_FROM_PYTHON]
            what = f"{event_bytes} B an event, {producers} producer{'s' * (producers > 1)}"
            for number in range(given.rounds):
                for row in rows:
                    progress.show(f"{what}: round {number + 1} of {given.rounds}, {row.name}")
                    row.run(directory, device)
            progress.clear()
            print(f"\n{what}, median of {given.rounds} rounds")
            report(rows)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
