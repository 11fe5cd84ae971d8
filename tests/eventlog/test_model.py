"""Any history of appends, restarts, power cuts and damage, against a plain dictionary."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.eventlog.simulated_device import Loss
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from tests.eventlog.histories import DIRECTORY, ROOMY, TINY, layouts

Bodies = list[list[bytes]]
APPENDS = st.lists(st.lists(st.binary(max_size=90), min_size=1, max_size=4), min_size=1, max_size=4)


class LogMachine(RuleBasedStateMachine):
    """`records` is what must be read; a number up to `last_seq` that is not in it is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.files = SimulatedFiles()
        self.records: dict[int, bytes] = {}
        self.last_seq = 0

    @initialize(settings=st.sampled_from([TINY, ROOMY]))
    def begin(self, settings: Any) -> None:
        self.settings = settings
        self._open()

    @rule(appends=APPENDS)
    def append_at_once(self, appends: Bodies) -> None:
        for seqs, bodies, _ in self._append(appends):
            self.records |= dict(zip(seqs, bodies, strict=True))
            self.last_seq = seqs[-1]

    @rule()
    def close_and_open(self) -> None:
        self.runner.run(self.log.close())
        self._open()

    @rule()
    def kill_and_open(self) -> None:
        killed = self.files.copy()
        self.runner.run(self.log.close())
        self.files = killed
        self._open()

    @rule(
        appends=APPENDS,
        kept=st.sampled_from([0, 0.5, 0.9, 1]),
        torn=st.sampled_from([0, 0.5, 1]),
        seed=st.integers(0, 2**32 - 1),
        depth=st.floats(0, 1),
    )
    def lose_power(
        self, appends: Bodies, kept: float, torn: float, seed: int, depth: float
    ) -> None:
        """The seed is drawn before: a draw may end the example, which must find the log open."""
        begin = len(self.files.journal)
        appended = self._append(appends)
        self.runner.run(self.log.close())
        at = begin + round(depth * (len(self.files.journal) - begin))
        self.files = self.files.after_crash(at, Loss(kept, torn), Random(seed))
        self._open()
        self.last_seq = max(self.last_seq, self.log.last_seq)
        assert self.log.last_seq == self.last_seq, "numbers are not given twice"
        present = {record.seq: record.body for record in self.log.read(1, 10_000, 1 << 30)}
        for seqs, bodies, acknowledged_at in appended:
            expected = dict(zip(seqs, bodies, strict=True))
            found = {seq: present[seq] for seq in seqs if seq in present}
            assert found in ({}, expected)
            assert found or acknowledged_at > at
            self.records |= found

    @rule(where=st.floats(0, 1), bit=st.integers(0, 7))
    def damage_a_record(self, where: float, bit: int) -> None:
        """While the log is closed, so that its seal proves every record."""
        self.runner.run(self.log.close())
        found = [(place, frame) for place in layouts(self.files) for frame in place.records]
        if found:
            place, frame = found[round(where * (len(found) - 1))]
            data = bytearray(place.data)
            data[(frame.offset_bytes + frame.end_bytes) // 2] ^= 1 << bit
            self.files.damage(place.path, bytes(data))
            del self.records[frame.seq]
        self._open()

    @rule(
        first_seq=st.integers(0, 300), records_max=st.integers(1, 50), bytes_max=st.integers(0, 900)
    )
    def read_from_anywhere(self, first_seq: int, records_max: int, bytes_max: int) -> None:
        wanted = [seq for seq in sorted(self.records) if seq >= first_seq][:records_max]
        total = 0
        seqs: list[int] = []
        for seq in wanted:
            total += len(self.records[seq])
            if seqs and total > bytes_max:
                break
            seqs.append(seq)
        found = self.log.read(first_seq, records_max, bytes_max)
        assert [record.seq for record in found] == seqs

    @invariant()
    def everything_is_there(self) -> None:
        found = self.log.read(1, 10_000, 1 << 30)
        assert {record.seq: record.body for record in found} == self.records
        assert [record.seq for record in found] == sorted(self.records)
        assert self.log.last_seq == self.last_seq
        assert self.log.report.missing_count == self.last_seq - len(self.records)

    def teardown(self) -> None:
        if hasattr(self, "log"):  # a history may end before its first step
            self.runner.run(self.log.close())
        self.runner.close()

    def _open(self) -> None:
        self.log = EventLog.open(DIRECTORY, self.settings, self.files)
        self.runner.run(self._start())

    async def _start(self) -> None:
        self.log.start()

    def _append(self, appends: Bodies) -> list[tuple[range, list[bytes], int]]:
        return self.runner.run(self._append_and_wait(appends))

    async def _append_and_wait(self, appends: Bodies) -> list[tuple[range, list[bytes], int]]:
        futures = [self.log.append([Entry(5, body) for body in bodies]) for bodies in appends]
        done = []
        for bodies, future in zip(appends, futures, strict=True):
            last_seq = await future
            seqs = range(last_seq - len(bodies) + 1, last_seq + 1)
            done.append((seqs, bodies, len(self.files.journal)))
        return done


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
