"""A bear that was offline for long: its backlog costs no memory, and holds up no safety event."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from teddy_edge.clock import SystemClock
from teddy_edge.errors import DaemonUnreachable
from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.events import ButtonPressed, Cause, encode_event
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.settings import LogSettings, SyncSettings
from tests.acceptance.bear import EMMA, Bear

EVENTS = int(os.environ.get("BACKLOG_EVENTS", "50000"))
APPEND_RECORDS = 2000
BUDGET_BYTES = 4 * 1024**3
GROWTH_BYTES_MAX = 24 * 1024**2
"""What batches on their way take, and what the allocator does not give back; not a byte an event"""
PER_S = SyncSettings().history_records_per_s
"""How many events of a backlog go out in a second."""
WAIT_S_MAX = 60 + 20 * EVENTS / PER_S
BEAR = "bear-001"
CLEAR_PEAK = "5"
"""What makes Linux forget the peak of a process's memory (proc(5), clear_refs)."""


async def record_backlog(directory: Path) -> None:
    """Write a log as a bear has it that was offline while all this happened."""
    log, clock = EventLog.open(directory, LogSettings(budget_bytes=BUDGET_BYTES)), SystemClock()
    log.start()
    for _ in range(0, EVENTS, APPEND_RECORDS):
        pressed = [ButtonPressed(button="belly") for _ in range(APPEND_RECORDS)]
        bodies = [encode_event(event, "bear", Cause(), clock) for event in pressed]
        await log.append([Entry(ButtonPressed.data_class, body) for body in bodies])
    await log.close()


@contextlib.contextmanager
def receiving(port: int, database: Path) -> Iterator[int]:
    """Run the reference receiver; gives its process id."""
    armed = str(database.parent / "never-armed")
    program = ("-m", "tests.faults.dies_after_store", str(port), str(database), armed)
    with (database.parent / "receiver.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *program], stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def memory_bytes(pid: int, line: str) -> int:
    """Read a process's resident memory now (VmRSS) or at its peak (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(each.split()[1]) * 1024 for each in status.splitlines() if line in each)


def until(holds: Callable[[], bool], what: str) -> float:
    """Wait for something; gives the seconds that it took."""
    began_s = time.monotonic()
    while not holds():
        assert time.monotonic() < began_s + WAIT_S_MAX, f"not within {WAIT_S_MAX:.0f} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - began_s


class Drain:
    """What of a bear's backlog has arrived in the cloud's store."""

    def __init__(self, sink: SqliteSink, bear: Bear) -> None:
        self._sink = sink
        self._bear = bear

    def stored_seq(self) -> int:
        """How far the series is stored."""
        current = self._sink.current()
        return current[0][1].seq if current else 0

    def is_bear_awake(self) -> bool:
        """Whether the daemon's socket answers."""
        try:
            return self._bear.client.status().ok
        except DaemonUnreachable:
            return False

    def raise_violation(self, child_id: str) -> tuple[int, float]:
        """Raise a safety event; gives how far the series is once it is there, and the seconds."""
        violation = {"child_id": child_id, "violation_type": "stranger", "severity": "critical"}
        result = self._bear.client.command("report_safety_violation", {"data": violation})

        def is_there() -> bool:
            return bool(self._sink.urgent(BEAR)) or self.stored_seq() >= result.body["seq"]

        took_s = until(is_there, "the safety event")
        return self.stored_seq(), took_s

    def finish(self) -> float:
        """Wait until all of the log is stored; gives the seconds."""
        last_seq = self._bear.client.status().body["log"]["last_seq"]
        return until(lambda: self.stored_seq() >= last_seq, "the end of the backlog")


def test_a_backlog_costs_no_memory_and_a_safety_event_passes_it(
    tmp_path: Path, broker: Mosquitto
) -> None:
    asyncio.run(record_backlog(tmp_path / "data" / "log"))
    settings = {"TEDDY_EDGE_LOG__BUDGET_BYTES": str(BUDGET_BYTES)}
    with (
        receiving(broker.port, tmp_path / "fleet.db") as receiver_pid,
        contextlib.closing(SqliteSink(tmp_path / "fleet.db")) as sink,
        Bear(tmp_path, broker.port, **settings) as bear,
    ):
        drain = Drain(sink, bear)
        bear.launch()
        awake_s = until(drain.is_bear_awake, "the bear")
        child_id = bear.client.command("register_child", {"data": EMMA}).body["data"]["child_id"]
        until(lambda: drain.stored_seq() > EVENTS // 10, "the first tenth")
        pids = {"bear": bear.pid, "receiver": receiver_pid}
        before = {name: memory_bytes(pid, "VmRSS") for name, pid in pids.items()}
        for pid in pids.values():
            Path(f"/proc/{pid}/clear_refs").write_text(CLEAR_PEAK)
        until(lambda: drain.stored_seq() > EVENTS // 2, "half of the backlog")
        before_seq = drain.stored_seq()
        reached_seq, took_s = drain.raise_violation(child_id)
        rest_s = drain.finish()
        peaks = {name: memory_bytes(pid, "VmHWM") for name, pid in pids.items()}
    grown = {name: peaks[name] - before[name] for name in pids}
    print(
        f"{EVENTS:,} events, awake in {awake_s:.1f} s; the second half took {rest_s:.1f} s\n"
        f"a safety event arrived after {took_s * 1000:.0f} ms and {reached_seq - before_seq} "
        f"events of the backlog, of which {PER_S} go out in a second"
    )
    for name, size in before.items():
        print(f"{name}: {size / 1024**2:.1f} MiB, then at most {grown[name] / 1024**2:+.1f} MiB")
    assert reached_seq < EVENTS, "it came behind the backlog"
    assert max(grown.values()) <= GROWTH_BYTES_MAX
