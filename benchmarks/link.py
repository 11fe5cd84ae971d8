"""The link, in one run: commands and their latency, the drain of a backlog, bytes on the wire.

    python -m benchmarks.link DIRECTORY [--only commands --card-ms 2]

Commands go from one publisher over one mosquitto to the real daemon, with results, read models and
events upstream, and in turn to subscribers that acknowledge by hand and keep each command in one of
several ways or not at all (see `subscribers`). The rate counts from the first publish to the last
acknowledgement; for the daemon, to the arrival of the last result. The CPU time is that of all
threads of a process; the daemon's includes read models, events upstream and its log lines.

With --card-ms each flush of the daemon and of the subscribers takes that much longer, as on a
memory card (2 to 10 ms); it needs strace. Read it as the rate against the latency of a flush: a
subscriber that flushes for each command can do no more than one a flush, the bear's commands in
flight share one. The delay is of time alone: a flush does not wait for another thread's, and no
byte is written more slowly.

A backlog is drained by the daemon's own link and uplink, not held to a rate, and beside that by the
same link with one event in each QoS 1 message, one in flight and as many as a bear may have.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.bear_under_load import BearUnderLoad
from benchmarks.card import flush_s, require_strace, slowed_by
from benchmarks.drain import drain_in_batches, drain_one_by_one, recorded
from benchmarks.progress import Progress
from benchmarks.wire import PUBLISH, WireClient, packet_of, publish_body
from teddy_edge.events import cloud_event, decode_record
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.settings import BrokerSettings
from teddy_edge.sync.wire import EventBatch
from teddy_edge.topics import Topics

BEAR = "bear-001"
LIBRARIES = {"eventsourcing": "eventsourcing", "persist_queue": "persistqueue"}
"""Subscribers that need a library, and its module."""
LONE_COMMANDS = 500


class Subscriber:
    """A subscriber as a process of its own."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process_id = process.pid
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, name: str, port: int, directory: Path, given: argparse.Namespace
    ) -> AsyncIterator[Subscriber]:
        """Run it until the block ends."""
        arguments = (name, str(port), str(directory), str(given.commands))
        program = (sys.executable, "-m", "benchmarks.subscribers", *arguments)
        process = await asyncio.create_subprocess_exec(
            *slowed_by(given.card_ms), *program, stdout=subprocess.PIPE
        )
        subscriber = cls(name, process)
        try:
            assert await subscriber.line() == "ready"
            yield subscriber
        finally:
            process.kill()
            await process.wait()

    async def line(self) -> str:
        """Give what it says next."""
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()


class Contest:
    """Commands to the bear and to subscribers, round after round."""

    def __init__(self, publisher: WireClient, bear: BearUnderLoad, commands: int) -> None:
        self.rates: dict[str, list[float]] = defaultdict(list)
        self.cpu_ms: dict[str, list[float]] = defaultdict(list)
        """For each command."""
        self._publisher = publisher
        self._bear = bear
        self._commands = commands

    async def to_bear(self) -> None:
        """Send to the daemon."""

        async def ended_s() -> float:
            return await self._bear.results(self._commands)

        await self._send("teddy-edge", BEAR, self._bear.process_id, ended_s)

    async def to_subscriber(self, subscriber: Subscriber) -> None:
        """Send to a subscriber."""

        async def ended_s() -> float:
            return float(await subscriber.line())

        await self._send(subscriber.name, subscriber.name, subscriber.process_id, ended_s)

    async def _send(
        self, name: str, bear: str, process_id: int, ended_s: Callable[[], Awaitable[float]]
    ) -> None:
        commands = [self._bear.command(bear) for _ in range(self._commands)]
        began_s, used_s = time.monotonic(), cpu_s(process_id)
        await self._publisher.publish(commands)
        self.rates[name].append(self._commands / (await ended_s() - began_s))
        self.cpu_ms[name].append((cpu_s(process_id) - used_s) * 1000 / self._commands)

    async def latencies_s(self) -> list[float]:
        """Send one command after the other; gives the time from each to its result."""
        took_s = []
        for _ in range(LONE_COMMANDS):
            command, began_s = self._bear.command(BEAR), time.monotonic()
            self._publisher.send(*command)
            took_s.append(await self._bear.results(1) - began_s)
        return took_s


def subscriber_names() -> list[str]:
    """Those that can run here; says which cannot."""
    names = ["bare", "bare_with_result", "sqlite_full"]
    for name, module in LIBRARIES.items():
        if find_spec(module):
            names.append(name)
        else:
            print(f"{name}: left out, it is not installed (`make bench` installs it)")
    return names


def cpu_s(process_id: int) -> float:
    """Give the CPU time of a process so far, the kernel's for it too (proc(5), stat 14 and 15)."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report_commands(contest: Contest) -> None:
    """Print medians and spreads, and the bear's rate as a ratio of each."""
    medians = {name: statistics.median(found) for name, found in contest.rates.items()}
    ours = medians["teddy-edge"]
    print(
        f"\n{'commands end to end':24}{'a second':>12}{'least to most':>18}"
        f"{'teddy-edge / it':>18}{'CPU, ms each':>16}"
    )
    for name, median in medians.items():
        cpu_ms = statistics.median(contest.cpu_ms[name])
        spread = f"{min(contest.rates[name]):,.0f} to {max(contest.rates[name]):,.0f}"
        print(f"{name:24}{median:12,.0f}{spread:>18}{ours / median:18.2f}{cpu_ms:16.3f}")


