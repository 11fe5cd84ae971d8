"""Files of removed segments that become the next ones: old content never comes back, nor counts."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from teddy_edge.eventlog import Entry, EventLog, Policy
from teddy_edge.eventlog.files import File, Files, SystemFiles
from teddy_edge.eventlog.frame import SEAL_BYTES
from teddy_edge.eventlog.inspection import verify
from teddy_edge.eventlog.reserve import RESERVE_NAME
from teddy_edge.eventlog.segment import HEADER_BYTES, Header, encode_header, file_name, first_seq_of
from teddy_edge.eventlog.simulated_device import Loss
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from teddy_edge.eventlog.snapshot import Snapshot, Statistics
from teddy_edge.eventlog.spares import Spares, give_up_spares, last_seq_of, spare_name
from teddy_edge.settings import LogSettings
from tests.eventlog.histories import (
    DIRECTORY,
    TINY,
    Layout,
    append,
    body_of,
    examine,
    layouts,
    write_history,
)

ACTIVITY, SAFETY = 5, 1
NUMBERED_BYTES = 17
"""So much of a frame tells its number, as long as that is small."""


def spares(files: SimulatedFiles) -> list[str]:
    return [name for name in files.names(DIRECTORY) if last_seq_of(name) is not None]


async def recycled_log(files: SimulatedFiles, sizes: tuple[int, ...] = (1,) * 40) -> EventLog:
    """A log that is open, and whose last segment was another one before."""
    log = EventLog.open(DIRECTORY, TINY, files)
    log.start()
    for size in sizes:
        await append(log, size)
        log.retention.reduce(log.last_seq)
    assert old_content(layouts(files)[-1])
    return log


def old_content(last: Layout) -> bytes:
    """What stands behind the last record."""
    return last.data[last.frames[-1].end_bytes :].rstrip(b"\0")


async def killed_log() -> tuple[SimulatedFiles, Layout]:
    """A log that died in a segment that was another one before."""
    files = SimulatedFiles()
    log = await recycled_log(files)
    killed = files.copy()
    await log.close()
    return killed, layouts(killed)[-1]


async def test_what_retention_frees_becomes_the_next_segment(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path, TINY)
    log.start()
    inodes: dict[int, str] = {}
    recycled = 0
    for _ in range(100):
        await append(log, 1)
        log.retention.reduce(log.last_seq)
        for entry in os.scandir(tmp_path):
            if first_seq_of(entry.name) is not None:
                recycled += inodes.get(entry.inode(), entry.name) < entry.name
                inodes[entry.inode()] = entry.name
                assert entry.stat().st_nlink == 1
    assert recycled > 5
    assert [r.body for r in log.read(1, 1000, 1 << 20)] == [body_of(s) for s in range(1, 101)]
    await log.close()


async def test_a_log_that_died_in_an_old_file_holds_what_was_written_and_nothing_else() -> None:
    files, last = await killed_log()
    found = await examine(files)
    assert found.seqs == list(range(1, last.seqs[-1] + 1))
    assert (found.torn_bytes, found.missing_count) == (0, 0)
    assert not [name for name in files.names(DIRECTORY) if name.endswith((".torn", ".damaged"))]


async def test_old_content_that_is_damaged_means_nothing() -> None:
    files, last = await killed_log()
    end = last.frames[-1].end_bytes
    for offset in range(end, len(last.data) - SEAL_BYTES):
        damaged = files.copy()
        data = bytearray(last.data)
        data[offset] ^= 0xFF
        damaged.damage(last.path, bytes(data))
        found = await examine(damaged)
        assert (found.last_seq, found.torn_bytes, found.missing_count) == (last.seqs[-1], 0, 0)


async def test_a_flipped_bit_in_an_old_file_loses_at_most_the_record_it_lies_in() -> None:
    files, last = await killed_log()
    everything = list(range(1, last.seqs[-1] + 1))
    for bit in range(last.frames[-1].end_bytes * 8):
        damaged = files.copy()
        data = bytearray(last.data)
        data[bit // 8] ^= 1 << bit % 8
        damaged.damage(last.path, bytes(data))
        found = await examine(damaged)
        lost = [f.seq for f in last.records if f.offset_bytes <= bit // 8 < f.end_bytes]
        assert found.seqs == [seq for seq in everything if seq not in lost]
        is_end = lost == everything[-1:]
        assert found.gap_seqs == ([] if is_end else lost)


async def test_what_is_torn_in_an_old_file_is_kept_aside_without_the_old_content() -> None:
    """A commit of three records, of which the device took the first bytes only."""
    files = SimulatedFiles()
    log = await recycled_log(files)
    before = layouts(files)[-1]
    await append(log, 3)
    after = files.copy()
    await log.close()
    written = layouts(after)[-1]
    assert written.path == before.path
    begin, end = before.frames[-1].end_bytes, written.frames[-1].end_bytes
    for taken in range(end - begin):
        torn = after.copy()
        at = begin + taken
        content = written.data[:at] + before.data[at:]
        torn.damage(written.path, content)
        log = EventLog.open(DIRECTORY, TINY, torn)
        assert log.last_seq == before.seqs[-1]
        assert log.report.complete
        begun = [f for f in written.frames if begin <= f.offset_bytes <= at - NUMBERED_BYTES]
        kept = content[begin : begun[-1].end_bytes] if begun else b""
        assert log.report.torn_bytes == len(kept)
        file = log.report.torn_file
        assert (b"" if file is None else torn.content(file)) == kept
        await log.close()


async def test_a_hole_before_a_sound_record_in_an_old_file_is_damage() -> None:
    files, last = await killed_log()
    gone = last.records[-2]
    holed = last.data[: gone.offset_bytes] + bytes(gone.end_bytes - gone.offset_bytes)
    files.damage(last.path, holed + last.data[gone.end_bytes :])
    log = EventLog.open(DIRECTORY, TINY, files)
    await log.close()
    assert [gap.first_seq for gap in log.gaps()] == [gone.seq]
    assert log.report.torn_bytes == 0
    (aside,) = log.report.quarantined
    content_bytes = last.frames[-1].end_bytes
    assert files.content(aside) == (holed + last.data[gone.end_bytes :])[:content_bytes]


async def test_a_power_cut_while_an_old_file_becomes_a_segment_loses_nothing() -> None:
    files = SimulatedFiles()
    log = await recycled_log(files)
    count = len(layouts(files))
    begin = len(files.journal)
    while len(layouts(files)) == count:
        begin = len(files.journal)
        await append(log, 1)
    end = len(files.journal)
    await log.close()
    for at in range(begin, end + 1):
        for kept in (0.0, 0.5, 1.0):
            found = await examine(files.after_crash(at, Loss(kept=kept), Random(at)))
            assert found.missing_count == 0
            assert found.torn_bytes == 0 or kept > 0


async def test_a_new_segment_in_an_old_file_has_a_durable_header_before_its_name() -> None:
    files = SimulatedFiles()
    log = await recycled_log(files)
    await log.close()
    synced: set[int] = set()
    for change in files.journal:
        if change.kind in {"write", "truncate"}:
            synced.discard(change.inode)
        elif change.kind == "sync":
            synced.add(change.inode)
        elif change.kind == "link" and first_seq_of(change.path.name) is not None:
            assert change.inode in synced


def keep(files: Files, spares: Spares, path: Path, last_seq: int) -> bool:
    """Make a spare of a file, as retention does; False if it is not wanted."""
    spare = spares.claim(path, last_seq)
    if spare is not None:
        files.rename(path, spare)
        spares.keep(spare)
    return spare is not None


def test_a_file_is_written_again_only_when_its_old_name_is_gone_from_the_device() -> None:
    """The writer may want it before retention has synced the directory."""
    files, path = SimulatedFiles(), DIRECTORY / file_name(1)
    content = bytes(TINY.segment_bytes_max)
    files.make_directory(DIRECTORY)
    file = files.create(path)
    file.write(0, content)
    file.sync()
    files.sync_directory(DIRECTORY)
    spares, begin = Spares(DIRECTORY, files, TINY, 0), len(files.journal)
    assert keep(files, spares, path, 5)
    assert spares.begin(Header(UUID(int=1), 6, bytes(16)))
    for at in range(begin, len(files.journal) + 1):
        for kept in (0.0, 0.5, 1.0):
            crashed = files.after_crash(at, Loss(kept=kept), Random(at))
            if path.name in crashed.names(DIRECTORY):
                assert crashed.content(path) == content


async def test_records_of_another_log_in_a_spare_do_not_come_back_to_life() -> None:
    """Two logs that give the same numbers at the same offsets differ in their epoch alone."""
    other = SimulatedFiles()
    await (await write_history(other, (1,) * 40)).close()
    theirs = layouts(other)[1]
    files = SimulatedFiles()
    files.damage(DIRECTORY / spare_name(0), theirs.data)
    log = await write_history(files, (1,) * theirs.seqs[0])
    assert not spares(files)
    begun = files.content(theirs.path)
    assert begun[-SEAL_BYTES:] == theirs.data[-SEAL_BYTES:]
    killed = files.copy()
    await log.close()
    assert (await examine(killed)).last_seq == theirs.seqs[0]


async def test_a_spare_with_numbers_that_are_given_again_is_not_used() -> None:
    """Its records would be sound ones of the segment that begins with the same number."""
    files = SimulatedFiles()
    await (await recycled_log(files)).close()
    first, *later = layouts(files)
    killed = files.copy()
    for segment in later:
        killed.remove(segment.path)
    for name in spares(killed):
        killed.remove(DIRECTORY / name)
    killed.damage(DIRECTORY / spare_name(later[0].seqs[-1]), later[0].data)
    log = EventLog.open(DIRECTORY, TINY, killed)
    assert not spares(killed)
    log.start()
    assert await append(log, 1) == first.seqs[-1] + 1
    again = killed.copy()
    await log.close()
    assert (await examine(again)).last_seq == first.seqs[-1] + 1


@pytest.mark.parametrize("count_max", [0, 1, 2])
async def test_there_are_never_more_spares_than_wanted(count_max: int) -> None:
    settings = TINY.model_copy(update={"spare_segments_max": count_max})
    files = SimulatedFiles()
    log = EventLog.open(DIRECTORY, settings, files)
    log.start()
    for _ in range(60):
        await append(log, 1)
    while log.retention.reduce(log.last_seq):
        assert len(spares(files)) <= count_max
    assert len(spares(files)) == count_max
    await log.close()
    fewer = TINY.model_copy(update={"spare_segments_max": max(count_max - 1, 0)})
    log = EventLog.open(DIRECTORY, fewer, files)
    assert len(spares(files)) == max(count_max - 1, 0)
    await log.close()


async def test_a_spare_of_another_size_is_removed() -> None:
    files = SimulatedFiles()
    await (await write_history(files)).close()
    for number, size in enumerate((0, 200, 10_000)):
        files.damage(DIRECTORY / spare_name(number), bytes(size))
    await EventLog.open(DIRECTORY, TINY, files).close()
    assert not spares(files)


def spoil_a_record(files: SimulatedFiles, segment: Layout) -> bytes:
    """Flip a bit of its second record; gives what the file then holds."""
    spoilt = bytearray(segment.data)
    spoilt[segment.records[1].offset_bytes + 30] ^= 1
    files.damage(segment.path, bytes(spoilt))
    return bytes(spoilt)


async def test_a_damaged_file_is_not_used_again_but_kept_aside() -> None:
    files = SimulatedFiles()
    await (await write_history(files)).close()
    segment = layouts(files)[0]
    spoilt = spoil_a_record(files, segment)
    log = EventLog.open(DIRECTORY, TINY, files)
    assert log.retention.reduce(log.last_seq)
    aside = segment.path.with_name(segment.path.name + ".damaged")
    assert log.report.quarantined == [aside]
    assert files.content(aside) == spoilt
    assert not spares(files)
    await log.close()


ROOM = LogSettings(segment_bytes_max=4096, allocation_bytes=512, reserve_bytes=20_000)
POLICY = Policy(removable=frozenset({ACTIVITY}), droppable=(ACTIVITY,))


async def log_with_spares(files: SimulatedFiles, settings: LogSettings = ROOM) -> EventLog:
    """Two spares, and a segment that is not confirmed."""
    log = EventLog.open(DIRECTORY, settings, files, essential=[SAFETY], policy=POLICY)
    log.start()
    for _ in range(120):
        await log.append([Entry(ACTIVITY, bytes(100))])
    while log.retention.reduce(100):
        pass
    assert len(spares(files)) == 2
    return log


def used_bytes(files: SimulatedFiles) -> int:
    return files.capacity_bytes - files.free_bytes(DIRECTORY)


async def test_on_a_card_that_gets_full_the_spares_go_before_the_reserve_is_touched() -> None:
    files = SimulatedFiles()
    log = await log_with_spares(files)
    spare_bytes = log.retention.shortage_bytes()
    assert spare_bytes == 0
    files.capacity_bytes = used_bytes(files) + ROOM.reserve_bytes + ROOM.segment_bytes_max
    log.measure_room()
    assert len(spares(files)) == 2
    files.capacity_bytes -= 1
    log.measure_room()
    assert not spares(files)
    assert RESERVE_NAME in files.names(DIRECTORY)
    await log.append([Entry(ACTIVITY, bytes(100))])
    await log.close()


async def test_on_a_card_that_gets_full_the_spares_go_before_anything_is_dropped() -> None:
    files = SimulatedFiles()
    log = await log_with_spares(files)
    spare_bytes = sum(len(files.content(DIRECTORY / name)) for name in spares(files))
    wanted_bytes = ROOM.reserve_bytes + ROOM.segment_bytes_max
    files.capacity_bytes = used_bytes(files) + wanted_bytes - spare_bytes
    assert log.retention.shortage_bytes() == 0
    files.capacity_bytes -= 1
    assert log.retention.shortage_bytes() == 1
    log.measure_room()
    assert not spares(files)
    assert log.retention.shortage_bytes() == 1
    assert RESERVE_NAME in files.names(DIRECTORY)
    await log.close()


async def test_spares_that_are_given_up_while_room_is_measured_are_no_reason_to_drop() -> None:
    class Card(SimulatedFiles):
        def free_bytes(self, directory: Path) -> int:
            free_bytes = super().free_bytes(directory)
            if directory in given_up:
                given_up.remove(directory)
                in_another_thread(log._reserve.spares.give_up)
            return free_bytes

    given_up: list[Path] = []
    files = Card()
    log = await log_with_spares(files)
    spare_bytes = sum(len(files.content(DIRECTORY / name)) for name in spares(files))
    wanted_bytes = ROOM.reserve_bytes + ROOM.segment_bytes_max
    files.capacity_bytes = used_bytes(files) + wanted_bytes - spare_bytes
    given_up.append(DIRECTORY)
    assert log.retention.shortage_bytes() == 0
    assert not given_up
    assert not spares(files)
    await log.close()


async def test_without_a_reserve_too_the_spares_go_before_the_card_is_full() -> None:
    files = SimulatedFiles()
    log = await log_with_spares(files, ROOM.model_copy(update={"reserve_bytes": 0}))
    files.capacity_bytes = used_bytes(files) + 100
    for _ in range(50):
        await log.append([Entry(ACTIVITY, bytes(100))])
    assert not spares(files)
    await log.close()


async def test_a_recovery_that_finds_the_card_full_takes_the_spares_first() -> None:
    files = SimulatedFiles()
    log = await log_with_spares(files)
    await log.append([Entry(SAFETY, bytes(100))])
    killed = files.copy()
    await log.close()
    killed.capacity_bytes = used_bytes(killed)
    names: list[str] = []

    def watch(operation: str, path: Path) -> None:
        if operation == "remove" and not path.name.endswith(".new"):
            names.append(path.name)

    killed.fault = watch
    again = EventLog.open(DIRECTORY, ROOM, killed, essential=[SAFETY], policy=POLICY)
    assert names == [*spares(files), RESERVE_NAME]
    assert again.last_seq == 121
    await again.close()


async def test_the_spares_fit_into_the_budget() -> None:
    files = SimulatedFiles()
    budget_bytes = 20_000
    log = EventLog.open(
        DIRECTORY, ROOM.model_copy(update={"budget_bytes": budget_bytes}), files, policy=POLICY
    )
    log.start()
    recycled: set[str] = set()
    for number in range(600):
        before = spares(files)
        await log.append([Entry(ACTIVITY if number % 8 else SAFETY, bytes(100))])
        recycled.update(set(before) - set(spares(files)))
        while log.retention.shortage_bytes() > 0 and log.retention.reduce(log.last_seq):
            pass
        spare_bytes = sum(len(files.content(DIRECTORY / name)) for name in spares(files))
        if log.retention.finished_bytes() <= budget_bytes:
            assert log.retention.finished_bytes() + spare_bytes <= budget_bytes
    assert recycled
    await log.close()


async def test_a_log_with_spares_is_whole_to_those_who_look_at_it() -> None:
    files = SimulatedFiles()
    log = await recycled_log(files)
    assert spares(files)
    for state in ("open", "killed", "closed"):
        seen = files if state != "killed" else files.copy()
        verification = verify(DIRECTORY, seen)
        assert verification.is_whole
        assert verification.unfinished is None
        assert (verification.record_count, verification.last_seq) == (40, 40)
        statistics = Statistics()
        for view in Snapshot(DIRECTORY, seen).segments():
            statistics.take(view)
        assert statistics.record_count == 40
        assert statistics.segment_count == len(layouts(files))
        assert [r.seq for r in Snapshot(DIRECTORY, seen).records()] == list(range(1, 41))
        if state == "killed":
            await log.close()


async def test_between_two_names_a_segment_is_not_missed() -> None:
    """Where the power is cut after the old file lost its name and before the new one got it."""
    files = SimulatedFiles()
    log = await write_history(files)
    begin = len(files.journal)
    while log.retention.reduce(log.last_seq):
        pass
    end = len(files.journal)
    await log.close()
    between = 0
    for at in range(begin, end + 1):
        cut = files.after_crash(at, Loss(kept=1), Random(1))
        names = cut.names(DIRECTORY)
        segments = {name.removesuffix(".new") for name in names if ".log" in name}
        between += not segments.issubset(names)
        assert verify(DIRECTORY, cut).is_whole
    assert between


class RecyclingReader(SimulatedFiles):
    """While a file is read, it becomes another segment."""

    def __init__(self, files: SimulatedFiles, path: Path, become: Callable[[], None]) -> None:
        super().__init__()
        self._under = files
        self._path = path
        self._become = become
        self._seen = 0

    def names(self, directory: Path) -> list[str]:
        return self._under.names(directory)

    def open(self, path: Path, *, writable: bool = False) -> File:
        file = self._under.open(path, writable=writable)
        self._seen += path == self._path
        if path == self._path and self._seen == 2:  # the first look reads the header only
            self._become()
        return file


async def test_a_file_that_becomes_another_segment_while_it_is_looked_at_is_no_damage() -> None:
    files = SimulatedFiles()
    log = EventLog.open(DIRECTORY, TINY, files)
    log.start()
    for _ in range(20):
        await append(log, 1)
    first = layouts(files)[0]

    def become() -> None:
        assert log.retention.reduce(log.last_seq)
        (name,) = spares(files)
        taken = files.open(DIRECTORY / name, writable=True)
        taken.write(HEADER_BYTES, bytes(len(first.data) - HEADER_BYTES))

    verification = verify(DIRECTORY, RecyclingReader(files, first.path, become))
    assert spares(files)
    assert verification.is_whole
    assert verification.record_count == 20
    await log.close()


async def test_a_reader_is_never_given_what_another_segment_wrote_into_the_file_it_reads() -> None:
    files = SimulatedFiles()
    log = EventLog.open(DIRECTORY, TINY, files)
    log.start()
    for _ in range(20):
        await append(log, 1)
    first = layouts(files)[0]

    def become(operation: str, path: Path) -> None:
        if operation == "read" and path == first.path:
            files.fault = lambda *_: None
            assert log.retention.reduce(log.last_seq)
            (name,) = spares(files)
            taken = files.open(DIRECTORY / name, writable=True)
            taken.write(HEADER_BYTES, bytes(len(first.data) - HEADER_BYTES))

    files.fault = become
    assert [r.body for r in log.read(1, 100, 1 << 20)] == [body_of(s) for s in range(1, 21)]
    assert log.report.complete
    await log.close()


def test_a_file_is_kept_from_half_a_full_segment_to_a_full_one(tmp_path: Path) -> None:
    full_bytes = TINY.segment_bytes_max + SEAL_BYTES
    files = SystemFiles()
    for size_bytes, is_kept in [
        (full_bytes // 2 - 1, False), (full_bytes // 2, True),
        (full_bytes, True), (full_bytes + 1, False),
    ]:  # fmt: skip
        path = tmp_path / "a"
        path.write_bytes(bytes(size_bytes))
        assert keep(files, Spares(tmp_path, files, TINY, 0), path, 7) is is_kept
        assert give_up_spares(tmp_path, files) is is_kept
        assert spare_name(7) not in files.names(tmp_path)


def in_another_thread(action: Callable[[], object]) -> None:
    """Do something now; fails where it would have to wait for the one who calls this."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits"


