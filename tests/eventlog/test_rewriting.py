"""A finished segment written again: it says of itself what a segment that was written once says."""

from __future__ import annotations

from teddy_edge.eventlog import Entry, EventLog, LostRange, Policy
from teddy_edge.eventlog.frame import FIRST, LAST
from teddy_edge.eventlog.segment import first_seq_of
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from tests.eventlog.histories import DIRECTORY, TINY, Layout, layouts

STAYING, REMOVABLE, DROPPABLE = 1, 5, 6
CLASSES = (STAYING, REMOVABLE, DROPPABLE, STAYING, REMOVABLE, REMOVABLE, STAYING)
POLICY = Policy(removable=frozenset({REMOVABLE}), droppable=(DROPPABLE,))
COUNT = 40


def opened(files: SimulatedFiles) -> EventLog:
    return EventLog.open(DIRECTORY, TINY, files, policy=POLICY)


async def rewritten_log() -> tuple[SimulatedFiles, LostRange]:
    """One class lost from one segment, then another removed from all; closed."""
    files = SimulatedFiles()
    log = opened(files)
    log.start()
    for seq in range(1, COUNT + 1):
        await log.append([Entry(CLASSES[seq % len(CLASSES)], b"record %d" % seq)])
    lost = log.retention.plan(0)
    assert lost is not None
    assert log.retention.drop(lost)
    while log.retention.reduce(COUNT):
        pass
    await log.close()
    return files, lost


async def test_what_a_rewritten_segment_has_lost_is_known_before_it_is_read() -> None:
    files, lost = await rewritten_log()
    again = opened(files)
    assert again.report.missing_count == lost.count
    await again.close()


async def test_what_was_removed_after_something_was_lost_is_gone_too() -> None:
    files, _ = await rewritten_log()
    log = opened(files)
    found = {r.seq: r.data_class for r in log.read(1, 1000, 1 << 20)}
    before = [data_class for seq, data_class in found.items() if seq < log.whole_from_seq]
    assert len(before) > COUNT // 4
    assert REMOVABLE not in before
    await log.close()


async def test_each_record_of_a_rewritten_segment_is_an_append_of_its_own() -> None:
    files, _ = await rewritten_log()
    for segment in layouts(files)[:-1]:
        kept = [frame for frame in segment.frames if frame.is_record]
        assert {(frame.position, frame.flags) for frame in kept} == {(0, FIRST | LAST)}


async def test_the_seal_of_a_rewritten_segment_counts_what_is_kept_and_what_was_removed() -> None:
    files, lost = await rewritten_log()
    for segment in layouts(files)[:-1]:
        *frames, seal = segment.frames
        numbers = seal.seq - first_seq_in(segment) + 1
        within = lost.count if first_seq_in(segment) <= lost.first_seq <= seal.seq else 0
        assert seal.record_count == numbers - within
        assert seal.record_count == sum(frame.seq - frame.begin_seq + 1 for frame in frames)


def first_seq_in(segment: Layout) -> int:
    first_seq = first_seq_of(segment.path.name)
    assert first_seq is not None
    return first_seq
