"""Bytes from outside: what becomes an envelope, and what each bad input gets."""

from __future__ import annotations

import contextlib
import datetime
import json
from typing import Any
from uuid import UUID

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from teddy_edge.errors import EnvelopeRejected
from teddy_edge.inputs.envelopes import read_command, read_query, refusal_of, refused_answer
from teddy_edge.messages import Actor, Origin, rejection_of
from teddy_edge.settings import CommandSettings

ID = "0192f0c1-2a3b-7c4d-8e5f-001122334455"
LIMITS = CommandSettings(payload_bytes_max=2048, depth_max=4)
CANARY = "Zofia Canary"
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def message(**changed: Any) -> dict[str, Any]:
    fields = {
        "id": ID,
        "name": "register_child",
        "actor": {"id": "parent-1", "role": "parent"},
        "issued_at": "2026-11-22T10:00:00Z",
        "correlation_id": "c-1",
        "data": {"name": CANARY, "age": 6},
    }
    return {**fields, **changed}


def without(field: str) -> dict[str, Any]:
    fields = message()
    del fields[field]
    return fields


def as_json(**changed: Any) -> bytes:
    return json.dumps(message(**changed)).encode()


def packed(**changed: Any) -> bytes:
    payload: bytes = msgpack.packb(message(**changed), datetime=True)
    return payload


def refusal(payload: bytes, topic_name: str = "register_child") -> EnvelopeRejected:
    with pytest.raises(EnvelopeRejected) as caught:
        read_command(payload, topic_name, "bear-001", LIMITS)
    return caught.value


@pytest.mark.parametrize("payload", [as_json(), b" \r\n\t" + as_json(), packed()])
def test_json_and_msgpack_give_the_same_envelope(payload: bytes) -> None:
    envelope = read_command(payload, "register_child", "bear-001", LIMITS)
    assert envelope.id == UUID(ID)
    assert envelope.actor == Actor(id="parent-1", role="parent")
    assert envelope.data == {"name": CANARY, "age": 6}
    assert envelope.issued_at == datetime.datetime(2026, 11, 22, 10, tzinfo=datetime.UTC)


def test_a_query_needs_no_time_of_issue() -> None:
    payload = json.dumps(without("issued_at")).encode()
    assert read_query(payload, "register_child", "bear-001", LIMITS).issued_at is None


def test_a_default_stands_in_only_for_what_is_left_out() -> None:
    defaults = {"name": "ping", "id": ID, "correlation_id": "default"}
    payload = json.dumps({"actor": {"id": "a", "role": "device"}, "correlation_id": "mine"})
    envelope = read_query(payload.encode(), "ping", "bear-001", LIMITS, defaults)
    assert (envelope.name, str(envelope.id), envelope.correlation_id) == ("ping", ID, "mine")


