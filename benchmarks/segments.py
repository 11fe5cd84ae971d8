"""What one event costs the card, for each way to lay out a segment. Prints a table.

    python -m benchmarks.segments DIRECTORY [--device DEVICE]

Bytes and flushes are counted by the block device under DIRECTORY, or by the one that is named as in
/sys/block, so nothing else should write to it. A loop device with a fresh ext4 serves.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from benchmarks.device import counters, device_under
from teddy_edge.eventlog.files import SystemFiles
from teddy_edge.eventlog.frame import CHAIN_START, Entry
from teddy_edge.eventlog.recovery import create_segment
from teddy_edge.eventlog.reserve import Reserve
from teddy_edge.eventlog.segment import Header, Segment
from teddy_edge.eventlog.spares import Spares, spare_name
from teddy_edge.eventlog.whole_files import write_whole
from teddy_edge.eventlog.writer import Append, SegmentWriter, framed_bytes
from teddy_edge.settings import LogSettings

SEGMENT_BYTES = 4 * 1024 * 1024
EVENT_BYTES = 200
ROUNDS = 5
WORKLOADS = {1: 1500, 64: 250}
"""Events in a commit, and how many commits."""


@dataclass(frozen=True)
class Layout:
    """One way to have room for the next commit."""

    name: str
    allocation_bytes: int
    is_recycled: bool = False
    """Whether the file was a segment before."""


LAYOUTS = [
    Layout("plain append", 0),
    Layout("zeros ahead, 64 KiB", 64 * 1024),
    Layout("zeros ahead, 256 KiB", 256 * 1024),
    Layout("zeros ahead, 1 MiB", 1024 * 1024),
    Layout("recycled segment", 64 * 1024, is_recycled=True),
]


@dataclass(frozen=True)
class Cost:
    """Per event, and per commit."""

    device_bytes: float
    flushes: float
    commit_ms: float


def measure(directory: Path, device: Path, layout: Layout, batch_size: int, commits: int) -> Cost:
    """Write commits one after the other to a fresh log."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    writer, segment = prepared(directory, layout)
    body = bytes(range(EVENT_BYTES))
    seq = segment.first_seq
    before = counters(device)
    times_s: list[float] = []
    for _ in range(commits):
        batch = [append_of(number, [Entry(5, body)]) for number in range(seq, seq + batch_size)]
        begin_s = time.perf_counter()
        writer.write(batch)
        times_s.append(time.perf_counter() - begin_s)
        seq += batch_size
    writer.close()
    spent = counters(device).since(before)
    return Cost(
        spent.written_bytes / commits / batch_size,
        spent.flushes / commits,
        statistics.median(times_s) * 1000,
    )


def prepared(directory: Path, layout: Layout) -> tuple[SegmentWriter, Segment]:
    """Make a log with one segment, filled with old content if the layout says so."""
    files, epoch = SystemFiles(), uuid4()
    settings = LogSettings(
        segment_bytes_max=SEGMENT_BYTES, allocation_bytes=layout.allocation_bytes
    )  # fmt: skip
    if layout.is_recycled:
        write_whole(files, directory / spare_name(0), b"\xaa" * SEGMENT_BYTES)
    spares = Spares(directory, files, settings, 0)
    header = Header(epoch, 1, CHAIN_START)
    segment = spares.begin(header) or create_segment(files, directory, header)
    reserve = Reserve(directory, files, 0, spares)
    guard = threading.Lock()
    return SegmentWriter(directory, epoch, [segment], files, settings, guard, reserve), segment


def append_of(seq: int, entries: Sequence[Entry]) -> Append:
    """Queue what the log would queue."""
    return Append(seq, entries, framed_bytes(entries))


def main() -> None:
    """Interleave the layouts, and print medians."""
    parser = argparse.ArgumentParser(description="Measure what each layout of a segment costs.")
    parser.add_argument("directory", type=Path, help="where to write; what is there stays")
    parser.add_argument("--device", help="as in /sys/block, instead of the one found")
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    directory, device = given.directory / "segments", device_under(given.directory, given.device)
    if device is None:
        parser.error(f"{given.directory} is on no block device of its own: nothing can be counted")
    for batch_size, commits in WORKLOADS.items():
        costs: dict[str, list[Cost]] = {layout.name: [] for layout in LAYOUTS}
        for _ in range(ROUNDS):
            for layout in LAYOUTS:
                costs[layout.name].append(measure(directory, device, layout, batch_size, commits))
        print(f"\n{batch_size} events of {EVENT_BYTES} B in a commit, {commits} commits")
        print(f"{'layout':24}{'device B/event':>16}{'flushes/commit':>16}{'ms/commit':>12}")
        for name, found in costs.items():
            device_bytes = statistics.median(cost.device_bytes for cost in found)
            flushes = statistics.median(cost.flushes for cost in found)
            commit_ms = statistics.median(cost.commit_ms for cost in found)
            print(f"{name:24}{device_bytes:16.0f}{flushes:16.2f}{commit_ms:12.3f}")


if __name__ == "__main__":
    main()