def once(operation: str, action: Callable[[], object]) -> Callable[[str, Path], None]:
    """Make a fault that does something else in the middle of an operation, the first time."""
    left = [operation]

    def meddle(called: str, _: Path) -> None:
        if called in left:
            left.remove(called)
            in_another_thread(action)

    return meddle


FULL = bytes(TINY.segment_bytes_max)


def spares_and_two_files() -> tuple[SimulatedFiles, Spares, list[Path]]:
    """Of two files of segments the first is a spare; all numbers in them are up to 5."""
    files, paths = SimulatedFiles(), [DIRECTORY / "first", DIRECTORY / "second"]
    for path in paths:
        files.damage(path, FULL)
    spares = Spares(DIRECTORY, files, TINY, 0)
    assert keep(files, spares, paths[0], 5)
    return files, spares, paths


@pytest.mark.parametrize("operation", ["sync_directory", "open", "write", "sync", "rename"])
def test_a_spare_that_becomes_a_segment_is_in_nobody_elses_way_and_nobody_in_its(
    operation: str,
) -> None:
    files, spares, (_, second) = spares_and_two_files()
    claimed: list[Path | None] = []

    def meddle() -> None:
        spares.give_up()
        claimed.append(spares.claim(second, 5))
        assert spares.begin(Header(UUID(int=1), 16, bytes(16))) is None

    files.fault = once(operation, meddle)
    header = Header(UUID(int=1), 6, bytes(16))
    segment = spares.begin(header)
    assert segment is not None
    assert claimed == [None], "the other file would have got the segment's name"
    begun = files.content(segment.path)
    assert begun == encode_header(header) + FULL[HEADER_BYTES:]
    assert spares.size_bytes == 0
    assert keep(files, spares, second, 5)


