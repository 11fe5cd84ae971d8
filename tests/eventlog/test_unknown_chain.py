"""A segment behind a lost end begins with a chain value that nobody knows, and is whole."""

from __future__ import annotations

from random import Random

from teddy_edge.eventlog import Entry, EventLog, Policy
from teddy_edge.eventlog.inspection import verify
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from tests.eventlog.histories import DIRECTORY, TINY, append, layouts, write_history

REMOVABLE = 4


async def log_behind(files: SimulatedFiles, seq: int) -> EventLog:
    """A log that gives numbers behind this one."""
    await (await write_history(files)).close()
    log = EventLog.open(DIRECTORY, TINY, files)
    log.skip_beyond(seq)
    return log


async def test_a_torn_first_commit_leaves_a_segment_without_damage() -> None:
    files = SimulatedFiles()
    log = await log_behind(files, 100)
    log.start()
    await append(log, 1)
    torn = files.copy()
    await log.close()
    path = max(name for name in torn.names(DIRECTORY) if name.endswith(".log"))
    content = torn.content(DIRECTORY / path)
    torn.damage(DIRECTORY / path, content[:100] + b"\x55" * 10)
    for boot in range(3):
        log = EventLog.open(DIRECTORY, TINY, torn)
        log.start()
        assert (log.report.torn_bytes > 0) == (boot == 0)
        assert log.report.damage == []
        if boot == 1:
            assert await append(log, 1) == 101
            (record,) = log.read(101, 1, 1)
            assert record.chain_before == b"", "nobody can prove what came before"
        await log.close()
    assert {defect.kind.value for defect in verify(DIRECTORY, torn).defects} == {"missing"}


async def test_an_empty_segment_behind_a_lost_end_is_reduced_once() -> None:
    files = SimulatedFiles()
    await (await write_history(files, [1] * 33)).close()
    last = layouts(files)[-1]
    files.damage(last.path, Random(1).randbytes(200))
    log = EventLog.open(DIRECTORY, TINY, files, policy=Policy(removable=frozenset({REMOVABLE})))
    log.skip_beyond(log.last_seq + 20)
    log.start()
    for _ in range(12):
        await log.append([Entry(5, bytes(30))])
    rewritten = 0
    while log.retention.reduce(log.last_seq):
        rewritten += 1
        assert rewritten < 20, "the card is written for ever"
    await log.close()
    assert EventLog.open(DIRECTORY, TINY, files).whole_from_seq == log.whole_from_seq
