"""One record as bytes."""

from __future__ import annotations

import struct
import zlib
from uuid import UUID

import pytest
from annotated_types import Le
from hypothesis import given, settings
from hypothesis import strategies as st

from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.frame import FRAME_BYTES_MIN, MARK, SEQ_JUMP_MAX
from teddy_edge.settings import LogSettings

EPOCH = UUID(int=1)
SALT = framing.salt_of(EPOCH, 1)


def encoded(seq: int, body: bytes, salt: int = SALT) -> bytes:
    return framing.encode(salt, 0, framing.FIRST | framing.LAST, 5, seq, body, bytes(16))


@given(
    seq=st.integers(1, 2**64 - 1), data_class=st.integers(0, 255), flags=st.integers(0, 3),
    position=st.integers(0, 65535), body=st.binary(max_size=300), before=st.binary(max_size=50),
)  # fmt: skip
def test_a_frame_is_read_as_it_was_written(
    seq: int, data_class: int, flags: int, position: int, body: bytes, before: bytes
) -> None:
    chain = framing.next_chain(bytes(16), seq, data_class, body)
    data = framing.encode(SALT, position, flags, data_class, seq, body, chain)
    frame = framing.decode(before + data + b"more", len(before), SALT, seq)
    assert frame is not None
    assert frame[2:] == (position, flags, data_class, seq, body, chain)
    assert (frame.offset_bytes, frame.end_bytes) == (len(before), len(before) + len(data))


def test_every_mark_from_an_offset_on_claims_a_frame_without_its_content() -> None:
    torn = encoded(7, b"body")[: framing.HEAD_BYTES]
    data = encoded(5, b"one") + b"?" + encoded(6, b"another") + torn
    second, third = FRAME_BYTES_MIN + 4, len(data) - len(torn)
    claimed = [
        framing.Frame(at, at + FRAME_BYTES_MIN + size, 0, 3, 5, seq, b"", b"")
        for at, size, seq in [(0, 3, 5), (second, 7, 6), (third, 4, 7)]
    ]
    assert list(framing.claims(data, 0)) == claimed
    assert list(framing.claims(data, 1)) == claimed[1:]
    assert list(framing.claims(data[:-1], second)) == claimed[1:2]


def test_a_frame_of_another_epoch_or_segment_is_none() -> None:
    data = encoded(7, b"body")
    assert framing.decode(data, 0, SALT, 1) is not None
    assert framing.decode(data, 0, framing.salt_of(UUID(int=2), 1), 1) is None
    assert framing.decode(data, 0, framing.salt_of(EPOCH, 2), 1) is None


def test_the_chain_depends_on_all_that_it_chains() -> None:
    values = {
        framing.next_chain(bytes(16), 1, 5, b"body"),
        framing.next_chain(b"\1" * 16, 1, 5, b"body"),
        framing.next_chain(bytes(16), 2, 5, b"body"),
        framing.next_chain(bytes(16), 1, 6, b"body"),
        framing.next_chain(bytes(16), 1, 5, b"bode"),
    }
    assert len(values) == 5


@settings(max_examples=2000)
@given(st.lists(st.one_of(st.binary(max_size=60), st.just(MARK), st.integers(1, 50)), max_size=20))
def test_arbitrary_bytes_give_only_frames_that_were_written(parts: list[bytes | int]) -> None:
    """An integer stands for a sound frame with that number."""
    data = b"".join(encoded(p, b"x") if isinstance(p, int) else p for p in parts)
    found = [frame.seq for frame in framing.scan(data, 0, SALT, 1)]
    assert found == _rising([part for part in parts if isinstance(part, int)])


def _rising(seqs: list[int]) -> list[int]:
    rising: list[int] = []
    for seq in seqs:
        if not rising or seq > rising[-1]:
            rising.append(seq)
    return rising