@pytest.mark.parametrize("operation", ["remove", "sync_directory"])
def test_a_spare_that_is_given_up_is_in_nobody_elses_way_and_nobody_in_its(operation: str) -> None:
    files, spares, (_, second) = spares_and_two_files()
    taken: list[object] = []
    sizes_bytes: list[int] = []

    def meddle() -> None:
        sizes_bytes.append(spares.size_bytes)
        taken.append(spares.begin(Header(UUID(int=1), 6, bytes(16))))
        taken.append(spares.claim(second, 5))

    files.fault = once(operation, meddle)
    spares.give_up()
    assert taken == [None, None]
    assert sizes_bytes == [len(FULL)], "its room is not free before it is gone"
    assert spares.size_bytes == 0
    assert keep(files, spares, second, 5)


def test_a_file_that_is_claimed_is_no_spare_yet_but_counts_as_one() -> None:
    files, spares, (_, second) = spares_and_two_files()
    assert spares.begin(Header(UUID(int=1), 6, bytes(16)))
    spare = spares.claim(second, 5)
    assert spare is not None
    assert spares.begin(Header(UUID(int=1), 11, bytes(16))) is None
    files.rename(second, spare)
    spares.give_up()
    assert files.content(spare) == FULL
    for number in (6, 7):
        files.damage(second, FULL)
        assert keep(files, spares, second, number) is (number == 6)


