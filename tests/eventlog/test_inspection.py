"""Looking at a log from outside."""

from __future__ import annotations

import asyncio
from pathlib import Path
from zlib import crc32

import pytest

from teddy_edge.errors import LogFormatUnsupported, LogNotFound
from teddy_edge.eventlog import Entry, EventLog, Gap
from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.inspection import ClassStatistics, Inspection, verify
from teddy_edge.eventlog.segment import decode_header
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from teddy_edge.settings import LogSettings
from tests.eventlog.histories import (
    APPEND_SIZES,
    DIRECTORY,
    Layout,
    body_of,
    layouts,
    write_history,
)

LAST = sum(APPEND_SIZES)


async def closed_log() -> tuple[SimulatedFiles, list[Layout]]:
    files = SimulatedFiles()
    await (await write_history(files)).close()
    return files, layouts(files)


async def test_a_log_that_was_closed_and_one_that_is_open_are_whole() -> None:
    files = SimulatedFiles()
    log = await write_history(files)
    for state in ("open", "closed"):
        verification = verify(DIRECTORY, files)
        assert verification.is_whole, state
        assert verification.epoch == log.epoch
        assert (verification.first_seq, verification.last_seq) == (1, LAST)
        assert verification.record_count == LAST
        if state == "open":
            await log.close()


async def test_every_spoilt_byte_is_found_with_its_segment_and_offset() -> None:
    files, segments = await closed_log()
    for segment in segments:
        for offset in range(len(segment.data)):
            spoilt = files.copy()
            data = bytearray(segment.data)
            data[offset] ^= 0xFF
            spoilt.damage(segment.path, bytes(data))
            verification = verify(DIRECTORY, spoilt)
            lost = [f.seq for f in segment.records if f.offset_bytes <= offset < f.end_bytes]
            assert verification.gaps == [Gap(seq, seq) for seq in lost]
            is_last_seal = segment is segments[-1] and offset >= segment.frames[-1].offset_bytes
            if not is_last_seal:
                (damage,) = verification.damage
                assert damage.path == segment.path
                assert 0 <= offset - damage.offset_bytes < damage.size_bytes


async def test_looking_changes_nothing() -> None:
    files, segments = await closed_log()
    files.damage(segments[-1].path, segments[-1].data[:-20])
    before = {name: files.content(DIRECTORY / name) for name in files.names(DIRECTORY)}
    verify(DIRECTORY, files)
    Inspection(DIRECTORY, files).statistics()
    assert {name: files.content(DIRECTORY / name) for name in files.names(DIRECTORY)} == before


async def test_a_record_that_was_altered_with_its_checksum_breaks_the_chain() -> None:
    files, segments = await closed_log()
    for segment in segments:
        for frame in segment.records:
            header = decode_header(segment.path, segment.data)
            assert header is not None
            forged = framing.encode(
                framing.salt_of(header.epoch, header.first_seq), frame.position, frame.flags,
                frame.data_class, frame.seq, b"X" + frame.body[1:], frame.chain,
            )  # fmt: skip
            altered = files.copy()
            data = segment.data[: frame.offset_bytes] + forged + segment.data[frame.end_bytes :]
            altered.damage(segment.path, data)
            assert verify(DIRECTORY, altered).chain_breaks == [frame.seq]


async def test_two_records_that_changed_places_break_the_chain() -> None:
    files, segments = await closed_log()
    segment = segments[0]
    header = decode_header(segment.path, segment.data)
    assert header is not None
    first, second = segment.records[:2]
    salt = framing.salt_of(header.epoch, header.first_seq)
    swapped = b"".join(
        framing.encode(salt, 0, 3, frame.data_class, seq, frame.body, frame.chain)
        for seq, frame in ((first.seq, second), (second.seq, first))
    )
    data = segment.data[: first.offset_bytes] + swapped + segment.data[second.end_bytes :]
    files.damage(segment.path, data)
    assert verify(DIRECTORY, files).chain_breaks == [first.seq, second.seq, second.seq + 1]


async def test_a_segment_of_another_log_is_named() -> None:
    files, segments = await closed_log()
    _, others = await closed_log()
    files.damage(segments[1].path, others[1].data)
    verification = verify(DIRECTORY, files)
    assert verification.foreign == [segments[1].path]
    assert verification.gaps == [Gap(segments[1].seqs[0], segments[1].seqs[-1])]


async def test_records_are_given_from_any_number_on() -> None:
    files, _ = await closed_log()
    for first_seq in (1, 7, LAST, LAST + 1):
        records = list(Inspection(DIRECTORY, files).records(first_seq))
        assert [record.seq for record in records] == list(range(first_seq, LAST + 1))
        assert [record.body for record in records] == [body_of(record.seq) for record in records]


async def test_statistics_count_each_data_class() -> None:
    files = SimulatedFiles()
    log = EventLog.open(DIRECTORY, LogSettings(), files)
    log.start()
    await log.append([Entry(1, b"12345"), Entry(6, b"1"), Entry(6, b"22")])
    assert Inspection(DIRECTORY, files).statistics() == {
        1: ClassStatistics(1, 5),
        6: ClassStatistics(2, 3),
    }
    await log.close()


async def test_a_directory_without_a_log_is_said_to_be_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(LogNotFound):
            verify(path)


async def test_a_newer_format_is_no_damage() -> None:
    files, segments = await closed_log()
    data = bytearray(segments[1].data)
    data[8] = 9
    data[12:16] = crc32(data[:12]).to_bytes(4, "little")
    files.damage(segments[1].path, bytes(data))
    with pytest.raises(LogFormatUnsupported):
        verify(DIRECTORY, files)


async def test_a_log_under_load_is_always_whole(tmp_path: Path) -> None:
    settings = LogSettings(segment_bytes_max=4096, allocation_bytes=1000)
    log = EventLog.open(tmp_path, settings)
    log.start()

    async def produce() -> None:
        for number in range(100):
            await log.append([Entry(5, b"x" * number)] * 3)

    producing = [asyncio.create_task(produce()) for _ in range(8)]
    while not all(task.done() for task in producing):
        verification = await asyncio.to_thread(verify, tmp_path)
        assert verification.is_whole
    await log.close()
    assert verify(tmp_path).record_count == 2400