def test_a_length_that_lies_costs_no_memory() -> None:
    data = bytearray(encoded(1, b"body"))
    for length in (0, 1, FRAME_BYTES_MIN - 1, len(data) + 1, 0xFFFFFFFF):
        data[8:12] = length.to_bytes(4, "little")
        assert framing.decode(bytes(data), 0, SALT, 1) is None


def test_the_longest_record_that_the_settings_allow_is_read_and_a_longer_one_is_damage() -> None:
    limits = LogSettings.model_fields["record_bytes_max"].metadata
    (body_bytes_max,) = [int(str(limit.le)) for limit in limits if isinstance(limit, Le)]
    assert FRAME_BYTES_MIN + body_bytes_max == framing.FRAME_BYTES_MAX
    before = encoded(1, bytes(100_000))
    for body_bytes, seqs in ((body_bytes_max, [1, 2, 3]), (body_bytes_max + 1, [1, 3])):
        data = before + encoded(2, bytes(body_bytes)) + encoded(3, b"")
        assert [frame.seq for frame in framing.scan(data, 0, SALT, 1)] == seqs
    assert framing.decode(encoded(2, bytes(body_bytes_max + 1)), 0, SALT, 1) is None


@pytest.mark.parametrize(
    ("seq", "is_read"),
    [
        (6, False),
        (7, True),
        (6 + SEQ_JUMP_MAX, True),
        (7 + SEQ_JUMP_MAX, False),
        (2**64 - 1, False),
    ],
)
def test_a_number_that_cannot_come_next_is_damage(seq: int, is_read: bool) -> None:
    data = encoded(seq, b"body")
    assert (framing.decode(data, 0, SALT, 7) is not None) == is_read


@pytest.mark.parametrize("first_seq", [0, 6, 10, 2**64 - 1])
def test_a_run_of_removed_records_that_cannot_be_is_damage(first_seq: int) -> None:
    data = framing.encode_removed(SALT, first_seq, 8, bytes(16))
    assert framing.decode(data, 0, SALT, 7) is None
    assert framing.decode(framing.encode_removed(SALT, 7, 8, bytes(16)), 0, SALT, 7) is not None


def test_looking_for_the_next_frame_costs_no_more_than_a_multiple_of_the_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """4 MiB of what begins as long frames do, each inside the one before; then a sound frame."""
    sound = encoded(7, bytes(200))
    head = struct.Struct("<4sIIHBBQ")
    room_bytes = 4 * 1024 * 1024 - len(sound)
    data = b"".join(
        head.pack(MARK, 0, min(framing.FRAME_BYTES_MAX, room_bytes - at), 0, 3, 5, 7)
        for at in range(0, room_bytes, head.size)
    )
    bytes_max = (framing.SEARCH_RATIO + 1) * len(data) + framing.FRAME_BYTES_MAX
    checked_bytes = 0
    checksum = zlib.crc32

    def counted(part: bytes, start: int) -> int:
        nonlocal checked_bytes
        checked_bytes += len(part)
        assert checked_bytes <= bytes_max
        return checksum(part, start)

    monkeypatch.setattr(zlib, "crc32", counted)
    assert [frame.seq for frame in framing.scan(data + sound, 0, SALT, 1)] == [7]
    print(f"{checked_bytes} bytes checksummed in {len(data)}")


def test_the_logs_own_marks_have_no_position_and_no_data_class() -> None:
    chain = b"c" * 16
    for data, flags, count in [
        (framing.encode_removed(SALT, 3, 9, chain), framing.REMOVED, 3),
        (framing.encode_seal(SALT, 9, chain, 7), framing.SEAL, 7),
        (
            framing.encode_seal(SALT, 9, chain, 7, is_reduced=True),
            framing.SEAL | framing.REMOVED,
            7,
        ),
    ]:
        frame = framing.decode(data, 0, SALT, 1)
        assert frame is not None
        assert frame[2:] == (0, flags, 0, 9, count.to_bytes(8, "little"), chain)
