"""A batch of records on the wire."""

from __future__ import annotations

import dataclasses
import json
import traceback
import tracemalloc
import uuid
import zlib
from collections.abc import Mapping

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teddy_edge.errors import WireError
from teddy_edge.eventlog import StoredRecord, next_chain
from teddy_edge.events import (
    BearStarted,
    Cause,
    ConversationTurnRecorded,
    cloud_event,
    decode_record,
    encode_event,
)
from teddy_edge.sync.wire import (
    EventBatch,
    TooLarge,
    WireRecord,
    batch_of,
    decode_batch,
    encode_batch,
)
from teddy_edge.testing import FakeClock
from tests.sync.strange import strange_contents

EPOCH = uuid.UUID(int=7)
BYTES_MAX = 100_000


def stored(first_seq: int, count: int) -> list[StoredRecord]:
    records = []
    chain = b"before".ljust(16, b"\0")
    for seq in range(first_seq, first_seq + count):
        after = next_chain(chain, seq, 5, b"body %d" % seq)
        records.append(StoredRecord(seq, 5, b"body %d" % seq, chain, after))
        chain = after
    return records


def test_a_batch_comes_back_as_it_was_sent() -> None:
    batch = batch_of(EPOCH, stored(11, 5), 10)
    back = decode_batch(encode_batch(batch), BYTES_MAX)
    assert back == batch
    assert (back.first_seq, back.last_seq, back.epoch) == (11, 15, EPOCH)
    back.verify()


def test_a_full_batch_takes_at_most_a_quarter_of_its_events_as_json() -> None:
    clock, records, chain = FakeClock(), [], b"before".ljust(16, b"\0")
    for seq in range(1, 101):
        cause = Cause(uuid.uuid4(), None, "parent-123", "parent")
        turn = ConversationTurnRecorded(
            str(uuid.uuid4()), str(uuid.uuid4()), "child", ["space"], seq / 100, seq / 7, None
        )
        body = encode_event(turn, f"conversation/{turn.conversation_id}", cause, clock)
        after = next_chain(chain, seq, 5, body)
        records.append(StoredRecord(seq, 5, body, chain, after))
        chain = after
    events = [cloud_event(decode_record(each.seq, 5, each.body), "bear-1") for each in records]
    as_json = sum(len(json.dumps(event)) for event in events)
    assert len(encode_batch(batch_of(EPOCH, records, 0))) <= as_json / 4


def test_a_batch_is_halved_with_its_chain() -> None:
    half = batch_of(EPOCH, stored(11, 5), 10, replayed=True).smaller()
    assert ([record.seq for record in half.records], half.last_seq) == ([11, 12], 12)
    assert half.replayed
    half.verify()


def test_of_a_record_that_is_too_large_its_id_its_size_and_its_chain_go() -> None:
    event = BearStarted("x" * 100)
    body = encode_event(event, "bear", Cause(), FakeClock())
    record = StoredRecord(7, 6, body, b"b" * 16, b"a" * 16)
    told = decode_batch(encode_batch(batch_of(EPOCH, [record], 6).smaller()), BYTES_MAX)
    assert told.too_large == TooLarge(6, decode_record(7, 6, body).id, len(body))
    assert (told.records, told.first_seq, told.last_seq) == ([], 7, 7)
    assert (told.chain_before, told.chain_after) == (b"b" * 16, b"a" * 16)
    told.verify()


@pytest.mark.parametrize(
    "records",
    [
        [WireRecord(11, 5, b"body 11"), WireRecord(12, 5, b"forged")],
        [WireRecord(11, 4, b"body 11"), WireRecord(12, 5, b"body 12")],
        [WireRecord(12, 5, b"body 12"), WireRecord(11, 5, b"body 11")],
        [WireRecord(12, 5, b"body 12")],
    ],
)
def test_a_record_changed_moved_or_left_out_breaks_the_chain(records: list[WireRecord]) -> None:
    batch = dataclasses.replace(batch_of(EPOCH, stored(11, 2), 10), records=records)
    with pytest.raises(WireError, match="chain"):
        batch.verify()


def test_a_hole_in_the_log_ends_a_batch() -> None:
    records = [*stored(1, 3), *stored(7, 2)]
    batch = batch_of(EPOCH, records, 0)
    assert (batch.first_seq, batch.last_seq, batch.lost_before) == (1, 3, 0)


def test_what_is_lost_before_a_batch_is_counted_and_its_first_record_goes_alone() -> None:
    after_a_hole = [stored(7, 1)[0]._replace(chain_before=b""), *stored(8, 2)]
    batch = decode_batch(encode_batch(batch_of(EPOCH, after_a_hole, 3)), BYTES_MAX)
    assert (batch.after_seq, batch.first_seq, batch.last_seq, batch.lost_before) == (3, 7, 7, 3)
    batch.verify()


