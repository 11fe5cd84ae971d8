"""What crosses the bear's borders: commands and their results, queries and their answers.

The shapes are the wire contract. A command and a query arrive in the same unsigned envelope
(plain JSON or msgpack); inputs read it, buses take it, results and answers go back as JSON.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from teddy_edge.errors import CommandRejected

Identifier = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")
]
"""An id that somebody else made: 1 to 128 characters, none of them a control character."""

MessageName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""The name of a command or a query, as in `register_child`."""


def _is_written_out(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and "T" in value.upper()):
        return value
    raise ValueError("should be a time as RFC 3339 writes it, as in 2026-11-22T10:00:00Z")


Moment = Annotated[AwareDatetime, BeforeValidator(_is_written_out)]
"""A time with its zone. pydantic alone would take seconds since 1970 as well."""

Role = Literal["parent", "guardian", "maker", "support", "device"]


class Message(BaseModel):
    """Immutable; an unknown field is an error, since a misspelt one would be lost in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Origin(enum.StrEnum):
    """The way a message came in."""

    MQTT = "mqtt"
    SOCKET = "socket"
    BUTTON = "button"
    LIBRARY = "library"


class Actor(Message):
    """Who asks, and as what."""

    id: Identifier
    role: Role


class CommandEnvelope(Message):
    """A command as it crosses the border; `data` becomes a command type in the bus."""

    id: UUID
    name: MessageName
    actor: Actor
    issued_at: Moment
    expires_at: Moment | None = None
    correlation_id: Identifier | None = None
    aud: Identifier | None = None
    """The bear it is meant for; the topic says so too."""
    data: dict[str, Any] = Field(default_factory=dict)


class QueryEnvelope(Message):
    """A query as it crosses the border."""

    id: UUID
    name: MessageName
    actor: Actor
    issued_at: Moment | None = None
    correlation_id: Identifier | None = None
    aud: Identifier | None = None
    data: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """That something was refused, with what could be read of it."""

    rejection: CommandRejected
    origin: Origin
    command_id: UUID | None = None
    name: str | None = None
    correlation_id: str | None = None

    @classmethod
    def of(cls, envelope: CommandEnvelope, origin: Origin, rejection: CommandRejected) -> Refusal:
        """Refuse a command whose envelope could be read."""
        return cls(rejection, origin, envelope.id, envelope.name, envelope.correlation_id)


class ErrorDetail(Message):
    """Why something was refused: a code for programs, a sentence for people, the field."""

    code: str
    message: str
    field: str | None = None

    @classmethod
    def of(cls, rejection: CommandRejected) -> ErrorDetail:
        """Take the three parts from a rejection."""
        return cls(code=rejection.code, message=rejection.message, field=rejection.field)


Status = Literal["done", "rejected", "expired"]


class Result(Message):
    """How a command ended. It leaves the bear only after `seq` is on the card."""

    command_id: UUID | None
    name: str | None
    status: Status
    seq: int
    data: dict[str, Any] = Field(default_factory=dict)
    error: ErrorDetail | None = None
    correlation_id: str | None = None
    duplicate: bool = False

    @property
    def success(self) -> bool:
        """Whether the command was done."""
        return self.status == "done"


class Answer(Message):
    """What a query gave, and how much of the history it rests on."""

    query_id: UUID | None
    name: str | None
    data: dict[str, Any] | None = None
    error: ErrorDetail | None = None
    seq: int
    """The last event that the answer includes."""
    age_s: float
    """How long the oldest event that is recorded but not yet included has waited; 0 if none."""
    complete: bool
    """False where a part of the history behind the answer is missing."""
    incomplete_because: str | None = None
    correlation_id: str | None = None

    @property
    def success(self) -> bool:
        """Whether the query was answered."""
        return self.error is None


FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""How our own fields are written. Any other key is a sender's text and is not repeated."""

_SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "has a field that is not known",
    "dict_type": "should be a map",
    "model_type": "should be a map",
}


def rejection_of(
    error: ValidationError, model: type[BaseModel], prefix: str = ""
) -> CommandRejected:
    """Turn what pydantic found first into a rejection that repeats nothing of the value given.

    `model` is what was validated against, `prefix` its path, as in `data`.
    """
    detail = error.errors(include_url=False, include_input=False)[0]
    location = detail["loc"]
    sentence = _SENTENCES.get(detail["type"]) or _without_value(detail["type"], detail["msg"])
    if detail["type"] == "extra_forbidden":  # the name of the field is the sender's own text
        location = location[:-1]
        sentence += ": it may have " + ", ".join(_fields_at(model, location))
    field = dotted_path(prefix, *location)
    return CommandRejected("invalid", f"{field or 'the message'} {sentence}", field)


def _fields_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """Give the fields that a model has at a path within it."""
    for part in location:
        if part in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
            kinds = get_args(annotation) or (annotation,)
            model = next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
    return sorted(model.model_fields)


def dotted_path(*parts: str | int) -> str | None:
    """Join the parts of a field's path, up to the first one that is a sender's own text."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif FIELD_NAME.fullmatch(part):
            path += f".{part}"
        elif part:
            break
    return path.removeprefix(".") or None


def _without_value(error_type: str, message: str) -> str:
    if error_type.endswith("_parsing") or error_type == "union_tag_invalid":
        message = message.partition(", ")[0].partition(" found using")[0]  # a piece of it follows
    return re.sub(r"^(Input|String|List|Dictionary|Value error,) ", "", message)
