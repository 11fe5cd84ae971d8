"""Commands, queries and rebuilds, in one run, beside the `eventsourcing` library.

    python -m benchmarks.queries DIRECTORY [--device DEVICE]

Where `eventsourcing` is not installed (`make bench` does it), that comparison is left out.

What is measured: commands through the whole bus (talk, and a violation now and then), 64 producers
that each wait until their command is on the card; queries one after another through the query bus;
rebuilds from the log to rows on the card; `eventsourcing` reading the same history from its SQLite
recorder into aggregates that hold the same of every child (see `replaying`). An event is a fact
about a child; the log holds the end of each command as well, which a rebuild passes over.

What the card is written: commands at a steady pace, one by one, as a bear has them, with the window
of the read models as it is set. The bytes for each event are those that the device under DIRECTORY
counted, or the one that is named as in /sys/block; nobody else should write to it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.device import counters, device_under
from teddy_edge.assembly import Assembly, assembled
from teddy_edge.clock import NS_PER_S, SystemClock, new_id, rfc3339
from teddy_edge.events import decode_record
from teddy_edge.messages import Actor, CommandEnvelope, Origin, QueryEnvelope
from teddy_edge.settings import CommandSettings, QuerySettings, Settings
from teddy_edge.supervision import run_until_one_ends

CHILDREN = (10, 1000, 10_000)
COMMANDS = 6000
TALK_COMMANDS = 10
"""Of these, one starts a conversation, one ends it, and one reports a violation."""
PRODUCERS = 64
QUERIES = 300
REBUILDS = 3
PACED = 200
PACE_S = 0.05
HISTORY = "history.jsonl"
DEVICE = Actor(id="benchmark", role="device")
CLOCK = SystemClock()
NOW_NS = CLOCK.wall_ns()
MONTH = {
    "from_date": rfc3339(NOW_NS - 30 * 24 * 3600 * NS_PER_S),
    "to_date": rfc3339(NOW_NS + 3600 * NS_PER_S),
}


def command(name: str, data: dict[str, Any]) -> CommandEnvelope:
    return CommandEnvelope(
        id=new_id(CLOCK), name=name, actor=DEVICE, issued_at="2026-11-22T10:00:00Z", data=data
    )


def registration(number: int) -> CommandEnvelope:
    data = {"device_id": "bear", "name": f"Child {number}", "age": 3 + number % 10}
    parent_and_udid = {"parent_id": f"parent-{number // 3}", "udid": f"udid-{number}"}
    return command("register_child", data | parent_and_udid)


def violation(child_id: str) -> CommandEnvelope:
    told = {"violation_type": "stranger", "severity": "low", "details": "where do you live"}
    return command("report_safety_violation", {"child_id": child_id, **told})


def turn(conversation_id: str) -> CommandEnvelope:
    heard = {"topics": ["moon", "dragons"], "sentiment": 0.5, "duration_s": 4.2}
    data = {"conversation_id": conversation_id, "speaker": "child", **heard}
    return command("record_conversation_turn", data)


async def send(bear: Assembly, envelopes: list[CommandEnvelope]) -> list[dict[str, Any]]:
    """Let the producers send one after another each; gives the results' data."""
    waiting = iter(envelopes)
    found: list[dict[str, Any]] = []

    async def produce() -> None:
        for envelope in waiting:
            result = await bear.commands.execute(envelope, Origin.LIBRARY)
            assert result.success, result.error
            found.append(result.data)

    await asyncio.gather(*(produce() for _ in range(PRODUCERS)))
    return found


async def timed(ask: Callable[[], Awaitable[None]]) -> list[float]:
    """Give the milliseconds that each of many took."""
    took_ms = []
    for _ in range(QUERIES):
        begin_s = time.perf_counter()
        await ask()
        took_ms.append((time.perf_counter() - begin_s) * 1000)
    return sorted(took_ms)


def asker(bear: Assembly, name: str, children: list[str], *, cached: bool) -> Any:
    """Give what asks about one child after another, or about one again and again."""
    dates = MONTH if name == "get_child_safety_report" else {}
    asked = itertools.cycle(children[:1] if cached else children)

    async def ask() -> None:
        child_id = next(asked)
        if not cached:
            bear.queries.cache.invalidate([f"child/{child_id}"])
        data = {"child_id": child_id, **dates}
        envelope = QueryEnvelope(id=new_id(CLOCK), name=name, actor=DEVICE, data=data)
        answer = await bear.queries.ask(envelope, Origin.LIBRARY)
        assert answer.success, answer.error

    return ask


def report(what: str, took_ms: list[float]) -> None:
    median_ms, p99_ms = statistics.median(took_ms), took_ms[int(len(took_ms) * 0.99)]
    rate = 1000 * len(took_ms) / sum(took_ms)
    print(f"  {what:42}{rate:10,.0f} /s   median {median_ms:7.3f} ms   p99 {p99_ms:7.3f} ms")


