"""A power cut after every single change of a run: what was acknowledged is there.

The run's journal is played up to each point, and the device then keeps, loses or tears each block,
size and name that nobody had waited for. Recovery itself is cut in the same way.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.eventlog.files import BLOCK_BYTES
from teddy_edge.eventlog.frame import salt_of
from teddy_edge.eventlog.segment import decode_header, first_seq_of
from teddy_edge.eventlog.simulated_device import Loss
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from teddy_edge.eventlog.survey import survey
from teddy_edge.settings import LogSettings
from tests.eventlog.histories import DIRECTORY, ROOMY, TINY, Found, body_of, examine

LOSSES = [
    Loss(kept=0), Loss(kept=1), Loss(kept=0.5), Loss(kept=0.5, torn=0.5), Loss(kept=0.9, torn=1),
]  # fmt: skip
CRASH_POINTS_MIN = 5_000
"""For each of two settings."""


@dataclass(frozen=True)
class Appended:
    """One append of the run."""

    seqs: range
    round_seqs: range
    """Of all that was appended at once."""
    acknowledged_at: int
    """How many changes were done when the caller was told."""


async def run_in_rounds(
    files: SimulatedFiles, rounds: list[list[int]], settings: LogSettings
) -> list[Appended]:
    """Append several at once in each round, so that commits hold more than one append.

    Between the rounds a finished segment is written again, with all that it holds: what its file
    was becomes the next segment.
    """
    log = EventLog.open(DIRECTORY, settings, files)
    log.start()
    done: list[Appended] = []

    async def append(first_seq: int, size: int, round_seqs: range) -> None:
        seqs = range(first_seq, first_seq + size)
        await log.append([Entry(5, body_of(seq)) for seq in seqs])
        done.append(Appended(seqs, round_seqs, len(files.journal)))

    for sizes in rounds:
        first_seq = log.last_seq + 1
        round_seqs = range(first_seq, first_seq + sum(sizes))
        async with asyncio.TaskGroup() as group:
            for size in sizes:
                group.create_task(append(first_seq, size, round_seqs))
                first_seq += size
        log.retention.reduce(log.last_seq)
    await log.close()
    return done


def recycled_count(files: SimulatedFiles) -> int:
    """How many segments were made of a file that was one before."""
    named: dict[int, set[Path]] = defaultdict(set)
    for change in files.journal:
        if change.kind == "link" and first_seq_of(change.path.name):
            named[change.inode].add(change.path)
    return sum(len(paths) - 1 for paths in named.values())


async def check(
    files: SimulatedFiles, appended: list[Appended], at: int, settings: LogSettings
) -> Found:
    """Open, and compare with what the callers were told."""
    found = await examine(files, settings)
    seqs = set(found.seqs)
    assert found.seqs == sorted(seqs)
    for append in appended:
        present = seqs.intersection(append.seqs)
        assert present in (set(), set(append.seqs)), "half an append"
        assert present or append.acknowledged_at > at, "an acknowledged append is lost"
    missing = sorted(set(range(1, found.last_seq + 1)) - seqs)
    assert found.gap_seqs == missing
    assert found.missing_count == len(missing)
    return found


@pytest.mark.parametrize("settings", [TINY, ROOMY], ids=["tiny", "roomy"])
async def test_a_power_cut_at_any_point_loses_nothing_acknowledged(
    settings: LogSettings,
) -> None:
    random = Random(20261122)
    files = SimulatedFiles()
    rounds = [random.choices([1, 1, 2, 3, 9, 20], k=random.randint(1, 4)) for _ in range(16)]
    appended = await run_in_rounds(files, rounds, settings)
    assert recycled_count(files) > 1
    points = 0
    while points < CRASH_POINTS_MIN:
        for at in range(len(files.journal) + 1):
            loss = random.choice(LOSSES)
            crashed = files.after_crash(at, loss, random)
            again = await _cut_during_recovery(crashed, loss, random, settings)
            found = await check(again, appended, at, settings)
            assert found.torn_bytes == 0 or loss.kept > 0, "old content is taken for a torn write"
            points += 1
    print(f"{points} crash points, {recycled_count(files)} recycled segments")


async def _cut_during_recovery(
    files: SimulatedFiles, loss: Loss, random: Random, settings: LogSettings
) -> SimulatedFiles:
    """Half of the time the power goes again while the log is being opened."""
    if random.random() < 0.5:
        return files
    begin = len(files.journal)
    await EventLog.open(DIRECTORY, settings, files).close()
    return files.after_crash(random.randint(begin, len(files.journal)), loss, random)


@pytest.mark.parametrize("settings", [TINY, ROOMY], ids=["tiny", "roomy"])
async def test_a_block_spoilt_by_the_power_cut_costs_only_the_records_in_it(
    settings: LogSettings,
) -> None:
    """SD cards damage blocks beside the one being written: acknowledged long ago, or just now."""
    random = Random(7)
    files = SimulatedFiles()
    appended = await run_in_rounds(
        files, [[1], [2], [1, 1], [3], [1], [2, 1], [1], [9], [1]] * 2, settings
    )
    for at in range(len(files.journal) + 1):
        for loss in LOSSES * 4:
            crashed = files.after_crash(at, loss, random)
            spoilt = _spoil_a_block(crashed, random)
            found = set((await examine(crashed, settings)).seqs)
            for append in appended:
                if append.acknowledged_at <= at and not found.issuperset(append.seqs):
                    assert spoilt.intersection(append.seqs), "lost without being damaged"
                    others_kept = found.issuperset(set(append.seqs) - spoilt)
                    no_commit_follows = max(found, default=0) <= append.round_seqs[-1]
                    assert others_kept or no_commit_follows


def _spoil_a_block(files: SimulatedFiles, random: Random) -> set[int]:
    """Fill one block of the last segment with noise or zeros; gives the records that touch it."""
    names = [name for name in files.names(DIRECTORY) if first_seq_of(name)]
    if not names:
        return set()
    path = DIRECTORY / names[-1]
    data = files.content(path)
    header = decode_header(path, data)
    if header is None or len(data) <= 64:
        return set()
    begin = random.randrange(64, len(data))
    end = min(begin + random.choice([1, 40, BLOCK_BYTES]), len(data))
    filling = random.choice([bytes(end - begin), random.randbytes(end - begin)])
    files.damage(path, data[:begin] + filling + data[end:])
    frames = survey(data, salt_of(header.epoch, header.first_seq), header.first_seq).frames
    return {f.seq for f in frames if f.offset_bytes < end and f.end_bytes > begin}
