"""Bytes that nobody wrote: no crash, no hang, no memory beyond what the bytes themselves take.

`make fuzz` runs millions of such cases.
"""

from __future__ import annotations

import tracemalloc
from random import Random
from zlib import crc32

from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.frame import MARK
from tests.eventlog.fuzzing import (
    BYTES_MAX,
    EPOCH,
    arbitrary,
    decode_all,
    mutated,
    mutated_log,
    open_and_look,
    real_log,
)

DECODINGS = 6000
LOGS = 250
OVERHEAD_BYTES = 512 * 1024


def test_no_bytes_crash_the_decoder() -> None:
    random = Random(11)
    segments = list(real_log().values())
    found = 0
    for number in range(DECODINGS):
        data = arbitrary(random) if number % 2 else mutated(random.choice(segments), random)
        found += decode_all(data)
    print(f"{DECODINGS} decoded, {found} sound frames among them")
    assert found > DECODINGS / 10


def test_no_damage_keeps_a_log_from_being_opened_or_inspected() -> None:
    random, log = Random(12), real_log()
    for _ in range(LOGS):
        open_and_look(mutated_log(log, random))
    print(f"{LOGS} logs opened")


def test_lengths_that_lie_allocate_nothing() -> None:
    """A frame may claim up to 4 GiB; it costs no more than the bytes there are."""
    salt = framing.salt_of(EPOCH, 1)
    data = bytearray(framing.encode(salt, 0, 3, 5, 1, bytes(100), bytes(16)))
    decode_all(bytes(data))
    tracemalloc.start()
    for length in (*range(len(data)), 0x7FFFFFFF, 0xFFFFFFFF):
        data[8:12] = length.to_bytes(4, "little")
        data[4:8] = crc32(data[8 : max(length, 8)], salt).to_bytes(4, "little")
        frame = framing.decode(bytes(data), 0, salt, 1)
        assert (frame is not None) == (framing.FRAME_BYTES_MIN <= length <= len(data))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{peak_bytes} bytes allocated at most")
    assert peak_bytes < OVERHEAD_BYTES


def test_decoding_allocates_in_proportion_to_the_bytes() -> None:
    random = Random(13)
    segments = list(real_log().values())
    inputs = [arbitrary(random) for _ in range(300)]
    inputs += [mutated(random.choice(segments), random) for _ in range(300)]
    most_bytes = 0
    tracemalloc.start()
    for data in inputs:
        tracemalloc.reset_peak()
        before_bytes, _ = tracemalloc.get_traced_memory()
        decode_all(data)
        most_bytes = max(most_bytes, tracemalloc.get_traced_memory()[1] - before_bytes)
    tracemalloc.stop()
    print(f"{most_bytes} bytes allocated at most for one input of {BYTES_MAX} bytes")
    assert most_bytes < OVERHEAD_BYTES


def test_nothing_but_marks_comes_to_an_end() -> None:
    assert decode_all(MARK * 20_000) == 0