async def test_reading_the_last_number_does_not_wait_for_a_spares_directory_sync() -> None:
    files = SimulatedFiles()
    log = await write_history(files, (1,) * 20)
    assert log.retention.reduce(log.last_seq)
    (oldest,) = spares(files)
    reached, opened = threading.Event(), threading.Event()
    waits: list[bool] = []

    def gate(operation: str, _: Path) -> None:
        if operation == "sync_directory" and threading.current_thread().name == "teddy-edge-log":
            reached.set()
            waits.append(opened.wait(10))

    files.fault = gate
    appends = [log.append([Entry(ACTIVITY, body_of(20))]) for _ in range(10)]
    assert await asyncio.to_thread(reached.wait, 10)
    assert await asyncio.to_thread(log.retention.reduce, log.last_seq)
    assert 20 <= log.last_seq < 30
    opened.set()
    assert await appends[-1] == 30
    assert waits
    assert all(waits), "the number was to be had only when the spare was done"
    assert oldest not in spares(files)
    assert spares(files)
    await log.close()


@pytest.mark.parametrize("number", range(6))
async def test_a_power_cut_while_one_file_becomes_a_segment_and_another_a_spare_loses_nothing(
    number: int,
) -> None:
    """Retention replaces a segment between any two steps of the writer's beginning another."""
    files = SimulatedFiles()
    log = await write_history(files, (1,) * 20)
    assert log.retention.reduce(log.last_seq)
    (oldest,) = spares(files)
    steps: list[str] = []

    def meet(operation: str, path: Path) -> None:
        is_writer = threading.current_thread().name == "teddy-edge-log"
        if is_writer and (path.name == oldest or operation in {"rename", "sync_directory"}):
            steps.append(operation)
            if len(steps) == number + 1:
                in_another_thread(lambda: log.retention.reduce(log.last_seq))

    files.fault = meet
    begin = len(files.journal)
    while oldest in spares(files):
        await append(log, 1)
    end = len(files.journal)
    assert steps == ["sync_directory", "open", "write", "sync", "rename", "sync_directory"]
    assert spares(files)
    await log.close()
    for at in range(begin, end + 1):
        for kept in (0.0, 0.5, 1.0):
            found = await examine(files.after_crash(at, Loss(kept=kept), Random(at)))
            assert found.seqs == list(range(1, found.last_seq + 1))
            assert found.last_seq >= 20
            assert found.missing_count == 0


