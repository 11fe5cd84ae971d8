"""Cases for the decoder: arbitrary bytes, and real segments with something done to them."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from random import Random
from uuid import UUID

from teddy_edge.errors import LogFormatUnsupported, LogNotFound
from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.frame import CHAIN_START, MARK
from teddy_edge.eventlog.inspection import verify
from teddy_edge.eventlog.origin import Origin, decode_origin, write_origin
from teddy_edge.eventlog.recovery import create_segment
from teddy_edge.eventlog.segment import (
    HEADER_BYTES,
    Header,
    Segment,
    assumed_header,
    decode_header,
    file_name,
    first_seq_of,
)
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from teddy_edge.eventlog.survey import describe, survey
from teddy_edge.settings import LogSettings

DIRECTORY = Path("/log")
SETTINGS = LogSettings(segment_bytes_max=1024, allocation_bytes=256)
EPOCH = UUID(int=7)
OTHER_EPOCH = UUID(int=8)
"""What stands in a log by accident is never a sound frame of it."""
FIRST_SEQS = (1, 22, 38)
"""Where the segments of the real log begin."""
BYTES_MAX = 4096
MUTATIONS_MAX = 8


def real_log() -> dict[str, bytes]:
    """The files of a log of several segments, the last one not closed; always the same."""
    return asyncio.run(_real_log())


async def _real_log() -> dict[str, bytes]:
    files = SimulatedFiles()
    files.make_directory(DIRECTORY)
    write_origin(files, DIRECTORY, Origin(EPOCH, 1))
    create_segment(files, DIRECTORY, Header(EPOCH, 1, CHAIN_START))
    log = EventLog.open(DIRECTORY, SETTINGS, files)
    log.start()
    for number in range(24):
        await log.append([Entry(number % 7, b"\xc1" * number)] * (number % 3 + 1))
    content = {name: files.content(DIRECTORY / name) for name in files.names(DIRECTORY)}
    await log.close()
    assert {first_seq_of(name) for name in content} - {None} == set(FIRST_SEQS)
    return {name: data for name, data in content.items() if not name.startswith("lock")}


def arbitrary(random: Random, epoch: UUID = EPOCH) -> bytes:
    """Noise, with more marks and sound frames of `epoch` in it than chance would have it."""
    parts = []
    for _ in range(random.randrange(1, 12)):
        kind = random.randrange(4)
        if kind == 0:
            parts.append(random.randbytes(random.randrange(200)))
        elif kind == 1:
            parts.append(MARK * random.randrange(1, 8))
        elif kind == 2:
            parts.append(bytes([random.choice((0, 0xFF))]) * random.randrange(300))
        else:
            salt = framing.salt_of(epoch, random.choice(FIRST_SEQS))
            seq = random.choice((0, 1, 2, 9, 30, 50, 2**40, 2**63, 2**64 - 1))
            body = random.randbytes(random.randrange(60))
            flags, position = random.randrange(256), random.choice((0, 1, 0xFFFF))
            parts.append(framing.encode(salt, position, flags, 5, seq, body, bytes(16)))
    return b"".join(parts)[:BYTES_MAX]


def mutated(data: bytes, random: Random) -> bytes:
    """Flip, cut, repeat, overwrite and move parts."""
    content = bytearray(data)
    for _ in range(random.randrange(1, MUTATIONS_MAX)):
        at = random.randrange(len(content) + 1)
        size = random.choice((1, 2, 4, 8, 40, 200))
        kind = random.randrange(6)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            del content[at : at + size]
        elif kind == 2:
            content[at:at] = content[at : at + size]
        elif kind == 3:
            content[at : at + size] = random.randbytes(size)
        elif kind == 4:
            content[at : at + size] = bytes([random.choice((0, 0xFF))]) * size
        else:
            source = random.randrange(len(content) + 1)
            content[at : at + size] = content[source : source + size]
    return bytes(content[:BYTES_MAX])


def decode_all(data: bytes) -> int:
    """Put bytes through every decoder, and check what must hold; gives the frames found."""
    path = DIRECTORY / file_name(1)
    header = None
    with contextlib.suppress(LogFormatUnsupported):
        header = decode_header(path, data)
    decode_origin(data)
    segment = Segment.empty(path, header or assumed_header(EPOCH, path.name, None))
    found = survey(data, segment.salt, segment.first_seq)
    end_bytes = HEADER_BYTES
    for frame in found.frames:
        assert end_bytes <= frame.offset_bytes < frame.end_bytes <= len(data)
        assert len(frame.body) < frame.end_bytes - frame.offset_bytes
        end_bytes = frame.end_bytes
    describe(segment, found.survivors())
    return len(found.frames)


def mutated_log(log: dict[str, bytes], random: Random) -> SimulatedFiles:
    """A log with one or two of its files mutated, exchanged or made of noise."""
    content = dict(log)
    for name in random.sample(sorted(content), random.randrange(1, 3)):
        kind = random.randrange(8)
        if kind == 0:
            content[name] = arbitrary(random, OTHER_EPOCH)
        elif kind == 1:
            content[name] = content[random.choice(sorted(content))]
        elif kind == 2 and len(content) > 1:
            del content[name]
        elif kind == 3:
            content[name] += arbitrary(random)
        else:
            content[name] = mutated(content[name], random)
    files = SimulatedFiles()
    files.make_directory(DIRECTORY)
    for name, data in content.items():
        files.create(DIRECTORY / name).close()
        files.damage(DIRECTORY / name, data)
    return files


def open_and_look(files: SimulatedFiles) -> None:
    """Inspect a log, open it, read it, write on: all of it must be there after opening again."""
    with contextlib.suppress(LogNotFound, LogFormatUnsupported):
        verify(DIRECTORY, files)
    try:
        log = EventLog.open(DIRECTORY, SETTINGS, files)
    except LogFormatUnsupported:
        return
    records = log.read(1, 1000, 1 << 20)
    seqs = [record.seq for record in records]
    assert seqs == sorted(set(seqs))
    seq = asyncio.run(_append_and_close(log))
    found = verify(DIRECTORY, files)
    assert found.unfinished is None
    again = EventLog.open(DIRECTORY, SETTINGS, files)
    assert again.read(1, 1000, 1 << 20)[: len(records)] == records
    assert [record.body for record in again.read(seq, 2, 1000)] == [b"more"]
    asyncio.run(again.close())


async def _append_and_close(log: EventLog) -> int:
    log.start()
    seq = await log.append([Entry(5, b"more")])
    await log.close()
    return seq
