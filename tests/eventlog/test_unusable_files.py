"""Whatever stands under a name of ours, the log opens, and gives no number again."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from teddy_edge.errors import LogPoisoned
from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.eventlog.simulated_files import FailAt, SimulatedFiles
from teddy_edge.eventlog.spares import spare_name
from tests.eventlog.histories import DIRECTORY, TINY, append, layouts, write_history

HUGE_BYTES = 8 * 1024**4


def huge(path: Path) -> None:
    """A file that claims what no card can hold."""
    path.touch()
    os.truncate(path, HUGE_BYTES)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS: list[Callable[[Path], object]] = [Path.mkdir, os.mkfifo, dangling, endless, huge]
NAMES = ["origin", "reserve", "lock", spare_name(3), "x.new", "x.damaged", "x.torn"]


async def write(directory: Path, count: int = 30) -> None:
    log = EventLog.open(directory, TINY)
    log.start()
    for number in range(1, count + 1):
        await log.append([Entry(5, b"record %d" % number)])
    await log.close()


async def goes_on(directory: Path) -> tuple[set[int], int]:
    """Open twice and append each time; gives what numbers were found first, and the next one."""
    found: set[int] = set()
    seqs = []
    for _ in range(2):
        log = EventLog.open(directory, TINY, essential=[1])
        log.start()
        found = found or {record.seq for record in log.read(1, 1000, 1 << 20)}
        seqs.append(await log.append([Entry(1, b"new")]))
        await log.close()
    log = EventLog.open(directory, TINY)
    assert set(seqs) <= {record.seq for record in log.read(1, 1000, 1 << 20)}
    await log.close()
    return found, seqs[0]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", NAMES)
async def test_what_is_no_file_under_a_name_of_ours_costs_nothing(
    tmp_path: Path, name: str, make: Callable[[Path], object]
) -> None:
    await write(tmp_path / "log")
    (tmp_path / "log" / name).unlink(missing_ok=True)
    make(tmp_path / "log" / name)
    found, next_seq = await goes_on(tmp_path / "log")
    assert (found, next_seq) == (set(range(1, 31)), 31)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("which", [0, 1, -1])
async def test_what_is_no_file_in_the_place_of_a_segment_costs_that_segment(
    tmp_path: Path, which: int, make: Callable[[Path], object]
) -> None:
    await write(tmp_path / "log")
    segments = sorted((tmp_path / "log").glob("*.log"))
    firsts = [*(int(path.stem) for path in segments), 31]
    at = which % len(segments)
    lost = range(firsts[at], firsts[at + 1])
    segments[which].unlink()
    make(segments[which])
    found, next_seq = await goes_on(tmp_path / "log")
    assert found == set(range(1, 31)) - set(lost)
    assert next_seq > 30


@pytest.mark.parametrize("code", [errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.EACCES])
@pytest.mark.parametrize("operation", ["open", "read"])
@pytest.mark.parametrize("which", [0, 2, -1])
async def test_a_segment_that_the_file_system_refuses_is_lost_and_counted(
    operation: str, code: int, which: int
) -> None:
    files = SimulatedFiles()
    await (await write_history(files, [1] * 30)).close()
    place = layouts(files)[which]

    def refuse(done: str, path: Path) -> OSError | None:
        if done != operation or path != place.path:
            return None
        return OSError(code, os.strerror(code), str(path))

    for _ in range(2):
        files.fault = refuse
        log = EventLog.open(DIRECTORY, TINY, files)
        log.start()
        found = {record.seq for record in log.read(1, 1000, 1 << 20)}
        assert found >= set(range(1, 31)) - set(place.seqs)
        assert log.report.missing_count >= len(set(place.seqs) - found)
        assert await append(log, 1) > 30
        await log.close()


@pytest.mark.parametrize("count", [2, 30])
@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.parametrize("operation", ["open", "read"])
@pytest.mark.parametrize(
    "code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EIO, errno.EUCLEAN]
)
async def test_what_fails_once_is_never_taken_for_damage(
    code: int, operation: str, is_killed: bool, count: int
) -> None:
    """Whichever file it happens at, this start or the next one finds everything, and goes on."""
    files = SimulatedFiles()
    log = await write_history(files, [1] * count)
    left = files.copy()
    await log.close()
    if is_killed:  # before room was made ahead of the last commit
        last = layouts(left)[-1]
        left.damage(last.path, last.data[: last.frames[-1].end_bytes])
    else:
        left = files
    for number in itertools.count():
        again = left.copy()
        again.fault = fault = FailAt(number, code, operation)
        expected = list(range(1, count + 1))
        with contextlib.suppress(LogPoisoned):
            log = EventLog.open(DIRECTORY, TINY, again)
            again.fault = FailAt(0, code, "none")
            log.start()
            expected.append(await append(log, 1))
            await log.close()
        if not fault.fired:
            break
        log = EventLog.open(DIRECTORY, TINY, again.copy())
        assert [record.seq for record in log.read(1, 1000, 1 << 20)] == expected
        assert expected[-1] in (count, count + 1)
        assert log.report.missing_count == 0
    assert number > len(layouts(files))


async def test_an_origin_that_the_file_system_refuses_is_made_again() -> None:
    files = SimulatedFiles()
    await (await write_history(files)).close()
    epoch = EventLog.open(DIRECTORY, TINY, files.copy()).epoch

    def refuse(done: str, path: Path) -> OSError | None:
        is_origin = done == "open" and path.name == "origin"
        return OSError(errno.EUCLEAN, "it needs cleaning", str(path)) if is_origin else None

    files.fault = refuse
    log = EventLog.open(DIRECTORY, TINY, files)
    assert (log.epoch, log.report.missing_count) == (epoch, 0)


async def test_an_origin_of_another_log_does_not_outweigh_all_segments() -> None:
    files, other = SimulatedFiles(), SimulatedFiles()
    for each in (files, other):
        await (await write_history(each)).close()
    files.damage(DIRECTORY / "origin", other.content(DIRECTORY / "origin"))
    log = EventLog.open(DIRECTORY, TINY, files)
    assert log.report.missing_count == 0
    assert log.report.quarantined == []
    assert len(log.read(1, 1000, 1 << 20)) == log.last_seq
