"""What the cloud's end does about gaps, other histories, and events that pass the others."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import aiomqtt
import pytest

from teddy_edge.events import Cause, SafetyViolationReported, cloud_event, encode_event
from teddy_edge.events.record import decode_record
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.fleet.sinks import Lost, Position, Taken
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.sync.signals import BearStatus, UrgentEvent, encode_signal
from teddy_edge.sync.wire import EventBatch, TooLarge, WireRecord, encode_batch
from teddy_edge.testing import FakeClock
from tests.fleet.batches import SmallLog
from tests.fleet.receiving import CONFIRMED, EVENTS, receiving
from tests.mqtt_link.linking import TIMEOUT_S, until

REPLAY = "teddy/v1/bear-1/replay"
URGENT = "teddy/v1/bear-1/urgent"
STATUS = "teddy/v1/bear-1/status"


@pytest.fixture
async def bear(broker: Mosquitto) -> AsyncIterator[aiomqtt.Client]:
    """A bear's client, which hears what the cloud says."""
    client = aiomqtt.Client(broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5)
    async with client:
        await client.subscribe([(CONFIRMED, 1), (REPLAY, 1)])
        yield client


async def send(bear: aiomqtt.Client, *batches: EventBatch) -> None:
    for batch in batches:
        await bear.publish(EVENTS, encode_batch(batch), qos=1)


async def heard(bear: aiomqtt.Client) -> tuple[str, int]:
    """What the cloud says next: on which topic, and which number."""
    async with asyncio.timeout(TIMEOUT_S):
        message = await anext(bear.messages)
    content = json.loads(message.payload)
    return str(message.topic), content.get("from_seq") or content["seq"]


