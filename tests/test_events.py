"""Events as bytes, and back."""

from __future__ import annotations

import uuid

import msgpack

from teddy_edge.clock import Trust
from teddy_edge.events import (
    BearStarted,
    ButtonPressed,
    Cause,
    DataClass,
    cloud_event,
    decode_record,
    encode_event,
)
from teddy_edge.testing import FakeClock

CAUSE = Cause(uuid.UUID(int=5), "correlation-1", "parent-123", "parent")


def test_a_record_comes_back_as_it_was_written() -> None:
    clock = FakeClock()
    clock.advance(5)
    body = encode_event(ButtonPressed(button="belly"), "bear", CAUSE, clock)
    record = decode_record(7, DataClass.ACTIVITY, body)
    assert record.event == ButtonPressed(button="belly")
    assert (record.seq, record.stream, record.cause) == (7, "bear", CAUSE)
    assert (record.wall_ns, record.monotonic_ns) == (clock.wall_ns(), clock.monotonic_ns())
    assert (record.boot_id, record.trust) == (clock.boot_id, Trust.SYNCED)


def test_every_record_has_an_id_of_its_own() -> None:
    clock = FakeClock()
    ids = {
        decode_record(1, 5, encode_event(BearStarted(version="1"), "bear", Cause(), clock)).id
        for _ in range(100)
    }
    assert len(ids) == 100
    assert {each.version for each in ids} == {7}


def test_an_event_type_of_a_newer_version_is_carried() -> None:
    clock = FakeClock()
    parts = msgpack.unpackb(encode_event(BearStarted(version="1"), "bear", CAUSE, clock))
    parts[0], parts[1] = "bear_danced", 3
    record = decode_record(1, 99, msgpack.packb(parts))
    assert record.event is None
    shown = cloud_event(record, "bear-001")
    assert (shown["type"], shown["dataschema"]) == ("bear_danced", "teddy:bear_danced:3")
    assert shown["dataclass"] == "class-99"


def test_a_record_is_shown_with_the_attributes_of_cloudevents() -> None:
    record = decode_record(
        7, 5, encode_event(ButtonPressed(button="belly"), "bear", CAUSE, FakeClock())
    )
    shown = cloud_event(record, "bear-001")
    assert {key: shown[key] for key in ("specversion", "source", "type", "subject", "time")} == {
        "specversion": "1.0",
        "source": "teddy/bear-001",
        "type": "button_pressed",
        "subject": "bear",
        "time": "2026-11-18T11:06:40.000Z",
    }
    assert shown["data"] == {"button": "belly"}