BAD = {
    "empty": (b"", "malformed", None),
    "not json": (b'{"id": ', "malformed", None),
    "not json in the middle": (b'{"id": 1,, "name": 2}', "malformed", None),
    "two objects": (b"{}{}", "malformed", None),
    "not utf-8": (b'{"id": "\xff"}', "malformed", None),
    "utf-16": ('{"id": 1}'.encode("utf-16"), "malformed", None),
    "not msgpack": (b"\xc1", "malformed", None),
    "cut msgpack": (packed()[:-3], "malformed", None),
    "msgpack text that is not utf-8": (b"\x81\xa2id\xa1\xff", "malformed", None),
    "msgpack and more": (packed() + b"\x00", "malformed", None),
    "a msgpack array that claims more than came": (
        b"\x81\xa1a\xdd\xff\xff\xff\xff",
        "malformed",
        None,
    ),
    "json array": (b"[1, 2]", "malformed", None),
    "msgpack array": (msgpack.packb([1]), "invalid", None),
    "msgpack text": (msgpack.packb("hello"), "invalid", None),
    "too large": (as_json(data={"name": "x" * 2048}), "payload_too_large", None),
    "too deep": (as_json(data={"a": [[{}]]}), "too_deep", None),
    "too deep in msgpack": (packed(data={"a": [[[]]]}), "too_deep", None),
    "deeper than json can be read": (
        b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}",
        "too_deep",
        None,
    ),
    "deeper than msgpack can be read": (b"\x81\xa1a" + b"\x91" * 2000, "too_deep", None),
    "repeated key": (b'{"name": "a", "name": "b"}', "repeated_key", "name"),
    "repeated key inside": (b'{"data": {"a": 1, "a": 1}}', "repeated_key", "data.a"),
    "repeated key in msgpack": (b"\x82\xa1a\x01\xa1a\x02", "repeated_key", "a"),
    "number as key": (msgpack.packb({1: 2}), "invalid", None),
    "map as key": (b"\x81\x80\x01", "invalid", None),
    "bytes as key": (msgpack.packb({b"id": 2}), "invalid", None),
    "nan": (as_json(data={"age": float("nan")}), "invalid", "data.age"),
    "infinity": (as_json(data={"age": float("-inf")}), "invalid", "data.age"),
    "infinity by exponent": (b'{"data": {"age": 1e999}}', "invalid", "data.age"),
    "nan in msgpack": (packed(data={"age": float("nan")}), "invalid", "data.age"),
    "an integer over 64 bits": (as_json(data={"ages": [1, 2**64]}), "invalid", "data.ages[1]"),
    "an integer under 64 bits": (as_json(data={"age": -(2**63) - 1}), "invalid", "data.age"),
    "lone surrogate": (as_json(data={"name": "\ud83d"}), "invalid", "data.name"),
    "lone surrogate as key": (as_json(data={"\udc00": 1}), "invalid", "data"),
    "bytes": (packed(data={"name": b"x"}), "invalid", "data.name"),
    "extension": (packed(data={"name": msgpack.ExtType(5, b"x")}), "invalid", "data.name"),
    "timestamp": (
        packed(issued_at=datetime.datetime.now(datetime.UTC)),
        "invalid",
        "issued_at",
    ),
    "empty map": (b"{}", "invalid", "id"),
    "no id": (json.dumps(without("id")).encode(), "invalid", "id"),
    "empty id": (as_json(id=""), "invalid", "id"),
    "null id": (as_json(id=None), "invalid", "id"),
    "number as id": (as_json(id=7), "invalid", "id"),
    "id that is no uuid": (as_json(id=CANARY), "invalid", "id"),
    "no actor": (json.dumps(without("actor")).encode(), "invalid", "actor"),
    "actor of a wrong type": (as_json(actor=CANARY), "invalid", "actor"),
    "unknown role": (as_json(actor={"id": "a", "role": CANARY}), "invalid", "actor.role"),
    "unknown field": (as_json(colour=CANARY), "invalid", None),
    "unknown field that is a name": (as_json(**{CANARY: 1}), "invalid", None),
    "data of a wrong type": (as_json(data=CANARY), "invalid", "data"),
    "time without zone": (as_json(issued_at="2026-11-22T10:00:00"), "invalid", "issued_at"),
    "time in seconds": (as_json(issued_at=1_795_000_000), "invalid", "issued_at"),
    "time in seconds as text": (as_json(issued_at="1795000000"), "invalid", "issued_at"),
    "time that is none": (as_json(issued_at=CANARY), "invalid", "issued_at"),
    "control character": (as_json(correlation_id="a\nb"), "invalid", "correlation_id"),
    "another name": (as_json(name="erase_child"), "name_mismatch", "name"),
    "another bear": (as_json(aud="bear-002"), "wrong_bear", "aud"),
}


