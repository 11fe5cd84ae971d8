"""One record as bytes."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.frame import FRAME_BYTES_MIN, MARK

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
    frame = framing.decode(before + data + b"more", len(before), SALT)
    assert frame is not None
    assert frame[2:] == (position, flags, data_class, seq, body, chain)
    assert (frame.offset_bytes, frame.end_bytes) == (len(before), len(before) + len(data))


def test_a_frame_of_another_epoch_or_segment_is_none() -> None:
    data = encoded(7, b"body")
    assert framing.decode(data, 0, SALT) is not None
    assert framing.decode(data, 0, framing.salt_of(UUID(int=2), 1)) is None
    assert framing.decode(data, 0, framing.salt_of(EPOCH, 2)) is None


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
        assert framing.decode(bytes(data), 0, SALT) is None
