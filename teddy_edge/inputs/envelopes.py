"""Bytes from outside become an envelope, or a refusal that says why.

A message is a map, as JSON (its first byte that is not white space is `{`) or as msgpack. Both are
held to what JSON in UTF-8 can say: text keys, none of them twice, finite numbers, integers of
64 bits, no binary. Nothing that a sender wrote is repeated in a refusal; what could be read of the
message (its id, its correlation id) goes with it, so that the sender gets a result.
"""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

import msgpack
from pydantic import TypeAdapter, ValidationError

from teddy_edge.errors import CommandRejected, EnvelopeRejected
from teddy_edge.messages import (
    Answer,
    CommandEnvelope,
    ErrorDetail,
    Identifier,
    MessageName,
    Origin,
    QueryEnvelope,
    Refusal,
    dotted_path,
    rejection_of,
)
from teddy_edge.settings import CommandSettings

Envelope = TypeVar("Envelope", CommandEnvelope, QueryEnvelope)

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**64 - 1
JSON_START = re.compile(rb"[ \t\r\n]*\{")
SURROGATE = re.compile("[\ud800-\udfff]")

_identifier: TypeAdapter[str] = TypeAdapter(Identifier)
_message_name: TypeAdapter[str] = TypeAdapter(MessageName)


def read_command(
    payload: bytes,
    topic_name: str,
    bear: str,
    limits: CommandSettings,
    defaults: Mapping[str, Any] | None = None,
) -> CommandEnvelope:
    """Read a command that came under `topic_name`; `defaults` stand in for what it leaves out.

    Raises `EnvelopeRejected`, whose code is `payload_too_large`, `malformed`, `too_deep`,
    `repeated_key`, `invalid`, `name_mismatch` or `wrong_bear`.
    """
    return _read(CommandEnvelope, payload, topic_name, bear, limits, defaults or {})


def read_query(
    payload: bytes,
    topic_name: str,
    bear: str,
    limits: CommandSettings,
    defaults: Mapping[str, Any] | None = None,
) -> QueryEnvelope:
    """Read a query; the same as `read_command`."""
    return _read(QueryEnvelope, payload, topic_name, bear, limits, defaults or {})


def refusal_of(rejection: EnvelopeRejected, origin: Origin) -> Refusal:
    """Make what the command bus records of a command that could not be read."""
    return Refusal(
        rejection, origin, rejection.message_id, rejection.name, rejection.correlation_id
    )


def refused_answer(rejection: EnvelopeRejected) -> Answer:
    """Answer a query that never reached the query bus: it rests on no event."""
    return Answer(
        query_id=rejection.message_id,
        name=rejection.name,
        error=ErrorDetail.of(rejection),
        seq=0,
        age_s=0.0,
        complete=False,
        incomplete_because="the query was refused",
        correlation_id=rejection.correlation_id,
    )


def _read(
    envelope_type: type[Envelope],
    payload: bytes,
    topic_name: str,
    bear: str,
    limits: CommandSettings,
    defaults: Mapping[str, Any],
) -> Envelope:
    fields: dict[str, Any] = {}
    try:
        if len(payload) > limits.payload_bytes_max:
            fields = _decode_if_possible(payload)  # its sender waits for an end under its id
            raise _too_large(limits.payload_bytes_max)
        fields = _decode(payload)
        _check_value(fields, (), limits.depth_max)
        envelope = _validate(envelope_type, {**defaults, **fields})
        _check_addressee(envelope, topic_name, bear)
    except CommandRejected as rejection:
        raise EnvelopeRejected(
            rejection,
            message_id=_readable_id(fields),
            name=_readable(_message_name, topic_name),
            correlation_id=_readable(_identifier, fields.get("correlation_id")),
        ) from None  # the cause may hold what the sender wrote
    return envelope


def _too_large(payload_bytes_max: int) -> CommandRejected:
    sentence = f"a message may have at most {payload_bytes_max} bytes"
    return CommandRejected("payload_too_large", sentence)


