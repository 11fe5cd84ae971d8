"""Whatever happens, the losses told sum up to what is missing, and no child is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teddy_edge.clock import Trust
from teddy_edge.errors import LogFull, LogOverloaded, LogPoisoned
from teddy_edge.eventlog import Entry, EventLog, Gap, LostRange, StoredRecord
from teddy_edge.eventlog.files import Files, SystemFiles
from teddy_edge.eventlog.simulated_device import Loss
from teddy_edge.eventlog.simulated_files import FailAt, SimulatedFiles
from teddy_edge.eventlog.snapshot import Snapshot
from teddy_edge.events import (
    BearStarted,
    Cause,
    DataClass,
    Event,
    RecordsLost,
    decode_record,
    encode_event,
)
from teddy_edge.log_keeper import (
    ESSENTIAL,
    LogKeeper,
    lost_range,
    neighbours_wall_ns,
    policy_of,
)
from teddy_edge.settings import LogSettings
from teddy_edge.sync.wire import batch_of
from teddy_edge.testing import FakeClock
from tests.eventlog.counting import gaps_that_note
from tests.eventlog.histories import layouts

DIRECTORY = Path("/log")
SMALL = LogSettings().model_copy(
    update={
        "segment_bytes_max": 2048,
        "allocation_bytes": 512,
        "budget_bytes": 10_000,
        "reserve_bytes": 4096,
        "confirmed_age_s_max": 3600,
        "command_bytes_max": 1000,
        "state_bytes_max": 1000,
    }
)
DAY_S = 24 * 3600


class Bear:
    """A log and its keeper, as the daemon holds them, over files that a test controls."""

    def __init__(
        self, files: Files, clock: FakeClock, directory: Path = DIRECTORY,
        limits: LogSettings = SMALL,
    ) -> None:  # fmt: skip
        self.confirmed_seq = 0
        self.clock = clock
        self.log = EventLog.open(
            directory, limits, files, essential=ESSENTIAL, policy=policy_of(limits)
        )
        self.log.start()
        self.keeper = LogKeeper(self.log, lambda: self.confirmed_seq, self.note, limits, clock)

    async def note(self, event: Event) -> int:
        body = encode_event(event, "bear", Cause(), self.clock)
        return await self.log.append([Entry(event.data_class, body)])

    async def append(self, classes: list[DataClass], text: str = "") -> int:
        body = encode_event(BearStarted(version=text), "", Cause(), self.clock)
        return await self.log.append([Entry(data_class, body) for data_class in classes])

    def records(self) -> list[StoredRecord]:
        return self.log.read(1, 100_000, 1 << 30)

    def told(self) -> list[RecordsLost]:
        """What the log says of losses: what the daemon gathers while it replays."""
        events = [decode_record(s.seq, s.data_class, s.body).event for s in self.records()]
        return [event for event in events if isinstance(event, RecordsLost)]

    def lost(self) -> list[LostRange]:
        """The same, without what is around it."""
        return [lost_range(event) for event in self.told()]

    def check(self) -> None:
        """Every loss is told, and nothing else."""
        found = {record.seq for record in self.records()}
        gap_seqs = {
            seq for gap in self.log.gaps() for seq in range(gap.first_seq, gap.last_seq + 1)
        }
        assert sum(lost.count for lost in self.told()) == len(gap_seqs)
        assert self.log.report.missing_count == len(gap_seqs)
        assert not gap_seqs & found
        whole_from = self.log.whole_from_seq
        removed = set(range(1, self.log.last_seq + 1)) - found - gap_seqs
        assert all(seq < whole_from for seq in removed)


@contextlib.asynccontextmanager
async def bear(
    files: Files | None = None, directory: Path = DIRECTORY, limits: LogSettings = SMALL
) -> AsyncIterator[Bear]:
    living = Bear(files or SimulatedFiles(), FakeClock(), directory, limits)
    await living.keeper.begin(living.told())
    try:
        yield living
    finally:
        await living.log.close()


CLASSES = st.lists(st.sampled_from(DataClass), min_size=1, max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(CLASSES, min_size=1, max_size=12)),
        st.tuples(st.just("confirm"), st.floats(0, 1)),
        st.tuples(st.just("wait"), st.sampled_from([60.0, 2 * 3600.0])),
        st.tuples(st.just("keep"), st.just(0)),
        st.tuples(st.just("fail"), st.integers(0, 60)),
        st.tuples(st.just("cut"), st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]))),
        st.tuples(st.just("damage"), st.floats(0, 1)),
    ),
    max_size=25,
)


class History:
    """Runs steps; remembers what was acknowledged of each class."""

    def __init__(self, random: Random) -> None:
        self.files = SimulatedFiles()
        self.clock = FakeClock()
        self.random = random
        self.confirmed_seq = 0
        self.essential: set[int] = set()

    async def run(self, steps: list[tuple[str, Any]]) -> None:
        await self.begin()
        for name, value in steps:
            try:
                await getattr(self, name)(value)
            except LogPoisoned:
                await self.restart()
        await self.restart()
        await self.bear.log.close()

    async def begin(self) -> None:
        self.bear = Bear(self.files, self.clock)
        self.bear.confirmed_seq = self.confirmed_seq
        await self.bear.keeper.begin(self.bear.told())
        self.bear.check()
        found = {record.seq for record in self.bear.records()}
        assert found >= self.essential

    async def restart(self) -> None:
        await self.bear.log.close()
        self.files = self.files.reopened()
        await self.begin()

    async def append(self, appends: list[list[DataClass]]) -> None:
        for classes in appends:
            try:
                last_seq = await self.bear.append(classes)
            except LogFull:
                assert not set(classes) & set(ESSENTIAL)
                continue
            first_seq = last_seq - len(classes) + 1
            self.essential |= {
                seq for seq, kind in enumerate(classes, first_seq) if kind in ESSENTIAL
            }

    async def confirm(self, share: float) -> None:
        seq = round(share * self.bear.log.last_seq)
        self.confirmed_seq = self.bear.confirmed_seq = max(self.confirmed_seq, seq)

    async def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def keep(self, _: object) -> None:
        await self.bear.keeper.keep()
        self.bear.check()

    async def fail(self, number: int) -> None:
        """Any call of the file system fails, or power goes: the daemon ends and starts again."""
        self.files.fault = FailAt(
            number, errno.EIO, "create write sync rename remove sync_directory"
        )
        await self.append([[DataClass.ACTIVITY, DataClass.DIAGNOSTICS]] * 5)
        await self.keep(0)
        await self.restart()

    async def cut(self, where: tuple[float, float]) -> None:
        depth, kept = where
        begin = len(self.files.journal)
        await self.keep(0)
        await self.bear.log.close()
        at = begin + round(depth * (len(self.files.journal) - begin))
        self.files = self.files.after_crash(at, Loss(kept), self.random)
        await self.begin()

    async def damage(self, where: float) -> None:
        """Spoil a record in a finished segment while the bear is off."""
        await self.bear.log.close()
        finished = list(Snapshot(DIRECTORY, self.files).segments())[:-1]
        found = [(view.path, f) for view in finished for f in view.frames if f.is_record]
        if found:
            path, frame = found[round(where * (len(found) - 1))]
            data = bytearray(self.files.content(path))
            data[(frame.offset_bytes + frame.end_bytes) // 2] ^= 0xFF
            self.files.damage(path, bytes(data))
            self.essential.discard(frame.seq)
        await self.begin()


@given(steps=STEPS, random=st.randoms(use_true_random=False))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_after_any_history_the_losses_that_were_told_are_what_is_missing(
    steps: list[tuple[str, Any]], random: Random
) -> None:
    asyncio.run(History(random).run(steps))


async def test_a_power_cut_between_telling_and_dropping_is_made_good_and_told_once() -> None:
    files = SimulatedFiles()
    async with bear(files) as living:
        for _ in range(30):
            await living.append([DataClass.DIAGNOSTICS, DataClass.ACTIVITY, DataClass.CONSENT])
        begin = len(files.journal)
        await living.keeper.keep()
        end = len(files.journal)
        assert living.told()
    told_and_not_done = 0
    for at in range(begin, end + 1):
        again = Bear(files.after_crash(at, Loss(kept=0.5), Random(at)), FakeClock())
        missing_before = again.log.report.missing_count
        before = again.told()
        await again.keeper.begin(before)
        assert again.told() == before
        again.check()
        told_and_not_done += again.log.report.missing_count > missing_before
        await again.log.close()
    assert told_and_not_done > 0


async def test_damage_is_told_once_with_what_lies_around_it() -> None:
    files = SimulatedFiles()
    async with bear(files) as living:
        for _ in range(60):
            await living.append([DataClass.ACTIVITY])
    lose_the_third(files)
    for _ in range(2):
        async with bear(files) as living:
            assert living.lost() == [LostRange(3, 3, 1)]
            living.check()
            wall_ns = living.clock.wall_ns()
            assert neighbours_wall_ns(living.log, LostRange(3, 3, 1)) == (wall_ns, wall_ns)
            assert neighbours_wall_ns(living.log, LostRange(1, 3, 1)) == (None, wall_ns)


def lose_the_third(files: SimulatedFiles) -> None:
    """Damage one record of the first segment."""
    place = layouts(files)[0]
    data = bytearray(place.data)
    data[place.records[2].offset_bytes + 30] ^= 1
    files.damage(place.path, bytes(data))


async def test_damage_in_what_a_start_did_not_read_is_told_while_the_bear_lives() -> None:
    files = SimulatedFiles()
    async with bear(files) as living:
        for _ in range(60):
            await living.append([DataClass.ACTIVITY])
    lose_the_third(files)
    again = Bear(files.reopened(), FakeClock())
    await again.keeper.begin([], unread_seq=again.log.last_seq)
    assert again.log.report.complete, "nobody has read it"
    await again.keeper.keep()
    assert again.lost() == [LostRange(3, 3, 1)]
    again.check()
    await again.keeper.keep()
    again.check()
    await again.log.close()


async def test_the_loop_looks_at_no_gap_and_nobody_twice_at_gaps_that_were_told() -> None:
    looks: list[str] = []
    gap = gaps_that_note(looks)
    async with bear() as living:
        gaps = living.log.report.gaps
        gaps.append(gap(3, 3))
        await living.keeper.keep()
        await living.keeper.keep()
        assert looks
        assert threading.current_thread().name not in looks
        looks.clear()
        await living.keeper.keep()
        assert not looks
        gaps[:] = [gap(4, 4)]
        await living.keeper.keep()
        assert living.lost() == [LostRange(3, 3, 1), LostRange(4, 4, 1)]


async def test_a_loss_that_could_not_be_told_is_told_when_the_log_takes_it() -> None:
    async with bear() as living:
        is_refused = True

        async def note(event: Event) -> int:
            if is_refused:
                raise LogOverloaded(1, 5)
            return await living.note(event)

        keeper = LogKeeper(living.log, lambda: 0, note, SMALL, living.clock)
        living.log.report.gaps.append(Gap(3, 3))
        with pytest.raises(LogOverloaded):
            await keeper.keep()
        is_refused = False
        await keeper.keep()
        assert living.lost() == [LostRange(3, 3, 1)]


async def test_a_log_that_told_of_a_loss_counts_as_complete_at_no_moment_of_a_start() -> None:
    files = SimulatedFiles()
    async with bear(files) as living:
        for _ in range(60):
            await living.append([DataClass.ACTIVITY])
    lose_the_third(files)
    async with bear(files) as living:
        told = living.told()
    again = Bear(files.reopened(), FakeClock())
    await again.keeper.begin(told, unread_seq=again.log.last_seq)
    for _ in range(20):
        assert not again.log.report.complete
        await again.keeper.keep()
    assert again.log.report.missing_count == 1
    assert not again.log.report.is_uncounted
    again.check()
    await again.log.close()


async def test_a_bear_that_is_never_on_for_long_has_all_of_its_log_checked() -> None:
    files = SimulatedFiles()
    roomy = SMALL.model_copy(update={"budget_bytes": 1 << 20})
    async with bear(files, limits=roomy) as living:
        for _ in range(400):
            await living.append([DataClass.ACTIVITY])
    lose_the_third(files)
    for _ in range(200):
        again = Bear(files.reopened(), FakeClock(), limits=roomy)
        await again.keeper.begin([], unread_seq=again.log.last_seq)
        await again.keeper.keep()
        found = again.lost()
        await again.log.close()
        if found:
            break
    assert found == [LostRange(3, 3, 1)]


async def test_activity_goes_when_it_is_confirmed_and_old_and_not_by_an_untrue_clock() -> None:
    async with bear() as living:
        for _ in range(60):
            await living.append([DataClass.ACTIVITY])
        count = len(living.records())
        await living.keeper.keep()
        living.confirmed_seq = 50
        living.clock.advance(3599)
        await living.keeper.keep()
        living.clock.step_wall(2, Trust.UNSYNCED)
        await living.keeper.keep()
        assert len(living.records()) == count
        living.clock.step_wall(0, Trust.SYNCED)
        await living.keeper.keep()
        boundary = living.log.whole_from_seq
        assert 20 < boundary <= 51
        assert [record.seq for record in living.records()] == list(range(boundary, 61))
        assert living.told() == []
        living.check()


async def test_no_consent_is_forgotten_in_years() -> None:
    files = SimulatedFiles()
    async with bear(files) as living:
        consents = []
        for _ in range(30):
            consents.append(await living.append([DataClass.CONSENT]))
            for _ in range(4):
                await living.append([DataClass.ACTIVITY, DataClass.DIAGNOSTICS, DataClass.COMMAND])
            living.confirmed_seq = living.log.last_seq
            living.clock.advance(30 * DAY_S)
            await living.keeper.keep()
        living.check()
    async with bear(files) as again:
        found = [r.seq for r in again.records() if r.data_class == DataClass.CONSENT]
        assert found == consents
        assert again.log.report.complete
        assert again.log.retention.finished_bytes() < SMALL.budget_bytes


async def test_what_is_confirmed_goes_before_anything_is_dropped() -> None:
    async with bear() as living:
        for _ in range(36):
            await living.append([DataClass.ACTIVITY])
        living.confirmed_seq = living.log.last_seq
        for _ in range(44):
            await living.append([DataClass.DIAGNOSTICS])
        await living.keeper.keep()
        assert living.told() == []
        assert len(living.records()) < 80
        for _ in range(60):
            with contextlib.suppress(LogFull):
                await living.append([DataClass.ACTIVITY])
        await living.keeper.keep()
        assert {lost.data_class for lost in living.lost()} == {DataClass.DIAGNOSTICS}
        living.check()


async def test_what_goes_upstream_meanwhile_names_each_loss() -> None:
    """An uplink is in the middle of the segments that are changed under it."""
    async with bear() as living:
        for _ in range(60):
            await living.append([DataClass.DIAGNOSTICS, DataClass.SAFETY])
        sent_seq = living.confirmed_seq = 31
        skipped: list[int] = []
        while sent_seq < living.log.last_seq:
            batch = batch_of(living.log.epoch, living.log.read(sent_seq + 1, 7, 4000), sent_seq)
            batch.verify()
            skipped += range(sent_seq + 1, batch.first_seq)
            assert len(skipped) == 0 or batch.after_seq == sent_seq
            sent_seq = batch.last_seq
            await living.keeper.keep()
        lost = {s for gap in living.log.gaps() for s in range(gap.first_seq, gap.last_seq + 1)}
        assert len(skipped) > 20
        assert set(skipped) <= lost
        living.check()


async def test_a_full_card_records_safety_and_frees_itself_when_the_cloud_confirms() -> None:
    files = SimulatedFiles()
    files.capacity_bytes = 40_000
    async with bear(files, limits=SMALL.model_copy(update={"budget_bytes": 1 << 20})) as living:
        await _fill_and_free(living)


@pytest.mark.parametrize("capacity_bytes", range(16_000, 40_000, 1_111))
async def test_a_card_that_is_full_at_any_point_of_a_run_and_then_freed_loses_nothing_untold(
    capacity_bytes: int,
) -> None:
    files = SimulatedFiles()
    files.capacity_bytes = capacity_bytes
    classes = [DataClass.DIAGNOSTICS, DataClass.ACTIVITY, DataClass.STATE, DataClass.COMMAND]
    essential: list[int] = []
    async with bear(files, limits=SMALL.model_copy(update={"budget_bytes": 1 << 20})) as living:
        for number in range(150):
            with contextlib.suppress(LogFull):
                await living.append([classes[number % 4]])
            if number % 15 == 0:
                essential.append(await living.append([ESSENTIAL[number % 2]]))
            if number == 130:
                await living.keeper.keep()
        living.check()
        files.capacity_bytes = 1 << 30
        await living.keeper.keep()
        await living.append([DataClass.ACTIVITY])
        assert set(essential) <= {record.seq for record in living.records()}
    async with bear(files) as again:
        assert set(essential) <= {record.seq for record in again.records()}
        again.check()


@pytest.fixture
def small_card(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


async def test_a_real_full_card_records_safety_and_frees_itself(small_card: Path) -> None:
    limits = SMALL.model_copy(
        update={
            "segment_bytes_max": 65536, "allocation_bytes": 16384, "reserve_bytes": 262144,
            "budget_bytes": 1 << 30,
        }
    )  # fmt: skip
    async with bear(SystemFiles(), small_card / "log", limits) as living:
        await _fill_and_free(living)


async def _fill_and_free(living: Bear) -> None:
    """Without a cloud until nothing more is taken; then it confirms."""
    with contextlib.suppress(LogFull):
        while True:
            await living.append([DataClass.COMMAND] * 2, text="x" * 400)
    for _ in range(5):
        await living.append([DataClass.SAFETY])
        await living.append([DataClass.CONSENT, DataClass.COMMAND])
    with pytest.raises(LogFull):
        await living.append([DataClass.COMMAND], text="x" * 400)
    living.confirmed_seq = living.log.last_seq
    await living.keeper.keep()
    await living.append([DataClass.COMMAND])
    essential = [r for r in living.records() if r.data_class in ESSENTIAL and r.seq > 0]
    assert len(essential) >= 10
    assert living.told() == []
    living.check()
