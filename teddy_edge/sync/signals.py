"""What the bear and the cloud tell each other about the log, beside the events themselves.

All of it is JSON. A field that is not known is passed over, so that either end may say more than
the other one knows.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from teddy_edge.clock import Trust
from teddy_edge.errors import WireError
from teddy_edge.messages import Status

FINISHED_MAX: Final = 1000
"""As many ended commands as a bear may be set to name at once."""

SequenceNumber = Annotated[int, Field(ge=1, le=2**63 - 1)]
SequenceNumberOrNone = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""0 where there is none."""


class Signal(BaseModel):
    """Immutable, and nothing converted: text is no number."""

    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True)


class Confirmation(Signal):
    """`confirmed`, from the cloud, retained: all of this log up to `seq` is stored.

    By `chain`, the value after that record in hexadecimal digits, the bear sees whether it is its
    own history that is stored.
    """

    epoch: UUID
    seq: SequenceNumberOrNone
    chain: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{32}$")] | None = None


class Pending(Signal):
    """`pending`, from the bear after each connect: send again what has no result.

    `finished` are the commands that ended last, the newest at the end: id, how it ended, and the
    sequence number of its end.
    """

    epoch: UUID
    last_seq: SequenceNumberOrNone
    finished: Annotated[
        tuple[tuple[UUID, Status, SequenceNumberOrNone], ...], Field(max_length=FINISHED_MAX)
    ] = ()


class Replay(Signal):
    """`replay`, from the cloud, never retained: send all of this log again from `from_seq` on."""

    epoch: UUID
    from_seq: SequenceNumber


class UrgentEvent(Signal):
    """`urgent`, from the bear: a safety event, as a CloudEvent 1.0 with the log's epoch.

    It follows in order in `events`, where `id` shows that it is the same.
    """

    specversion: Literal["1.0"]
    id: UUID
    source: str
    type: str
    dataschema: str
    subject: str
    time: str
    """RFC 3339, as the bear believes (see `clocktrust`)."""
    seq: SequenceNumber
    epoch: UUID
    dataclass: str
    clocktrust: Trust
    bootid: UUID
    monotonicns: int
    correlationid: str | None = None
    causationid: UUID | None = None
    """The command that it came of."""
    actor: str | None = None
    actorrole: str | None = None
    data: dict[str, Any]


class BearStatus(Signal):
    """`status`, from the bear, retained: its birth with all of this, its will without the rest."""

    online: bool
    bear: str | None = None
    version: str | None = None
    epoch: UUID | None = None
    last_seq: SequenceNumberOrNone | None = None
    clock_trust: Trust | None = None


class ReadModelState(Signal):
    """`state/{model}/{id}`, from the bear, retained: a read model, and how current it is.

    An empty payload clears it: the child was deactivated.
    """

    seq: SequenceNumberOrNone
    """The last event that it includes."""
    published_at: str
    clock_trust: Trust
    complete: bool
    """False where a part of the history behind it is missing."""
    incomplete_because: str | None
    data: dict[str, Any]


AnySignal = TypeVar("AnySignal", bound=Signal)


def encode_signal(signal: Signal) -> bytes:
    """Make the payload; what is not known is left out."""
    return signal.model_dump_json(exclude_none=True).encode()


def decode_signal(signal_type: type[AnySignal], payload: bytes) -> AnySignal:
    """Read a payload; raises `WireError`, which repeats nothing of it."""
    try:
        return signal_type.model_validate_json(payload)
    except ValidationError as error:
        field = error.errors(include_url=False, include_input=False)[0]["loc"][:1]
        known = [name for name in field if name in signal_type.model_fields]
        at = f": see {known[0]}" if known else ""
        raise WireError(f"no {signal_type.__name__.lower()}{at}") from None