async def test_after_a_gap_the_bear_is_asked_once_for_what_is_missing(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    log = SmallLog(30)
    async with receiving(broker, sink):
        await send(bear, log.batch(1, 10), log.batch(12, 20), log.batch(21, 30))
        said = [await heard(bear) for _ in range(4)]
        assert said == [(CONFIRMED, 10), (CONFIRMED, 10), (REPLAY, 11), (CONFIRMED, 10)]
        replayed = dataclasses.replace(log.batch(11, 30), replayed=True)
        await send(bear, replayed)
        assert await heard(bear) == (CONFIRMED, 30)
        assert list(sink.records("bear-1", log.epoch)) == log.records


async def test_a_series_that_does_not_begin_at_its_beginning_is_asked_for(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    """So it is for a cloud whose store was lost."""
    log = SmallLog(30)
    async with receiving(broker, sink):
        await send(bear, log.batch(21, 30))
        assert await heard(bear) == (REPLAY, 1)
        removed = dataclasses.replace(log.batch(6, 20), lost_before=5, replayed=True)
        await send(bear, removed, log.batch(21, 30))
        assert [await heard(bear), await heard(bear)] == [(CONFIRMED, 20), (CONFIRMED, 30)]
        assert list(sink.records("bear-1", log.epoch)) == log.slice(6, 30)


@pytest.mark.parametrize("what", ["altered on its way", "of another history"])
async def test_what_does_not_join_is_asked_for_again(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink, what: str
) -> None:
    log = SmallLog(20)
    other = SmallLog(20, epoch=log.epoch, content="other").batch(5, 20)
    changed = [WireRecord(11, 1, b"another"), *log.slice(12, 20)]
    altered = dataclasses.replace(log.batch(11, 20), records=changed)
    async with receiving(broker, sink):
        await send(bear, log.batch(1, 10), altered if what == "altered on its way" else other)
        said = [await heard(bear) for _ in range(3)]
        assert said == [(CONFIRMED, 10), (CONFIRMED, 10), (REPLAY, 11)]
        assert list(sink.records("bear-1", log.epoch)) == log.slice(1, 10)


async def test_a_bear_that_counts_beyond_all_numbers_does_not_end_the_receiver(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    log = SmallLog(10)
    for seq in (2**62, 2**62 + 1, 2**63 - 1):
        async with receiving(broker, sink):
            far = dataclasses.replace(log.batch(5, 5), first_seq=seq, last_seq=seq, lost_before=9)
            whole = dataclasses.replace(far, chain_before=b"", lost_before=seq - 1)
            await send(bear, whole, far)
    known = SmallLog(10)
    async with receiving(broker, sink):
        await send(bear, known.batch(1, 10))
        await until(lambda: sink.position("bear-1", known.epoch) is not None)


async def test_events_under_numbers_that_stand_for_others_are_kept_apart(
    broker: Mosquitto,
    bear: aiomqtt.Client,
    sink: SqliteSink,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A card that was set back: the bear counted on from an earlier number."""
    log = SmallLog(20)
    other = SmallLog(20, epoch=log.epoch, content="other")
    async with receiving(broker, sink):
        await send(bear, log.batch(1, 20), other.batch(15, 17), other.batch(15, 17))
        assert [await heard(bear) for _ in range(3)] == [(CONFIRMED, 20)] * 3
        assert list(sink.records("bear-1", log.epoch)) == log.records
        assert sink.apart("bear-1", log.epoch) == other.slice(15, 17)
    assert "3 events from 15 on are not those that are stored" in caplog.text


async def test_an_event_that_stays_with_the_bear_is_noted_and_holds_up_nothing(
    broker: Mosquitto,
    bear: aiomqtt.Client,
    sink: SqliteSink,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log, event_id = SmallLog(20), uuid4()
    told = log.too_large(11, event_id)
    async with receiving(broker, sink):
        await send(bear, log.batch(1, 10), told, told, log.batch(12, 20))
        assert [(await heard(bear))[1] for _ in range(4)] == [10, 11, 11, 20]
        kept = (11, TooLarge(log.records[10].data_class, event_id, len(log.records[10].body)))
        assert sink.too_large("bear-1", log.epoch) == [kept]
        assert list(sink.records("bear-1", log.epoch)) == [*log.slice(1, 10), *log.slice(12, 20)]
    assert f"event 11 ({event_id}) stays with the bear" in caplog.text


class SafetyLog(SmallLog):
    """A log of safety events, as they stand in a real one."""

    def body(self, seq: int) -> bytes:
        event = SafetyViolationReported(f"child-{seq}", "stranger", "high", None)
        return encode_event(event, "child/1", Cause(), FakeClock())

    def urgent(self, at: int, **changes: object) -> bytes:
        record = self.records[at - 1]
        event = cloud_event(decode_record(at, record.data_class, record.body), "bear-1")
        return json.dumps({**event, "epoch": str(self.epoch), **changes}).encode()


async def test_an_urgent_event_is_kept_once_and_goes_when_it_is_there_in_order(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    log = SafetyLog(6)
    async with receiving(broker, sink):
        for seq in (5, 6, 5):
            await bear.publish(URGENT, log.urgent(seq), qos=1)
        await until(lambda: len(sink.urgent("bear-1")) == 2)
        await send(bear, log.batch(1, 5))
        assert await heard(bear) == (CONFIRMED, 5)
        assert sink.urgent("bear-1") == [log.urgent(6)]
        await bear.publish(URGENT, log.urgent(4), qos=1)  # late: it is there in order
        await send(bear, log.batch(6, 6))
        assert await heard(bear) == (CONFIRMED, 6)
        assert sink.urgent("bear-1") == []
        assert list(sink.records("bear-1", log.epoch)) == log.records


async def test_an_urgent_event_with_another_id_than_that_in_its_place_is_another_event(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    log = SafetyLog(3)
    async with receiving(broker, sink):
        await send(bear, log.batch(1, 3))
        assert await heard(bear) == (CONFIRMED, 3)
        other = log.urgent(2, id=str(uuid4()))
        await bear.publish(URGENT, other, qos=1)
        await until(lambda: sink.urgent("bear-1") == [other])
        await send(bear, log.batch(1, 3))
        assert await heard(bear) == (CONFIRMED, 3)
        assert sink.urgent("bear-1") == [other]


@pytest.mark.parametrize(
    "changes", [{"id": "EMMASECRET"}, {"seq": 0}, {"epoch": None}, {"specversion": "2"}], ids=str
)
async def test_what_is_no_urgent_event_is_dropped(
    broker: Mosquitto,
    bear: aiomqtt.Client,
    sink: SqliteSink,
    changes: dict[str, object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = SafetyLog(2)
    async with receiving(broker, sink):
        await bear.publish(URGENT, log.urgent(1, **changes), qos=1)
        await bear.publish(URGENT, log.urgent(2), qos=1)
        await until(lambda: sink.urgent("bear-1") == [log.urgent(2)])
    assert "dropped a message" in caplog.text
    assert "EMMASECRET" not in caplog.text


@pytest.mark.parametrize(
    ("epoch", "last_seq", "said"),
    [(None, 20, ""), (None, 12, "its log ends at 12; up to 20"), (UUID(int=8), 1, "a new log")],
)
async def test_a_new_log_and_one_that_lost_its_end_are_said(
    broker: Mosquitto,
    bear: aiomqtt.Client,
    sink: SqliteSink,
    caplog: pytest.LogCaptureFixture,
    epoch: UUID | None,
    last_seq: int,
    said: str,
) -> None:
    log = SmallLog(20)
    async with receiving(broker, sink):
        await send(bear, log.batch(1, 20))
        assert await heard(bear) == (CONFIRMED, 20)
        birth = BearStatus(online=True, epoch=epoch or log.epoch, last_seq=last_seq)
        await bear.publish(STATUS, encode_signal(birth), qos=1)
        await bear.publish(STATUS, b"EMMASECRET", qos=1)
        await until(lambda: "bear-1: dropped a message" in caplog.text)
    assert said in caplog.text
    assert ("bear-1: a new log" in caplog.text) is (epoch is not None)
    assert ("bear-1: its log ends" in caplog.text) is (last_seq == 12)
    assert "EMMASECRET" not in caplog.text


async def test_a_safety_event_that_is_stored_under_an_earlier_epoch_is_no_news(
    sink: SqliteSink,
) -> None:
    """A bear whose card was set back says all of its log anew."""
    log, again = SmallLog(3), uuid4()
    event = SafetyViolationReported("child-1", "stranger", "high", None)
    body = encode_event(event, "child/child-1", Cause(), FakeClock())
    record = WireRecord(2, 1, body)
    position = Position(log.epoch, 2, bytes(16))
    sink.store("bear-1", Taken(position, [WireRecord(1, 1, b"x"), record], Lost(1, 0)))
    said = cloud_event(decode_record(2, 1, body), "bear-1") | {"epoch": str(again)}
    assert not sink.keep_urgent("bear-1", UrgentEvent.model_validate_json(json.dumps(said)), b"{}")


async def test_a_bear_that_may_not_be_confirmed_keeps_no_other_waiting(
    tmp_path: Path, sink: SqliteSink, caplog: pytest.LogCaptureFixture
) -> None:
    """Its batch came first at each connect, and ended the connection for the whole fleet."""
    rules = tmp_path / "rules"
    rules.write_text("topic readwrite #\ntopic deny teddy/v1/bear-2/confirmed\n")
    rules.chmod(0o600)
    log = SmallLog(2)
    with Mosquitto(tmp_path / "strict", lines=[f"acl_file {rules}"]) as strict:
        client = aiomqtt.Client(strict.host, strict.port, protocol=aiomqtt.ProtocolVersion.V5)
        async with receiving(strict, sink), client as bears:
            await bears.subscribe(CONFIRMED, 1)
            await bears.publish("teddy/v1/bear-2/events", encode_batch(log.batch(1, 1)), qos=1)
            await send(bears, log.batch(1, 2))
            assert await heard(bears) == (CONFIRMED, 2)
        async with receiving(strict, sink):
            await until(lambda: caplog.text.count("bear-2: cannot confirm: Not authorized") == 2)
    assert "next try" not in caplog.text
