"""A real process under load, killed with SIGKILL at random instants, again and again.

The killed process says what was acknowledged over a pipe, eight bytes a record; what the kernel
took of that was said before the kill.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import select
import struct
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from teddy_edge.eventlog import Entry, EventLog, StoredRecord
from teddy_edge.settings import LogSettings

KILLS = int(os.environ.get("KILLS", "200"))
PRODUCERS = 8
SETTINGS = LogSettings(segment_bytes_max=100_000, allocation_bytes=16 * 1024)
TOLD = struct.Struct("<IHH")
"""Sequence number, run, producer."""
BODY = struct.Struct("<HHII")
"""Run, producer, number among this producer's in this run, and which entry of its append."""


def produce(directory: Path, run: int, said: Connection) -> None:
    """Append until killed, and say what was acknowledged."""
    asyncio.run(_produce(directory, run, said.fileno()))


async def _produce(directory: Path, run: int, said: int) -> None:
    log = EventLog.open(directory, SETTINGS)
    log.start()

    async def producer(producer_id: int) -> None:
        number = 0
        while True:
            await log.wait_for_room()
            count = number % 3 + 1
            bodies = [BODY.pack(run, producer_id, number, entry) for entry in range(count)]
            last_seq = await log.append([Entry(5, body + bytes(number % 200)) for body in bodies])
            os.write(said, TOLD.pack(last_seq, run, producer_id))
            number += 1

    async with asyncio.TaskGroup() as group:
        for producer_id in range(PRODUCERS):
            group.create_task(producer(producer_id))


def told_until_killed(
    process: multiprocessing.process.BaseProcess, said: Connection, delay_s: float
) -> bytes:
    """Listen for a while, kill, and hear the rest."""
    told = b""
    deadline = time.monotonic() + delay_s
    while (left_s := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([said], [], [], left_s)
        if ready:
            told += os.read(said.fileno(), 65536)
    process.kill()
    process.join()
    while part := os.read(said.fileno(), 65536):
        told += part
    return told


def read_all(log: EventLog, first_seq: int) -> Iterator[StoredRecord]:
    while records := log.read(first_seq, 1000, 1 << 20):
        yield from records
        first_seq = records[-1].seq + 1


def test_no_kill_loses_doubles_or_reorders_what_was_acknowledged(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["teddy_edge.eventlog", __name__])
    random = Random(9)
    acknowledged: dict[int, tuple[int, int]] = {}
    torn = 0
    for run in range(KILLS):
        listening, said = context.Pipe(duplex=False)
        process = context.Process(target=produce, args=(tmp_path / "log", run, said))
        process.start()
        said.close()
        told = told_until_killed(process, listening, random.uniform(0.0, 0.12))
        listening.close()
        for seq, told_run, producer in TOLD.iter_unpack(told):
            acknowledged[seq] = (told_run, producer)
        torn += _check_opening(tmp_path / "log", max(acknowledged, default=0))
    _check_content(tmp_path / "log", acknowledged)
    print(f"{KILLS} kills, {len(acknowledged)} appends acknowledged, {torn} torn tails")
    assert len(acknowledged) > KILLS


def _check_opening(directory: Path, acknowledged_seq: int) -> bool:
    log = EventLog.open(directory, SETTINGS)
    assert log.last_seq >= acknowledged_seq
    assert log.report.complete
    assert log.report.damage == []
    asyncio.run(log.close())
    return log.report.torn_bytes > 0


def _check_content(directory: Path, acknowledged: dict[int, tuple[int, int]]) -> None:
    log = EventLog.open(directory, SETTINGS)
    expected_seq = 1
    last_of_append: dict[int, tuple[int, int]] = {}
    before: dict[tuple[int, int], tuple[int, int]] = {}
    for record in read_all(log, 1):
        assert record.seq == expected_seq
        expected_seq += 1
        run, producer, number, entry = BODY.unpack_from(record.body)
        previous_number, previous_entry = before.get((run, producer), (-1, 0))
        whole = number % 3
        if entry == 0:
            assert number == previous_number + 1, "lost or doubled"
            assert previous_number < 0 or previous_entry == previous_number % 3, "half an append"
        else:
            assert (number, entry) == (previous_number, previous_entry + 1)
        before[run, producer] = (number, entry)
        if entry == whole:
            last_of_append[record.seq] = (run, producer)
    assert all(entry == number % 3 for number, entry in before.values()), "half an append"
    assert acknowledged.items() <= last_of_append.items()
    asyncio.run(log.close())