async def test_while_a_segment_is_written_again_readers_wait_for_names_only() -> None:
    settings = TINY.model_copy(update={"quarantine_bytes_max": 0})
    files = SimulatedFiles()
    await (await write_history(files)).close()
    spoil_a_record(files, layouts(files)[1])
    log = EventLog.open(DIRECTORY, settings, files)
    asked: list[tuple[str, int]] = []

    def ask(operation: str, _: Path) -> None:
        if operation != "rename":
            in_another_thread(lambda: asked.append((operation, log.last_seq)))

    files.fault = ask
    assert log.retention.reduce(log.last_seq)
    assert log.retention.reduce(log.last_seq)
    assert {operation for operation, _ in asked} >= {"sync", "sync_directory", "remove"}
    assert len(log.report.quarantined) == 1
    await log.close()


async def test_a_file_becomes_a_spare_when_no_reader_is_led_to_it_any_more() -> None:
    files = SimulatedFiles()
    log = await write_history(files, (1,) * 20)
    first = layouts(files)[0]

    def give_up_meanwhile(operation: str, path: Path) -> None:
        if operation == "rename" and path == first.path:
            log._reserve.spares.give_up()

    files.fault = give_up_meanwhile
    assert log.retention.reduce(log.last_seq)
    assert spares(files) == [spare_name(first.seqs[-1])]
    await log.close()
