"""Frames that pass their checksum and cannot be true: the log opens, and is written on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from teddy_edge.eventlog import EventLog
from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.frame import (
    CHAIN_START,
    FIRST,
    LAST,
    POSITION_MAX,
    REMOVED,
    SEAL,
    SEQ_JUMP_MAX,
    salt_of,
)
from teddy_edge.eventlog.inspection import verify
from teddy_edge.eventlog.segment import (
    FIRST_SEQ_MAX,
    HEADER_BYTES,
    Header,
    encode_header,
    file_name,
)
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from tests.eventlog.histories import (
    APPEND_SIZES,
    DIRECTORY,
    TINY,
    append,
    body_of,
    layouts,
    write_history,
)

ALL = list(range(1, sum(APPEND_SIZES) + 1))
IMPLAUSIBLE = [2 * SEQ_JUMP_MAX, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1]
PLAUSIBLE = [0, 5, ALL[-1] + 1, SEQ_JUMP_MAX]


def forged(salt: int, seq: int) -> Iterator[bytes]:
    """Records, seals and removed runs with a number."""
    for flags in (0, FIRST, LAST, FIRST | LAST):
        for position in (0, POSITION_MAX):
            yield framing.encode(salt, position, flags, 5, seq, b"forged", bytes(16))
    for count in (0, 3, 2**63, 2**64 - 1):
        for flags in (SEAL, REMOVED, SEAL | REMOVED):
            yield framing.encode(salt, 0, flags, 0, seq, count.to_bytes(8, "little"), bytes(16))


async def log_with(forged_seq: int) -> list[SimulatedFiles]:
    """Logs with one forged frame each: at the end of a killed log, or in the place of a seal."""
    files = SimulatedFiles()
    log = await write_history(files)
    killed = files.copy()
    await log.close()
    cases = []
    for before, layout in [(killed, layouts(killed)[-1]), *((files, at) for at in layouts(files))]:
        end = layout.records[-1].end_bytes
        for frame in forged(salt_of(log.epoch, layout.seqs[0]), forged_seq):
            cases.append(before.copy())
            cases[-1].damage(layout.path, layout.data[:end] + frame)
    return cases


async def true_records(files: SimulatedFiles) -> list[int]:
    """Open, read, append, and open again; gives the numbers of the records that are not forged."""
    verify(DIRECTORY, files)
    log = EventLog.open(DIRECTORY, TINY, files)
    records = log.read(1, 1000, 1 << 20)
    assert log.report.missing_count >= 0
    assert all(gap.record_count > 0 for gap in log.gaps())
    log.start()
    for size in APPEND_SIZES:  # enough for new segments
        last_seq = await append(log, size)
    await log.close()
    again = EventLog.open(DIRECTORY, TINY, files)
    found = again.read(1, 1000, 1 << 20)
    assert found[: len(records)] == records
    assert found[len(records) :] == again.read(last_seq - len(ALL) + 1, 1000, 1 << 20)
    assert (len(found), again.last_seq) == (len(records) + len(ALL), last_seq)
    await again.close()
    return [record.seq for record in records if record.body == body_of(record.seq)]


@pytest.mark.parametrize("seq", IMPLAUSIBLE)
async def test_a_frame_with_a_number_that_cannot_be_costs_nothing(seq: int) -> None:
    for case in await log_with(seq):
        assert await true_records(case) == ALL


@pytest.mark.parametrize("seq", PLAUSIBLE)
async def test_a_log_with_a_forged_number_that_could_be_is_written_on(seq: int) -> None:
    for case in await log_with(seq):
        await true_records(case)


@pytest.mark.parametrize("first_seq", [0, FIRST_SEQ_MAX + 1, 2**64 - 1, 10**20 - 1])
async def test_a_file_named_by_a_number_that_no_log_reaches_is_no_segment(first_seq: int) -> None:
    files = SimulatedFiles()
    log = await write_history(files)
    await log.close()
    header = encode_header(Header(log.epoch, first_seq % 2**64, CHAIN_START))
    files.damage(DIRECTORY / file_name(first_seq), header)
    assert await true_records(files) == ALL


@pytest.mark.parametrize("first_seq", [0, FIRST_SEQ_MAX, 2**64 - 1])
async def test_a_header_with_another_number_than_the_name_costs_its_segment(first_seq: int) -> None:
    files = SimulatedFiles()
    log = await write_history(files)
    await log.close()
    last = layouts(files)[-1]
    header = encode_header(Header(log.epoch, first_seq, CHAIN_START))
    files.damage(last.path, header + last.data[HEADER_BYTES:])
    assert await true_records(files) == [seq for seq in ALL if seq not in last.seqs]