async def wear(directory: Path, device: Path) -> None:
    """Print what a steady pace of commands writes to the device."""
    settings = Settings(data_directory=directory)
    async with assembled(settings, CLOCK) as bear:
        (child,) = await send(bear, [registration(0)])
        stop = asyncio.Event()
        working = asyncio.create_task(run_until_one_ends(bear.work(), stop))
        await asyncio.sleep(2 * settings.projections.write_window_s)
        os.sync()
        before, first_seq = counters(device), bear.log.last_seq
        for _ in range(PACED):
            await send(bear, [violation(child["child_id"])])
            await asyncio.sleep(PACE_S)
        await asyncio.sleep(2 * settings.projections.write_window_s)
        os.sync()
        spent, events = counters(device).since(before), bear.log.last_seq - first_seq
        stop.set()
        await working
    print(f"\n{1 / PACE_S:.0f} commands/s for {PACED * PACE_S:.0f} s, {events} events")
    print(f"  {'device bytes an event, rows included':42}{spent.written_bytes / events:10,.0f}")
    print(f"  {'flushes an event, rows included':42}{spent.flushes / events:10.2f}")


async def with_children(directory: Path, count: int) -> None:
    settings = Settings(
        data_directory=directory,
        commands=CommandSettings(per_minute=1_000_000, children_max=100_000),
        queries=QuerySettings(expensive_per_minute=100_000, catch_up_s_max=30),
    )
    print(f"\n{count:,} children")
    async with assembled(settings, CLOCK) as bear:
        known = await send(bear, [registration(number) for number in range(count)])
        children = [data["child_id"] for data in known]
        begin_s = time.perf_counter()
        await live(bear, children)
        rate = COMMANDS / (time.perf_counter() - begin_s)
        print(f"  {f'commands to durable, {PRODUCERS} producers':42}{rate:10,.0f} /s")
        begin_s, position = time.perf_counter(), bear.read_models.position
        await bear.read_models.include(bear.log.last_seq)
        rate = (bear.log.last_seq - position) / (time.perf_counter() - begin_s)
        print(f"  {'live catch-up':42}{rate:10,.0f} events/s")
        for name in ("get_child_profile", "get_child_safety_report"):
            for cached in (False, True):
                took_ms = await timed(asker(bear, name, children, cached=cached))
                report(f"{name}, {'cached' if cached else 'uncached'}", took_ms)
        events = write_history(bear, directory / HISTORY)
        rates = []
        for _ in range(REBUILDS):
            begin_s = time.perf_counter()
            await bear.read_models.rebuild()
            rates.append(events / (time.perf_counter() - begin_s))
        print(f"  {'rebuild, rows written, median':42}{statistics.median(rates):10,.0f} events/s")
    compare(directory)


async def live(bear: Assembly, children: list[str]) -> None:
    """Send the commands: conversations of seven turns with a violation each, child after child."""
    talking = list(itertools.islice(itertools.cycle(children), COMMANDS // TALK_COMMANDS))
    started = [command("start_conversation", {"child_id": child_id}) for child_id in talking]
    talks = [data["conversation_id"] for data in await send(bear, started)]
    await send(bear, [turn(talk) for _ in range(TALK_COMMANDS - 3) for talk in talks])
    await send(bear, [violation(child_id) for child_id in talking])
    await send(bear, [command("end_conversation", {"conversation_id": talk}) for talk in talks])


def write_history(bear: Assembly, file: Path) -> int:
    """Write every event about a child into a file, for `replaying`; gives how many there are."""
    count, seq = 0, 1
    with file.open("w") as lines:
        while batch := bear.log.read(seq, 500, 1 << 20):
            seq = batch[-1].seq + 1
            for stored in batch:
                record = decode_record(stored.seq, stored.data_class, stored.body)
                if "child_id" in record.data:
                    count += 1
                    line = [record.type, rfc3339(record.wall_ns), record.data]
                    print(json.dumps(line), file=lines)
    return count


def compare(directory: Path) -> None:
    if find_spec("eventsourcing") is None:
        print(f"  {'eventsourcing':42} left out: it is not installed (`make bench` installs it)")
        return
    rates = []
    for number in range(REBUILDS):
        database = directory / f"eventsourcing-{number}" / "events.db"
        database.parent.mkdir()
        arguments = ["-m", "benchmarks.replaying", str(directory / HISTORY), str(database)]
        result = subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        rates.append([float(rate) for rate in result.stdout.split()])
    names = ("eventsourcing, into memory, median", "eventsourcing, rows written, median")
    for name, found in zip(names, zip(*rates, strict=True), strict=True):
        print(f"  {name:42}{statistics.median(found):10,.0f} events/s")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description="Measure commands, queries and rebuilds.")
    parser.add_argument("directory", type=Path, help="where to write; what is there stays")
    parser.add_argument("--device", help="as in /sys/block, instead of the one found")
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    directory, device = given.directory / "queries", device_under(given.directory, given.device)
    begin_s = time.perf_counter()
    for count in CHILDREN:
        shutil.rmtree(directory, ignore_errors=True)
        asyncio.run(with_children(directory, count))
    shutil.rmtree(directory, ignore_errors=True)
    if device is None:
        print("\ndevice bytes an event: not counted, there is no block device of its own")
    else:
        asyncio.run(wear(directory, device))
        shutil.rmtree(directory, ignore_errors=True)
    print(f"\n{time.perf_counter() - begin_s:.0f} s in all")


if __name__ == "__main__":
    main()
