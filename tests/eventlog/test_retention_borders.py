"""Keeping within the budget, where segments begin and end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from teddy_edge.errors import LogPoisoned
from teddy_edge.eventlog import Entry, EventLog, Gap, LostRange, Policy
from teddy_edge.eventlog.files import SystemFiles
from teddy_edge.eventlog.frame import FRAME_BYTES_MIN, SEAL_BYTES
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from tests.eventlog.histories import DIRECTORY, TINY, layouts

STAYING, BOUNDED, REMOVABLE, DROPPABLE = 1, 3, 5, 6
RECORD_BYTES = FRAME_BYTES_MIN + 20
PER_SEGMENT = (TINY.segment_bytes_max - 64) // RECORD_BYTES


def opened(files: SimulatedFiles, bounded_bytes: int = 1 << 20) -> EventLog:
    policy = Policy(frozenset({REMOVABLE}), {BOUNDED: bounded_bytes}, (DROPPABLE,))
    return EventLog.open(DIRECTORY, TINY, files, policy=policy)


async def log_of(files: SimulatedFiles, *classes: int, body_bytes: int = 20) -> EventLog:
    log = opened(files)
    log.start()
    for data_class in classes:
        await log.append([Entry(data_class, bytes(body_bytes))])
    return log


def seqs(log: EventLog) -> list[int]:
    return [record.seq for record in log.read(1, 10_000, 1 << 30)]


def reduce_all(log: EventLog) -> None:
    while log.retention.reduce(log.last_seq):
        pass


async def test_a_segment_is_reduced_once_its_last_record_is_confirmed() -> None:
    log = await log_of(SimulatedFiles(), *[REMOVABLE] * 3 * PER_SEGMENT)
    assert log.retention.oldest_whole(PER_SEGMENT - 1) is None
    assert not log.retention.reduce(PER_SEGMENT - 1)
    assert log.retention.oldest_whole(PER_SEGMENT) == PER_SEGMENT
    assert log.retention.reduce(PER_SEGMENT)
    assert seqs(log)[0] == PER_SEGMENT + 1
    await log.close()


async def test_a_bound_is_kept_to_the_byte_in_reduced_segments_that_are_confirmed() -> None:
    files = SimulatedFiles()
    log = await log_of(files, *[BOUNDED] * 2 * PER_SEGMENT)
    assert not log.retention.trim(log.last_seq)
    assert log.retention.reduce(PER_SEGMENT)
    await log.close()
    exact_bytes = PER_SEGMENT * RECORD_BYTES
    for bounded_bytes, confirmed_seq, is_trimmed in [
        (exact_bytes, PER_SEGMENT, False),
        (exact_bytes - 1, PER_SEGMENT - 1, False),
        (exact_bytes - 1, PER_SEGMENT, True),
    ]:
        log = opened(files, bounded_bytes)
        assert log.retention.trim(confirmed_seq) is is_trimmed
        await log.close()


async def test_a_single_record_at_either_end_of_a_segment_is_dropped() -> None:
    log = await log_of(SimulatedFiles(), *[DROPPABLE] * 3 * PER_SEGMENT)
    for seq in (PER_SEGMENT, PER_SEGMENT + 1):
        assert log.retention.drop(LostRange(seq, seq, 1, DROPPABLE))
    assert sorted({*range(1, 3 * PER_SEGMENT + 1)} - {*seqs(log)}) == [PER_SEGMENT, PER_SEGMENT + 1]
    await log.close()


async def test_a_loss_at_the_end_of_a_segment_is_counted_once_however_often_that_is_rewritten() -> (
    None
):
    log = await log_of(SimulatedFiles(), *[DROPPABLE] * 3 * PER_SEGMENT)
    first, last = PER_SEGMENT + 1, 2 * PER_SEGMENT
    for seq in (first, last, first + 2, last - 2):
        assert log.retention.drop(LostRange(seq, seq, 1, DROPPABLE))
    assert log.gaps() == [Gap(seq, seq) for seq in (first, first + 2, last - 2, last)]
    assert log.report.missing_count == 4
    await log.close()


async def test_of_the_last_segment_that_holds_records_nothing_is_removed() -> None:
    files = SimulatedFiles()
    count = 4 * PER_SEGMENT
    await (await log_of(files, *[REMOVABLE] * count)).close()
    log = opened(files)
    log.skip_beyond(count + 10)
    reduce_all(log)
    assert seqs(log) == list(range(3 * PER_SEGMENT + 1, count + 1))
    await log.close()


async def test_a_last_segment_of_one_record_lets_the_one_before_it_be_removed() -> None:
    files = SimulatedFiles()
    log = await log_of(files, *[REMOVABLE] * 6, body_bytes=500)
    assert len(layouts(files)) == 6
    reduce_all(log)
    assert seqs(log) == [6]
    assert len(layouts(files)) == 2
    await log.close()


async def test_removed_segments_join_each_other_behind_one_that_stays() -> None:
    files = SimulatedFiles()
    log = await log_of(files, STAYING, *[REMOVABLE] * 5, body_bytes=420)
    reduce_all(log)
    assert seqs(log) == [1, 6]
    assert len(layouts(files)) == 3
    await log.close()


async def test_what_stays_is_not_joined_beyond_the_size_of_a_segment() -> None:
    files = SimulatedFiles()
    log = await log_of(files, *[STAYING, STAYING, STAYING, REMOVABLE, STAYING] * 10)
    reduce_all(log)
    sizes = [len(segment.data) for segment in layouts(files)]
    assert max(sizes[:-1]) <= TINY.segment_bytes_max + 2 * SEAL_BYTES
    await log.close()


async def test_the_shortage_is_what_the_budget_or_the_card_lacks_for_one_more_segment() -> None:
    files = SimulatedFiles()
    log = await log_of(files, *[STAYING] * 4 * PER_SEGMENT)
    await log.close()
    used_bytes, segment_bytes = log.retention.finished_bytes(), TINY.segment_bytes_max
    for budget_bytes, free_bytes, shortage_bytes in [
        (used_bytes + segment_bytes, 1 << 20, 0),
        (used_bytes - 100, 1 << 20, segment_bytes + 100),
        (1 << 20, 7_900, segment_bytes + 100),
    ]:
        files.capacity_bytes = 1 << 30
        limits = {"budget_bytes": budget_bytes, "reserve_bytes": 8_000}
        settings = TINY.model_copy(update=limits)
        log = EventLog.open(DIRECTORY, settings, files, essential=[STAYING])
        files.capacity_bytes -= files.free_bytes(DIRECTORY) - free_bytes
        assert log.retention.shortage_bytes() == shortage_bytes
        await log.close()


def test_a_card_with_room_is_short_of_nothing_and_one_that_is_gone_is_named(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    log = EventLog.open(directory, TINY, SystemFiles(), essential=[STAYING])
    assert log.retention.shortage_bytes() == 0
    log.measure_room()
    directory.rename(tmp_path / "elsewhere")
    for operation, look in [
        ("statvfs", log.retention.shortage_bytes),
        ("reserve", log.measure_room),
    ]:
        with pytest.raises(LogPoisoned) as caught:
            look()
        assert (caught.value.operation, caught.value.path) == (operation, directory)
    asyncio.run(log.close())


async def test_a_damaged_segment_that_is_joined_is_set_aside() -> None:
    files = SimulatedFiles()
    log = await log_of(files, *[REMOVABLE] * 5, body_bytes=500)
    spoilt = layouts(files)[2]
    content = spoilt.data[:100] + b"X" + spoilt.data[101:]
    files.damage(spoilt.path, content)
    reduce_all(log)
    assert len(layouts(files)) == 2
    (aside,) = log.report.quarantined
    assert files.content(aside) == content
    await log.close()


async def test_a_file_is_kept_for_the_next_segment_as_long_as_the_budget_has_room_for_it() -> None:
    files = SimulatedFiles()
    log = await log_of(files, *[REMOVABLE] * 4 * PER_SEGMENT)
    assert log.retention.reduce(PER_SEGMENT)
    await log.close()
    (spare,) = spares(files)
    rewritten_bytes = len(layouts(files)[0].data)
    used_bytes = log.retention.finished_bytes() + len(files.content(DIRECTORY / spare))
    for room_bytes, count in [(rewritten_bytes - 1, 0), (rewritten_bytes, 1)]:
        tried = files.copy()
        settings = TINY.model_copy(update={"budget_bytes": used_bytes + room_bytes})
        policy = Policy(frozenset({REMOVABLE}))
        log = EventLog.open(DIRECTORY, settings, tried, policy=policy)
        assert log.retention.reduce(2 * PER_SEGMENT)
        assert len(set(spares(tried)) - {spare}) == count
        await log.close()


def spares(files: SimulatedFiles) -> list[str]:
    return [name for name in files.names(DIRECTORY) if name.endswith(".spare")]