@pytest.mark.parametrize(("payload", "code", "field"), BAD.values(), ids=BAD.keys())
def test_each_bad_input_gets_its_code_and_field_and_nothing_of_it_is_repeated(
    payload: bytes, code: str, field: str | None
) -> None:
    rejection = refusal(payload)
    assert (rejection.code, rejection.field) == (code, field)
    assert rejection.message
    assert "Canary" not in str(rejection)
    assert rejection.__cause__ is None


@pytest.mark.parametrize(
    "payload",
    [
        as_json(aud="bear-002"),
        as_json(colour=1),
        as_json(data={"a": [[{}]]}),
        as_json(data={"age": 2**70}),
        as_json()[:-1] + b', "data": {}}',
        packed(data={"name": b"x"}),
        packed(data={1: 2}),
        as_json(data={"name": "x" * 70_000}),
        packed(data={"name": "x" * 70_000}),
    ],
)
def test_a_refusal_carries_the_ids_that_could_be_read(payload: bytes) -> None:
    rejection = refusal(payload)
    assert rejection.message_id == UUID(ID)
    assert rejection.name == "register_child"
    assert rejection.correlation_id == "c-1"
    recorded = refusal_of(rejection, Origin.MQTT)
    assert (recorded.command_id, recorded.correlation_id) == (UUID(ID), "c-1")


def test_an_id_that_came_twice_belongs_to_nobody() -> None:
    payload = as_json()[:-1] + f', "id": "{UUID(int=1)}"}}'.encode()
    assert refusal(payload).message_id is None


def test_a_topic_that_is_no_name_is_not_repeated() -> None:
    assert refusal(as_json(), topic_name=CANARY).name is None


def test_a_correlation_id_that_is_not_allowed_is_not_repeated() -> None:
    assert refusal(as_json(correlation_id=CANARY * 100)).correlation_id is None


def test_a_query_that_could_not_be_read_is_answered_with_its_error() -> None:
    with pytest.raises(EnvelopeRejected) as caught:
        read_query(as_json(aud="bear-002"), "register_child", "bear-001", LIMITS)
    answer = refused_answer(caught.value)
    assert answer.query_id == UUID(ID)
    assert answer.error is not None
    assert answer.error.code == "wrong_bear"
    assert not answer.complete


@PATIENT
@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_a_rejection(payload: bytes) -> None:
    refusal(payload)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.just(datetime.UTC)).map(msgpack.Timestamp.from_datetime),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["id", "name", "actor", "issued_at", "expires_at", "correlation_id", "aud", "data", "x"]


@PATIENT
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3))
def test_arbitrary_values_in_a_message_raise_nothing_but_a_rejection(
    changed: dict[str, Any],
) -> None:
    try:
        payload = packed(**changed)
    except OverflowError:  # an integer that msgpack cannot say
        return
    with contextlib.suppress(EnvelopeRejected):
        read_command(payload, "register_child", "bear-001", LIMITS)


@PATIENT
@given(st.text(alphabet='{}[]":,0123456789.eE+-truefalsnN \\ud8', max_size=60))
def test_what_looks_like_json_raises_nothing_but_a_rejection(text: str) -> None:
    refusal(b"{" + text.encode())


class Toys(BaseModel):
    names: dict[str, int]
    count: int


@pytest.mark.parametrize(
    ("given_data", "field", "message_text"),
    [
        ({"names": {}, "count": "many"}, "data.count", "data.count should be a valid integer"),
        ({"names": {CANARY: CANARY}, "count": 1}, "data.names", None),
        ({"names": {}}, "data.count", "data.count is missing"),
        (CANARY, "data", "data should be a map"),
    ],
)
def test_a_validation_error_becomes_a_rejection_under_its_prefix(
    given_data: Any, field: str, message_text: str | None
) -> None:
    with pytest.raises(ValidationError) as caught:
        Toys.model_validate(given_data)
    rejection = rejection_of(caught.value, Toys, "data")
    assert (rejection.code, rejection.field) == ("invalid", field)
    assert message_text in (None, rejection.message)
    assert "Canary" not in str(rejection)