def test_a_batch_without_a_chain_is_taken_only_where_records_are_lost() -> None:
    alone = dataclasses.replace(batch_of(EPOCH, stored(7, 1), 6), chain_before=b"")
    with pytest.raises(WireError, match="chain"):
        alone.verify()


def packed(**changes: object) -> bytes:
    content = msgpack.unpackb(zlib.decompress(encode_batch(batch_of(EPOCH, stored(1, 2), 0))))
    return zlib.compress(msgpack.packb({**content, **changes}))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not zlib",
        zlib.compress(b""),
        zlib.compress(b"\xc1"),
        zlib.compress(msgpack.packb([1])),
        zlib.compress(msgpack.packb({"v": 1})),
        packed(v=2),
        packed(epoch=b"short"),
        packed(first_seq=5),
        packed(last_seq=1),
        packed(lost_before=-1),
        packed(lost_before=1),
        packed(records=[]),
        packed(records=[[1, b"x", b"y"], [1, b"x"]]),
        packed(records=5),
        packed(extra=1),
        packed(v=True),
        packed(first_seq=float("inf")),
        packed(first_seq="1", last_seq="2"),
        packed(first_seq=1.0),
        packed(first_seq=True),
        packed(first_seq=0, last_seq=1),
        packed(first_seq=2**63, last_seq=2**63 + 1),
        packed(first_seq=2**63 - 1, last_seq=2**63),
        packed(records=[[1, 300_000_000], [1, b"x"]]),
        packed(records=[[1, "text"], [1, b"x"]]),
        packed(records=[[256, b"x"], [1, b"x"]]),
        packed(records=[[2**64 - 1, b"x"], [1, b"x"]]),
        packed(records=[[-1, b"x"], [1, b"x"]]),
        packed(records=[[1], [1, b"x"]]),
        packed(records={1: b"x"}),
        packed(chain_before=10**10),
        packed(chain_before=b"short"),
        packed(chain_after=b""),
        packed(replayed=None),
        packed(replayed=1),
        packed(too_large=[1, bytes(16), 5]),
        packed(records=[], last_seq=1, too_large=[1, b"short", 5]),
        packed(records=[], last_seq=1, too_large=[1, bytes(16), 0]),
        packed(records=[], last_seq=2, too_large=[1, bytes(16), 5]),
        packed(records=[], last_seq=1, too_large=[]),
        packed(epoch=None),
        packed(epoch="sixteen letters."),
        packed() + b"more",
        packed()[:-5],
    ],
)
def test_what_is_no_batch_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        decode_batch(payload, BYTES_MAX)


def test_a_batch_that_unpacks_to_too_much_is_refused() -> None:
    bomb = zlib.compress(b"\0" * 10 * BYTES_MAX)
    with pytest.raises(WireError, match="over 100000 bytes"):
        decode_batch(bomb, BYTES_MAX)


def test_a_refusal_repeats_nothing_of_what_came() -> None:
    said = "EMMASECRET said hi"
    texts: list[dict[str, object]] = [
        {"first_seq": said},
        {"records": [[said, b"x"]]},
        {"records": [[1, said]]},
        {"epoch": said},
        {said: 1},
    ]
    for changes in texts:
        with pytest.raises(WireError) as refused:
            decode_batch(packed(**changes), BYTES_MAX)
        assert said not in "".join(traceback.format_exception(refused.value))


def test_a_number_in_place_of_bytes_takes_no_memory() -> None:
    """bytes(number) would be as many zeros."""
    payload = packed(records=[[1, 300_000_000], [1, b"x"]])
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decode_batch(payload, BYTES_MAX)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_only_a_record_that_goes_alone_may_come_without_a_chain() -> None:
    two = dataclasses.replace(batch_of(EPOCH, stored(7, 2), 5), chain_before=b"")
    chain = b""
    for record in two.records:
        chain = next_chain(chain, record.seq, record.data_class, record.body)
    with pytest.raises(WireError, match="chain"):
        dataclasses.replace(two, chain_after=chain).verify()


@given(strange_contents())
def test_no_map_does_more_than_be_refused(content: Mapping[str, object]) -> None:
    try:
        batch = decode_batch(zlib.compress(msgpack.packb(content)), BYTES_MAX)
        batch.verify()
    except WireError:
        return
    assert len(batch.chain_after) == 16


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(payload: bytes) -> None:
    try:
        batch = decode_batch(zlib.compress(payload), BYTES_MAX)
    except WireError:
        return
    assert isinstance(batch, EventBatch)
