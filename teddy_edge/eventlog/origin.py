"""What a log is, beside its segments: its id, and where it begins. One line of text in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID
from zlib import crc32

from teddy_edge.eventlog.files import Files
from teddy_edge.eventlog.segment import Header
from teddy_edge.eventlog.whole_files import read_if_possible, write_whole

ORIGIN_NAME: Final = "origin"


class Origin(NamedTuple):
    """The log's id, and the oldest record that must be there."""

    epoch: UUID
    first_seq: int


def encode_origin(origin: Origin) -> bytes:
    """Write epoch, first sequence number and CRC-32 on one line of text."""
    line = f"{origin.epoch} {origin.first_seq}"
    return f"{line} {crc32(line.encode()):08x}\n".encode()


def decode_origin(data: bytes) -> Origin | None:
    """Read what `encode_origin` wrote; None if it is damaged."""
    try:
        epoch, first_seq, _ = data.decode("ascii").split(" ")
        origin = Origin(UUID(epoch), int(first_seq))
    except ValueError:
        return None
    return origin if encode_origin(origin) == data else None


def read_origin(files: Files, directory: Path) -> Origin | None:
    """Read the origin file; None if it is missing, damaged or no file."""
    data = read_if_possible(files, directory / ORIGIN_NAME)
    return None if data is None else decode_origin(data)


def write_origin(files: Files, directory: Path, origin: Origin) -> None:
    """Replace the origin file; durable on return."""
    write_whole(files, directory / ORIGIN_NAME, encode_origin(origin))


def origin_of(headers: Iterable[Header | None]) -> Origin | None:
    """Tell the origin from the segments: the commonest epoch; and every log begins at 1."""
    epochs = Counter(header.epoch for header in headers if header is not None)
    return Origin(epochs.most_common(1)[0][0], 1) if epochs else None


def origin_among(found: Origin | None, headers: Iterable[Header | None]) -> Origin | None:
    """Choose what to believe: the file, unless there are segments and all say another."""
    known = [header for header in headers if header is not None]
    if found is not None and found.epoch in {header.epoch for header in known}:
        return found
    return origin_of(known) or found
