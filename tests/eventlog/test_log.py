"""The log as its callers see it: append, read, wait, close, open again."""

import asyncio
import errno
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from teddy_edge.errors import LogClosed, LogLocked, LogOverloaded, LogPoisoned, RecordTooLarge
from teddy_edge.eventlog import Entry, EventLog, Gap, Policy, retention, whole_files
from teddy_edge.eventlog.frame import FRAME_BYTES_MIN
from teddy_edge.eventlog.simulated_files import FailAt, SimulatedFiles
from teddy_edge.settings import LogSettings

SETTINGS = LogSettings()
SMALL = LogSettings(segment_bytes_max=4096, record_bytes_max=1024, batch_bytes_max=4096)


def entries(*bodies: bytes) -> list[Entry]:
    return [Entry(5, body) for body in bodies]


def bodies(log: EventLog, first_seq: int = 1) -> list[bytes]:
    return [record.body for record in log.read(first_seq, 1_000_000, 1 << 30)]


def segment_names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.log"))


async def test_what_was_acknowledged_is_read_back_after_opening_again(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path / "log", SETTINGS)
    log.start()
    assert await log.append(entries(b"one", b"two")) == 2
    assert await log.append(entries(b"")) == 3
    await log.close()
    again = EventLog.open(tmp_path / "log", SETTINGS)
    assert again.epoch == log.epoch
    assert (again.first_seq, again.last_seq) == (1, 3)
    assert bodies(again) == [b"one", b"two", b""]
    assert again.report.complete
    await again.close()


async def test_numbers_are_given_in_the_order_of_the_calls(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path, SETTINGS)
    log.start()
    futures = [log.append(entries(*[b"%d" % n] * (n % 3 + 1))) for n in range(100)]
    assert [future.done() for future in futures] == [False] * 100
    last_seqs = await asyncio.gather(*futures)
    assert last_seqs == sorted(last_seqs)
    assert log.last_seq == last_seqs[-1] == sum(n % 3 + 1 for n in range(100))
    await log.close()


class Scarce(list[Entry]):
    """Entries for which the memory lasts so many times."""

    looks_left = 0

    def __iter__(self) -> Iterator[Entry]:
        if self.looks_left == 0:
            raise MemoryError
        self.looks_left -= 1
        return super().__iter__()


async def test_an_append_that_fails_on_the_way_leaves_no_trace(tmp_path: Path) -> None:
    """Else all that follow would be told of each other's end."""
    log = EventLog.open(tmp_path, SETTINGS)
    log.start()
    failures = 0
    for looks in range(5):
        bad = Scarce(entries(b"bad"))
        bad.looks_left = looks
        try:
            log.append(bad)
        except MemoryError:
            failures += 1
    durable = log.append(entries(b"good"))
    assert await asyncio.wait_for(durable, 60) == 5 - failures + 1
    assert failures > 1
    await log.close()


async def test_a_long_log_over_many_segments_is_read_from_any_number(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path, SMALL)
    log.start()
    await asyncio.gather(*[log.append(entries(b"%04d" % n)) for n in range(1, 1001)])
    await log.close()
    assert len(segment_names(tmp_path)) > 5
    again = EventLog.open(tmp_path, SMALL)
    for seq in (1, 2, 31, 32, 33, 500, 999, 1000):
        found = again.read(seq, 3, 1 << 20)
        assert [int(record.body) for record in found] == list(range(seq, min(seq + 3, 1001)))
    assert again.read(1001, 3, 1 << 20) == []
    assert len(again.read(1, 100, 1)) == 1
    assert len(again.read(1, 100, 12)) == 3
    await again.close()


async def test_opening_a_long_log_reads_two_small_parts_of_each_segment_but_the_last() -> None:
    files = SimulatedFiles()
    directory = Path("/log")
    log = EventLog.open(directory, SMALL, files)
    log.start()
    await asyncio.gather(*[log.append(entries(b"%04d" % n)) for n in range(1, 1001)])
    await log.close()
    read: Counter[str] = Counter()

    def count(operation: str, path: Path) -> None:
        read[path.name] += operation == "read"

    files.fault = count
    await EventLog.open(directory, SMALL, files).close()
    segments = [name for name in files.names(directory) if name.endswith(".log")]
    assert [read[name] for name in segments[:-1]] == [2] * (len(segments) - 1)