def _decode_if_possible(payload: bytes) -> dict[str, Any]:
    try:
        return _decode(payload)
    except CommandRejected:
        return {}


class _Flaw(enum.Enum):
    """What stands in a decoded message where it broke the rules, so that its id is still read."""

    REPEATED_KEY = enum.auto()
    KEY_NOT_TEXT = enum.auto()


def _build_map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    fields: dict[Any, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            fields[_Flaw.KEY_NOT_TEXT] = None
        else:
            fields[key] = _Flaw.REPEATED_KEY if key in fields else value
    return fields


def _decode(payload: bytes) -> dict[str, Any]:
    decode = _decode_json if JSON_START.match(payload) else _decode_msgpack
    try:
        message = decode(payload)
    except (RecursionError, msgpack.StackError):
        raise CommandRejected("too_deep", "the message is nested too deeply") from None
    if not isinstance(message, dict):
        raise CommandRejected("invalid", "the message should be a map (JSON or msgpack)")
    return message


def _decode_json(payload: bytes) -> Any:
    try:
        return json.loads(payload.decode(), object_pairs_hook=_build_map)
    except UnicodeDecodeError as error:
        raise _malformed(f"the message is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise _malformed(f"the message is not JSON at {place}: {error.msg}") from None
    except ValueError:  # an integer of more digits than Python converts
        raise CommandRejected("invalid", "the message holds a number over 64 bits") from None


def _decode_msgpack(payload: bytes) -> Any:
    try:
        return msgpack.unpackb(payload, object_pairs_hook=_build_map, strict_map_key=False)
    except msgpack.StackError:
        raise
    except (ValueError, msgpack.UnpackException):
        raise _malformed("the message is neither a JSON object nor valid msgpack") from None


def _malformed(sentence: str) -> CommandRejected:
    return CommandRejected("malformed", sentence)


def _check_value(value: Any, path: tuple[str | int, ...], depth_left: int) -> None:
    if isinstance(value, dict | list) and depth_left == 0:
        raise CommandRejected("too_deep", "the message is nested too deeply")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_scalar(key, path)
            _check_value(inner, (*path, key), depth_left - 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_value(inner, (*path, index), depth_left - 1)
    else:
        _check_scalar(value, path)


def _check_scalar(value: Any, path: tuple[str | int, ...]) -> None:
    code = "invalid"
    match value:
        case str() if value.isascii() or not SURROGATE.search(value):
            return
        case None | bool():
            return
        case int() if INTEGER_MIN <= value <= INTEGER_MAX:
            return
        case float() if math.isfinite(value):
            return
        case str():
            sentence = "holds half a character (a lone surrogate)"
        case int() | float():
            sentence = "is not a finite number of at most 64 bits"
        case _Flaw.REPEATED_KEY:
            code, sentence = "repeated_key", "stands there twice"
        case _Flaw.KEY_NOT_TEXT:
            sentence = "has a key that is not text"
        case _:
            sentence = "is of a kind that JSON does not have (binary, extension or timestamp)"
    field = dotted_path(*path)
    raise CommandRejected(code, f"{field or 'the message'} {sentence}", field)


def _validate(envelope_type: type[Envelope], fields: dict[str, Any]) -> Envelope:
    try:
        return envelope_type.model_validate(fields)
    except ValidationError as error:
        raise rejection_of(error, envelope_type) from None


def _check_addressee(envelope: Envelope, topic_name: str, bear: str) -> None:
    if envelope.name != topic_name:
        raise CommandRejected(
            "name_mismatch", "the name in the message is not the one it was sent under", "name"
        )
    if envelope.aud not in (None, bear):
        raise CommandRejected("wrong_bear", "the message is meant for another bear", "aud")


def _readable_id(fields: dict[str, Any]) -> UUID | None:
    message_id = fields.get("id")
    if not isinstance(message_id, str):
        return None
    try:
        return UUID(message_id)
    except ValueError:
        return None


def _readable(adapter: TypeAdapter[str], value: Any) -> str | None:
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None
