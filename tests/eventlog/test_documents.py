"""What docs/log-format.md says is what the code does."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID
from zlib import crc32

from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.segment import HEADER_BYTES, Header, encode_header
from teddy_edge.settings import LogSettings

TEXT = (Path(__file__).parents[2] / "docs" / "log-format.md").read_text(encoding="utf-8")
EPOCH = UUID("00112233-4455-6677-8899-aabbccddeeff")


def test_every_limit_of_the_log_is_in_the_document() -> None:
    assert [name for name in LogSettings.model_fields if f"`{name}`" not in TEXT] == []


def test_a_header_is_laid_out_as_documented() -> None:
    data = encode_header(Header(EPOCH, 7, b"c" * 16))
    assert len(data) == HEADER_BYTES == 64
    assert data[:12] == b"TEDDYLOG" + (1).to_bytes(4, "little")
    assert data[12:16] == crc32(data[:12]).to_bytes(4, "little")
    assert data[16:32] == EPOCH.bytes
    assert data[32:40] == (7).to_bytes(8, "little")
    assert data[40:56] == b"c" * 16
    assert data[56:60] == crc32(data[:56]).to_bytes(4, "little")
    assert data[60:] == bytes(4)


def test_a_frame_is_laid_out_as_documented() -> None:
    salt = framing.salt_of(EPOCH, 7)
    data = framing.encode(salt, 3, framing.LAST, 5, 9, b"body", b"c" * 16)
    rest = (
        len(data).to_bytes(4, "little")
        + (3).to_bytes(2, "little")
        + bytes([2, 5])
        + (9).to_bytes(8, "little")
        + b"body"
        + b"c" * 16
    )
    covered = EPOCH.bytes + (7).to_bytes(8, "little") + rest
    assert data == b"\xc1rec" + crc32(covered).to_bytes(4, "little") + rest
    assert len(data) == 40 + len(b"body")