async def test_the_chain_runs_through_every_record_and_segment(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path, SMALL)
    log.start()
    await asyncio.gather(*[log.append(entries(b"x" * 500)) for _ in range(40)])
    records = log.read(1, 100, 1 << 20)
    assert records[0].chain_before == bytes(16)
    for before, after in pairwise(records):
        assert after.chain_before == before.chain
    await log.close()


def test_a_second_owner_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    holding = f"""
import sys
from collections import Counter
from pathlib import Path
from teddy_edge.eventlog import EventLog
from teddy_edge.eventlog.frame import FRAME_BYTES_MIN
from teddy_edge.eventlog.simulated_files import FailAt, SimulatedFiles
from teddy_edge.settings import LogSettings
log = EventLog.open(Path({str(tmp_path)!r}), LogSettings())
print("open", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        with pytest.raises(LogLocked) as caught:
            EventLog.open(tmp_path, SETTINGS)
        assert caught.value.pid == owner.pid
        owner.kill()
    asyncio.run(EventLog.open(tmp_path, SETTINGS).close())


async def test_a_record_over_the_limit_is_refused_and_nothing_of_it_queued(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path, SMALL)
    log.start()
    with pytest.raises(RecordTooLarge) as one:
        log.append(entries(b"fits", b"x" * 1025))
    assert (one.value.record_bytes, one.value.record_bytes_max) == (1025, 1024)
    rest_bytes = 4096 - 3 * (1024 + FRAME_BYTES_MIN) - FRAME_BYTES_MIN
    with pytest.raises(RecordTooLarge) as together:
        log.append(entries(*[b"x" * 1024] * 3, b"x" * (rest_bytes + 1)))
    assert (together.value.record_bytes, together.value.record_bytes_max) == (4097, 4096)
    assert await log.append(entries(b"x" * 1024)) == 1
    assert await log.append(entries(*[b"x" * 1024] * 3, b"x" * rest_bytes)) == 5
    await log.close()


@pytest.mark.parametrize(("operation", "named"), [("lock", "open"), ("sync_directory", "recovery")])
def test_a_card_that_refuses_to_be_opened_is_named_with_its_directory(
    operation: str, named: str
) -> None:
    files = SimulatedFiles()
    files.fault = FailAt(0, errno.EIO, operation)
    with pytest.raises(LogPoisoned) as caught:
        EventLog.open(Path("/log"), SETTINGS, files)
    assert (caught.value.operation, caught.value.path) == (named, Path("/log"))


async def test_a_full_queue_makes_the_caller_wait_and_then_refuses(tmp_path: Path) -> None:
    settings = LogSettings(queue_records_max=2, queue_timeout_s=0.01)
    log = EventLog.open(tmp_path, settings)
    log.start()
    waiting = log.append(entries(b"1", b"2"))
    with pytest.raises(LogOverloaded) as caught:
        log.append(entries(b"3"))
    assert (caught.value.queued_records, caught.value.timeout_s) == (2, 0)
    await log.wait_for_room()
    assert waiting.done()
    assert await log.append(entries(b"3")) == 3
    await log.close()


async def test_a_queue_that_stays_full_is_told_with_its_length_and_the_time_waited() -> None:
    files, goes_on = SimulatedFiles(), threading.Event()
    log = EventLog.open(Path("/log"), LogSettings(queue_records_max=2, queue_timeout_s=0.01), files)
    log.start()

    def wait_for_the_device(operation: str, path: Path) -> None:
        if operation == "sync":
            goes_on.wait()

    files.fault = wait_for_the_device
    waiting = log.append(entries(b"1", b"2"))
    with pytest.raises(LogOverloaded) as caught:
        await log.wait_for_room()
    assert (caught.value.queued_records, caught.value.timeout_s) == (2, 0.01)
    goes_on.set()
    assert await waiting == 2
    await log.close()


async def test_a_queue_is_full_by_its_bytes_too_and_only_as_long_as_they_wait() -> None:
    files, goes_on = SimulatedFiles(), threading.Event()
    log = EventLog.open(Path("/log"), LogSettings(queue_bytes_max=4096), files)
    log.start()

    def wait_for_the_device(operation: str, path: Path) -> None:
        if operation == "sync":
            goes_on.wait()

    files.fault = wait_for_the_device
    body = b"x" * (2048 - FRAME_BYTES_MIN)
    waiting = [log.append(entries(body)), log.append(entries(body))]
    with pytest.raises(LogOverloaded):
        log.append(entries(b""))
    goes_on.set()
    assert [await future for future in waiting] == [1, 2]
    goes_on.clear()
    waiting = [log.append(entries(body)), log.append(entries(body))]
    goes_on.set()
    assert [await future for future in waiting] == [3, 4]
    await log.close()


async def test_skipping_no_number_changes_nothing_and_skipping_one_loses_one() -> None:
    files = SimulatedFiles()
    log = EventLog.open(Path("/log"), SETTINGS, files)
    log.start()
    await log.append(entries(b"1", b"2"))
    await log.close()
    names = files.names(Path("/log"))
    log = EventLog.open(Path("/log"), SETTINGS, files)
    log.skip_beyond(2)
    assert (log.gaps(), files.names(Path("/log"))) == ([], names)
    for seq in (3, 5):
        log.skip_beyond(seq)
    await log.close()
    assert log.gaps() == [Gap(3, 3), Gap(4, 5)]
    assert log.report.missing_count == 3


async def test_a_reader_waits_for_what_is_not_yet_written(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path, SETTINGS)
    log.start()
    waiting = asyncio.create_task(log.wait_beyond(0))
    await asyncio.sleep(0)
    assert not waiting.done()
    log.append(entries(b"1"))
    assert await waiting == 1
    await log.close()


async def test_closing_writes_what_is_queued_and_refuses_what_comes_later(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path, SETTINGS)
    log.start()
    watching = asyncio.create_task(log.watch())
    future = log.append(entries(b"late"))
    await log.close()
    assert await future == 1
    await watching
    with pytest.raises(LogClosed) as caught:
        log.append(entries(b"too late"))
    assert str(tmp_path) in str(caught.value)


async def test_the_writers_thread_has_a_name_and_holds_up_no_process(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path, SETTINGS)
    before = threading.enumerate()
    log.start()
    (writer,) = [thread for thread in threading.enumerate() if thread not in before]
    assert (writer.name, writer.daemon) == ("teddy-edge-log", True)
    await log.close()


def test_a_process_that_dies_without_closing_its_log_ends(tmp_path: Path) -> None:
    dying = f"""
