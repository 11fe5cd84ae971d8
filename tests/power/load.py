"""The process on the disk: it appends at load, confirms, reduces, trims and drops.

It writes down each promise only after it was given, and each permission to take something away
before that is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from teddy_edge.eventlog import Cursor, EventLog, LostRange, StoredRecord
from teddy_edge.settings import LogSettings
from tests.power.told import ESSENTIAL, POLICY, Place, Teller, place_of, read_told, told_by

PRODUCERS: Final = 5
KEEPER: Final = 100
"""The producer that stands for the one who tells what is dropped."""
UNCONFIRMED: Final = 150
FINISHED_BYTES_MAX: Final = 150_000
SETTINGS: Final = LogSettings(
    segment_bytes_max=24 * 1024,
    allocation_bytes=8 * 1024,
    record_bytes_max=16 * 1024,
    reserve_bytes=256 * 1024,
)


class Paths(NamedTuple):
    """Where everything is."""

    disk: Path
    """Where the disk is mounted."""
    record: Path
    told: Path

    @property
    def log(self) -> Path:
        return self.disk / "bear" / "log"

    @property
    def cursor(self) -> Path:
        return self.disk / "bear" / "confirmed"


def open_log(paths: Paths) -> EventLog:
    """Open as the daemon does."""
    return EventLog.open(paths.log, SETTINGS, essential=ESSENTIAL, policy=POLICY)


def read_all(log: EventLog, first_seq: int = 1) -> list[StoredRecord]:
    """Read every record."""
    return log.read(first_seq, 1_000_000, 1 << 30)


def run(paths: Paths, number: int, rounds: int) -> None:
    """Be one life of the process, of so many rounds; it may be killed before."""
    asyncio.run(_Life(paths, number).live(rounds))


class _Life:
    def __init__(self, paths: Paths, number: int) -> None:
        self._teller = Teller(paths.told, paths.record)
        told = told_by(read_told(paths.told))
        self._number = number
        self._random = Random(number)
        self._log = open_log(paths)
        self._teller.tell("opened", str(self._log.epoch))
        self._tell_found(told.acknowledged)
        self._cursor = Cursor.open(paths.cursor, self._log.epoch)
        assert self._cursor.seq >= told.confirmed_seq
        self._events = 0
        if told.dropping is not None:
            self._drop(told.dropping)

    def _tell_found(self, acknowledged: Container[int]) -> None:
        """What is there after opening is durable, though its writer was killed before it knew."""
        for record in read_all(self._log):
            place = place_of(record)
            if record.seq not in acknowledged and place.entry == place.size - 1:
                self._teller.tell("acknowledged", record.seq, place.append)

    async def live(self, rounds: int) -> None:
        self._log.start()
        async with asyncio.TaskGroup() as group:
            for producer in range(PRODUCERS):
                group.create_task(self._produce(producer, rounds))
            group.create_task(self._keep(rounds // 10))
        await self._log.close()

    async def _produce(self, producer: int, rounds: int) -> None:
        for number in range(rounds):
            await self._append(Place(self._number, producer, number))
            if self._random.random() < 0.1:
                await asyncio.sleep(self._random.uniform(0, 0.01))

    async def _append(self, append: Place) -> None:
        last_seq = await self._log.append(append.entries())
        self._teller.tell("acknowledged", last_seq, append)

    async def _keep(self, rounds: int) -> None:
        for _ in range(rounds):
            await asyncio.sleep(self._random.uniform(0, 0.02))
            await asyncio.to_thread(self._confirm)
            await asyncio.to_thread(self._reduce)
            if self._log.retention.finished_bytes() > FINISHED_BYTES_MAX:
                await self._drop_next()

    def _confirm(self) -> None:
        seq = self._log.last_seq - UNCONFIRMED
        if seq > self._cursor.seq:
            self._teller.tell("confirming", seq)
            self._cursor.move(seq)
            self._teller.tell("confirmed", seq)

    def _reduce(self) -> None:
        retention = self._log.retention
        while retention.reduce(self._cursor.seq) or retention.trim(self._cursor.seq):
            self._teller.tell("reduced", self._log.whole_from_seq)

    async def _drop_next(self) -> None:
        lost = await asyncio.to_thread(self._log.retention.plan, self._cursor.seq)
        if lost is None:
            return
        self._events += 1
        await self._append(Place(self._number, KEEPER, self._events))
        self._teller.tell("dropping", lost.first_seq, lost.last_seq, lost.count, lost.data_class)
        await asyncio.to_thread(self._drop, lost)

    def _drop(self, lost: LostRange) -> None:
        assert self._log.retention.drop(lost)
        self._teller.tell("dropped")
