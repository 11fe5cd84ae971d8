"""What a long history costs: opening, reading from the middle, replaying, and memory meanwhile.

python -m benchmarks.history DIRECTORY
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import threading
import time
from pathlib import Path

from benchmarks.progress import Progress
from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.eventlog.files import SystemFiles
from teddy_edge.eventlog.frame import FRAME_BYTES_MIN
from teddy_edge.eventlog.recovery import Recovery
from teddy_edge.eventlog.reserve import Reserve
from teddy_edge.eventlog.spares import Spares
from teddy_edge.eventlog.writer import Append, SegmentWriter
from teddy_edge.settings import LogSettings

COUNTS = (10_000, 100_000, 1_000_000)
EVENT_BYTES = 200
COMMIT_RECORDS = 2000
SETTINGS = LogSettings()


def write(directory: Path, first_seq: int, last_seq: int) -> None:
    """Append up to a number, without the queue; the log is left as after a kill."""
    files, guard = SystemFiles(), threading.Lock()
    recovered = Recovery(directory, SETTINGS, files).run()
    writer = SegmentWriter(
        directory, recovered.origin.epoch, recovered.segments, files, SETTINGS, guard,
        Reserve(directory, files, 0, Spares(directory, files, SETTINGS, 0)),
    )  # fmt: skip
    entry = Entry(5, bytes(range(EVENT_BYTES)))
    for begin in range(first_seq, last_seq + 1, COMMIT_RECORDS):
        seqs = range(begin, min(begin + COMMIT_RECORDS, last_seq + 1))
        writer.write([Append(seq, [entry], EVENT_BYTES + FRAME_BYTES_MIN) for seq in seqs])
    writer.abandon()


def timed_open(directory: Path) -> tuple[EventLog, float]:
    """Open, and give the milliseconds it took."""
    begin_s = time.perf_counter()
    log = EventLog.open(directory, SETTINGS)
    return log, (time.perf_counter() - begin_s) * 1000


def replay(log: EventLog) -> float:
    """Read all, and give events a second."""
    begin_s, seq = time.perf_counter(), 1
    while records := log.read(seq, 500, 1 << 20):
        seq = records[-1].seq + 1
    return (seq - 1) / (time.perf_counter() - begin_s)


def measure(directory: Path, count: int) -> str:
    """Give one line for the log as it is now, not closed, with so many events."""
    log, killed_ms = timed_open(directory)
    asyncio.run(log.close())
    log, closed_ms = timed_open(directory)
    begin_s = time.perf_counter()
    assert log.read(count // 2, 1, 1)[0].seq == count // 2
    middle_ms = (time.perf_counter() - begin_s) * 1000
    rate = replay(log)
    asyncio.run(log.close())
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = f"{killed_ms:11.1f}{closed_ms:11.1f}{middle_ms:11.1f}"
    return f"{count:10,}{times}{rate:12,.0f}{peak_mib:10.1f}"


def main() -> None:
    """Grow one log, and measure at each size."""
    parser = argparse.ArgumentParser(description="Measure what a long history costs.")
    parser.add_argument("directory", type=Path, help="where to write; what is there stays")
    directory = parser.parse_args().directory / "history"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    print(f"{'events':>10}{'killed ms':>11}{'closed ms':>11}{'middle ms':>11}", end="")
    print(f"{'replay/s':>12}{'peak MiB':>10}", flush=True)
    progress, written = Progress(), 0
    for count in COUNTS:
        progress.show(f"writing up to {count:,} events, and measuring")
        write(directory, written + 1, count)
        written = count
        line = measure(directory, count)
        progress.clear()
        print(line, flush=True)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
