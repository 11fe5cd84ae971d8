"""Calls that fail: nothing is acknowledged afterwards, and the next start loses nothing."""

from __future__ import annotations

import asyncio
import errno
from random import Random

import pytest

from teddy_edge.errors import LogPoisoned
from teddy_edge.eventlog import EventLog
from teddy_edge.eventlog.simulated_device import Loss
from teddy_edge.eventlog.simulated_files import FailAt, SimulatedFiles
from tests.eventlog.histories import DIRECTORY, TINY, append, examine

CHANGING = "create write truncate sync rename remove sync_directory"


async def run_until_poisoned(files: SimulatedFiles) -> int:
    """Append until something fails; gives the last acknowledged number."""
    acknowledged = 0
    try:
        log = EventLog.open(DIRECTORY, TINY, files)
    except LogPoisoned:
        return 0
    log.start()
    watching = asyncio.create_task(log.watch())
    try:
        for size in (1, 1, 3, 1, 2, 1, 1, 2, 1, 1):
            acknowledged = await append(log, size)
    except LogPoisoned:
        with pytest.raises(LogPoisoned):
            await append(log, 1)
        with pytest.raises(LogPoisoned):
            await log.wait_for_room()
        with pytest.raises(LogPoisoned):
            await log.wait_beyond(1000)
        with pytest.raises(LogPoisoned):
            await watching
    await log.close()
    await asyncio.gather(watching, return_exceptions=True)
    return acknowledged


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
async def test_a_call_that_fails_once_loses_nothing_acknowledged(code: int) -> None:
    number = 0
    while True:
        files = SimulatedFiles()
        files.fault = fault = FailAt(number, code, CHANGING)
        acknowledged = await run_until_poisoned(files)
        if not fault.fired:
            break
        found = await examine(files.reopened())
        assert found.last_seq >= acknowledged
        assert found.missing_count == 0
        number += 1
    assert number > 40


@pytest.mark.parametrize("operation", ["sync", "sync_directory", "rename"])
async def test_what_was_read_after_a_failed_fsync_is_still_there_after_a_power_cut(
    operation: str,
) -> None:
    """The kernel may drop what it could not write, and call the next fsync a success."""
    number = 0
    while True:
        files = SimulatedFiles()
        files.fault = fault = FailAt(number, errno.EIO, operation)
        acknowledged = await run_until_poisoned(files)
        if not fault.fired:
            break
        log = EventLog.open(DIRECTORY, TINY, files.reopened())
        log.start()
        assert len(log.read(1, 1000, 1 << 20)) >= acknowledged
        await append(log, 1)
        trusted = [record.seq for record in log.read(1, 1000, 1 << 20)]
        cut = files.after_crash(len(files.journal), Loss(kept=0), Random(1))
        found = await examine(cut)
        assert found.seqs == trusted
        number += 1
        await log.close()
    assert number >= 3


async def test_a_full_card_is_refused_at_every_point_and_nothing_is_lost_once_it_is_freed() -> None:
    number = 0
    while True:
        files = SimulatedFiles()
        files.fault = fault = FailAt(number, errno.ENOSPC, "create write", onwards=True)
        acknowledged = await run_until_poisoned(files)
        if not fault.fired:
            break
        files.reopened().fault = FailAt(0, errno.ENOSPC, "create write", onwards=True)
        await run_until_poisoned(files)
        found = await examine(files.reopened())
        assert found.last_seq >= acknowledged
        assert found.missing_count == 0
        number += 1
    assert number > 10


async def test_a_recovery_that_fails_at_any_call_can_be_tried_again() -> None:
    number = 0
    whole = SimulatedFiles()
    log = EventLog.open(DIRECTORY, TINY, whole)
    log.start()
    last_seq = [await append(log, size) for size in (1, 2, 3, 1, 1, 2)][-1]
    killed = whole.copy()
    await log.close()
    while True:
        files = killed.copy()
        files.fault = fault = FailAt(number, errno.EIO, CHANGING)
        if not fault.fired and await _opens(files):
            break
        found = await examine(files.reopened())
        assert (found.last_seq, found.missing_count) == (last_seq, 0)
        number += 1
    assert number >= 5


async def _opens(files: SimulatedFiles) -> bool:
    try:
        await EventLog.open(DIRECTORY, TINY, files).close()
    except LogPoisoned:
        return False
    return True
