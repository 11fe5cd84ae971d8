"""What a batch costs on the wire and in CPU, for each compression that Python brings with it.

    python -m benchmarks.compression

The events are those of a bear that is played with: conversation turns, presses, violations, starts,
each with its command's end, with random ids and times as they come. Beside each stands the same
event as JSON with CloudEvents' names. CPU is process time, the least of three runs.
"""

from __future__ import annotations

import bz2
import json
import lzma
import random
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from teddy_edge.clock import SystemClock, new_id
from teddy_edge.eventlog import StoredRecord, next_chain
from teddy_edge.events import (
    BearStarted,
    ButtonPressed,
    Cause,
    CommandDone,
    ConversationTurnRecorded,
    Event,
    SafetyViolationReported,
    cloud_event,
    decode_record,
    encode_event,
)
from teddy_edge.sync.wire import batch_of, encode_batch

EVENTS = 20_000
BATCHES_MAX = 60
SIZES = (1, 10, 100, 500)
RUNS = 3
SEED = 7
TOPICS = ("animals", "space", "school", "dinosaurs", "family", "music", "bedtime", "weather")
CHAIN = bytes(16)

Compress = Callable[[bytes], bytes]


def zlib_at(level: int) -> Compress:
    return lambda data: zlib.compress(data, level)


def zlib_knowing(known: bytes, level: int) -> Compress:
    """With a dictionary that both ends would have to share."""

    def compress(data: bytes) -> bytes:
        compressor = zlib.compressobj(level, zdict=known)
        return compressor.compress(data) + compressor.flush()

    return compress


def compressions(known: bytes) -> Mapping[str, Compress]:
    return {
        "none": lambda data: data,
        "zlib 1": zlib_at(1),
        "zlib 3": zlib_at(3),
        "zlib 6": zlib_at(6),
        "zlib 9": zlib_at(9),
        "zlib 6, dictionary": zlib_knowing(known, 6),
        "bz2": bz2.compress,
        "lzma 0": lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=0),
        "lzma 6": lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=6),
    }


def happenings(rng: random.Random, children: Sequence[str]) -> Iterator[tuple[Event, str, str]]:
    """Yield what happens: the event, its stream, and the command that it came of."""
    while True:
        child, kind = rng.choice(children), rng.random()
        if kind < 0.3:
            paw = rng.choice(["left_paw", "right_paw", "belly"])
            yield ButtonPressed(paw), "bear", "press_button"
        elif kind < 0.85:
            conversation = str(uuid.uuid4())
            turn = ConversationTurnRecorded(
                conversation,
                child,
                rng.choice(["child", "bear"]),
                rng.sample(TOPICS, 2),
                round(rng.uniform(-1, 1), 2),
                round(rng.uniform(1, 9), 2),
                None,
            )
            yield turn, f"conversation/{conversation}", "record_conversation_turn"
        elif kind < 0.97:
            violation = SafetyViolationReported(child, "stranger", "high", {"where": "garden"})
            yield violation, f"child/{child}", "report_safety_violation"
        else:
            yield BearStarted("0.1.0"), "bear", "none"


def history(count: int, seed: int) -> list[StoredRecord]:
    """Make records as they stand in a log."""
    rng, clock = random.Random(seed), SystemClock()
    records: list[StoredRecord] = []
    for event, stream, name in happenings(rng, [str(uuid.uuid4()) for _ in range(3)]):
        cause = Cause(new_id(clock), None, "parent-123", "parent")
        for each, place in ((event, stream), (CommandDone(name, {}), "commands")):
            seq, data_class = len(records) + 1, int(each.data_class)
            before = records[-1].chain if records else CHAIN
            body = encode_event(each, place, cause, clock)
            chain = next_chain(before, seq, data_class, body)
            records.append(StoredRecord(seq, data_class, body, before, chain))
        if len(records) >= count:
            break
    return records


def as_json(record: StoredRecord) -> bytes:
    event = cloud_event(decode_record(record.seq, record.data_class, record.body), "bear-001")
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def unpacked(records: Sequence[StoredRecord]) -> bytes:
    """The batch before it is compressed."""
    return zlib.decompress(encode_batch(batch_of(uuid.uuid4(), records, records[0].seq - 1)))


def cpu_s(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    """Print a table for each size of batch."""
    records = history(EVENTS, SEED)
    json_bytes = sum(len(as_json(record)) for record in records) / len(records)
    known = b"".join(record.body for record in history(40, SEED + 1))
    print(f"an event as JSON: {json_bytes:.0f} bytes (seed {SEED})")
    for size in SIZES:
        batches = [
            unpacked(records[first : first + size])
            for first in range(0, min(len(records), size * BATCHES_MAX), size)
        ]
        events = size * len(batches)
        print(f"\nbatches of {size:<13} bytes/event   of JSON   CPU, us/event")
        for name, compress in compressions(known).items():
            each = sum(len(compress(batch)) for batch in batches) / events
            cpu = min(cpu_s(lambda: list(map(compress, batches))) for _ in range(RUNS))  # noqa: B023
            print(f"{name:<24} {each:>10.1f} {each / json_bytes:>9.3f} {cpu / events * 1e6:>12.2f}")


if __name__ == "__main__":
    main()