def report_latency(took_s: Sequence[float], flush: float) -> None:
    """Print how long a lone command takes, beside one flush."""
    cuts = statistics.quantiles(took_s, n=100)
    print(
        f"\ncommand, durable, result: p50 {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.2f} ms,"
        f" most {max(took_s) * 1000:.2f} ms; one flush {flush * 1000:.2f} ms"
    )


def report_bytes(what: str, batches: Sequence[tuple[EventBatch, int]]) -> None:
    """Print the bytes of our packets for each event, beside those of one JSON event in each."""
    records = [
        decode_record(record.seq, record.data_class, record.body)
        for batch, _ in batches
        for record in batch.records
    ]
    topic = Topics(BEAR).events
    payloads = [json.dumps(cloud_event(record, BEAR)).encode() for record in records]
    as_json = sum(len(packet_of(PUBLISH, publish_body(topic, each))) for each in payloads)
    sent = sum(packet_bytes for _, packet_bytes in batches)
    bodies = sum(len(record.body) for batch, _ in batches for record in batch.records)
    count = len(records)
    print(
        f"{what}: {sent / count:.0f} bytes an event on the wire, {count / len(batches):.0f} events"
        f" a batch; as JSON, one event a message, {as_json / count:.0f}: ratio"
        f" {sent / as_json:.2f}; a record has {bodies / count:.0f}"
    )


async def measure_commands(
    directory: Path, port: int, given: argparse.Namespace, progress: Progress
) -> None:
    """Measure commands and latency, and what their events took on the wire."""
    bear = BearUnderLoad(directory, port, slowed_by(given.card_ms))
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(bear.awake())
        publisher = await WireClient.connect(port, "publisher", lambda *_: None, ["nothing"])
        stack.callback(publisher.close)
        subscribers = [
            await stack.enter_async_context(Subscriber.running(name, port, directory / name, given))
            for name in subscriber_names()
        ]
        contest = Contest(publisher, bear, given.commands)
        for number in range(given.rounds):
            progress.show(f"commands: round {number + 1} of {given.rounds}")
            await contest.to_bear()
            for subscriber in subscribers:
                await contest.to_subscriber(subscriber)
        progress.clear()
        report_commands(contest)
        under_load = list(bear.batches)
        flush = await asyncio.to_thread(flush_s, directory, given.card_ms)
        report_latency(await contest.latencies_s(), flush)
        report_bytes("under load", under_load)


async def measure_drain(
    directory: Path, port: int, given: argparse.Namespace, progress: Progress
) -> None:
    """Measure the drain of a backlog, in batches and one event in each message."""
    stored = await recorded(directory / "backlog", given.events)
    together = (1, BrokerSettings().receive_maximum)
    ours: list[float] = []
    theirs: dict[int, list[float]] = {count: [] for count in together}
    batches: list[tuple[EventBatch, int]] = []
    for number in range(given.rounds):
        progress.show(f"drain: round {number + 1} of {given.rounds}")
        took_s, batches = await drain_in_batches(directory / "backlog", port)
        ours.append(given.events / took_s)
        for count in together:
            theirs[count].append(given.events / await drain_one_by_one(stored, port, count))
    progress.clear()
    batched = statistics.median(ours)
    print(f"\n{'drain of a backlog':32}{'events a second':>16}{'teddy-edge / it':>18}")
    print(f"{'teddy-edge, confirmed':32}{batched:16,.0f}{1:18.2f}")
    for count, found in theirs.items():
        single = statistics.median(found)
        what = f"one in a message, {count} in flight"
        print(f"{what:32}{single:16,.0f}{batched / single:18.2f}")
    report_bytes("backlog", batches)


async def measure(directory: Path, given: argparse.Namespace) -> None:
    """Measure what is asked for over one broker."""
    parts = {"commands": measure_commands, "drain": measure_drain}
    progress = Progress()
    with Mosquitto(directory / "broker") as broker:
        for name, measure_part in parts.items():
            if given.only in (None, name):
                await measure_part(directory, broker.port, given, progress)


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description="Measure the link, beside others.")
    parser.add_argument("directory", type=Path, help="where to write; what is there stays")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--commands", type=int, default=3000, help="of a round, to each")
    parser.add_argument("--events", type=int, default=30_000, help="of the backlog")
    parser.add_argument("--only", choices=("commands", "drain"))
    parser.add_argument(
        "--card-ms", type=float, default=0.0, help="let each flush of a command take longer"
    )
    given = parser.parse_args()
    if given.card_ms:
        require_strace()
        print(f"each flush of the bear and the subscribers takes {given.card_ms} ms longer")
    directory = given.directory.absolute() / "link"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    asyncio.run(measure(directory, given))
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