import asyncio
from pathlib import Path
from teddy_edge.eventlog import EventLog
from teddy_edge.settings import LogSettings

async def main():
    EventLog.open(Path({str(tmp_path)!r}), LogSettings()).start()
    raise SystemExit(7)

asyncio.run(main())
"""
    result = subprocess.run([sys.executable, "-c", dying], timeout=60, check=False)
    assert result.returncode == 7


async def test_a_log_is_not_given_up_while_retention_is_at_work(tmp_path: Path) -> None:
    """Its thread outlives the task that waited for it, and the next owner's files are the same."""
    is_at_work, may_go_on = threading.Event(), threading.Event()
    policy = Policy(removable=frozenset({5}))
    log = EventLog.open(tmp_path / "log", SMALL, policy=policy)
    log.start()
    for number in range(200):
        await log.append(entries(b"%04d" % number))

    def slowly(*arguments: Any) -> Path:
        is_at_work.set()
        assert may_go_on.wait(60)
        return whole_files.write_unfinished(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "write_unfinished", slowly)
        working = asyncio.create_task(asyncio.to_thread(log.retention.reduce, log.last_seq))
        await asyncio.to_thread(is_at_work.wait)
        working.cancel()
        closing = asyncio.create_task(log.close())
        await asyncio.sleep(0.1)
        with pytest.raises(LogLocked):
            EventLog.open(tmp_path / "log", SMALL)
        may_go_on.set()
        await closing
    with pytest.raises(LogClosed):
        log.retention.reduce(log.last_seq)
    again = EventLog.open(tmp_path / "log", SMALL, policy=policy)
    assert (again.last_seq, again.report.missing_count) == (200, 0)
    await again.close()


async def test_who_closes_twice_closes_nothing_of_anybody_else(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path / "log", SMALL)
    await log.close()
    with (tmp_path / "other").open("wb") as other:  # gets the number of the lock's descriptor
        await log.close()
        os.fstat(other.fileno())
