"""The origin file, and what the segments say where it is lost."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from teddy_edge.eventlog.origin import (
    Origin,
    decode_origin,
    encode_origin,
    origin_among,
    origin_of,
    read_origin,
    write_origin,
)
from teddy_edge.eventlog.segment import Header
from teddy_edge.eventlog.simulated_files import SimulatedFiles

ORIGIN = Origin(UUID(int=7), 12345)
DIRECTORY = Path("/log")


def test_what_is_written_is_read() -> None:
    files = SimulatedFiles()
    assert read_origin(files, DIRECTORY) is None
    write_origin(files, DIRECTORY, ORIGIN)
    assert read_origin(files, DIRECTORY) == ORIGIN


def test_every_changed_byte_and_every_truncation_is_damage() -> None:
    whole = encode_origin(ORIGIN)
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1
        assert decode_origin(bytes(changed)) is None
        assert decode_origin(whole[:at]) is None


def test_the_commonest_epoch_is_the_origins_and_every_log_begins_at_one() -> None:
    own, other = UUID(int=7), UUID(int=8)
    headers = [
        None, Header(other, 1, b""), Header(own, 9, b""), Header(own, 4, b""), Header(own, 6, b""),
    ]  # fmt: skip
    assert origin_of(headers) == Origin(own, 1)
    assert origin_of([None, None]) is None


def test_the_file_is_believed_unless_every_segment_says_another() -> None:
    own, other = UUID(int=7), UUID(int=8)
    both = [None, Header(other, 1, b""), Header(other, 5, b""), Header(own, 9, b"")]
    assert origin_among(ORIGIN, both) == ORIGIN
    assert origin_among(ORIGIN, both[:3]) == Origin(other, 1)
    assert origin_among(ORIGIN, [None]) == ORIGIN
    assert origin_among(None, both) == Origin(other, 1)
    assert origin_among(None, []) is None
