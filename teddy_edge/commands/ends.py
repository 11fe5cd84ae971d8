"""What each command came to: the newest ends, and the horizon behind which they are forgotten.

An end is kept packed, since ten thousand of them must fit on a small board: as msgpack, in the
order of `_pack`. What a duplicate is answered with is unpacked from it.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, cast
from uuid import UUID

import msgpack

from teddy_edge.clock import Clock
from teddy_edge.commands.horizon import Horizon
from teddy_edge.events import CommandDone, CommandRefused, Event, Record
from teddy_edge.messages import Actor, ErrorDetail, Result, Status
from teddy_edge.settings import CommandSettings


class Sender(NamedTuple):
    """What must be the same when an id comes again: the command's name and who sent it."""

    name: str | None
    actor_id: str | None
    actor_role: str | None

    @classmethod
    def of(cls, name: str | None, actor: Actor | None) -> Sender:
        """Take what is known of a message."""
        return cls(name, None, None) if actor is None else cls(name, actor.id, actor.role)


class Finished(NamedTuple):
    """The end of a command that had an id."""

    result: Result
    sender: Sender
    issued_us: int | None = None
    """Where it was done, and came over MQTT: when its sender issued it."""


class Ends:
    """The newest ends by command id, within limits. One thread uses it."""

    def __init__(self, clock: Clock, limits: CommandSettings) -> None:
        self.horizon = Horizon(clock, limits)
        self._count_max = limits.finished_max
        self._bytes_max = limits.finished_bytes_max
        self._packed: OrderedDict[UUID, bytes] = OrderedDict()
        self._bytes = 0

    def find(self, command_id: UUID) -> Finished | None:
        """Give the end of a command; None where it did not end, or so long ago that it is gone."""
        packed = self._packed.get(command_id)
        return None if packed is None else _unpack(command_id, packed)

    def newest(self, count_max: int) -> list[Result]:
        """Give the results of the commands that ended last, the newest at the end."""
        newest = itertools.islice(reversed(self._packed.items()), count_max)
        return [_unpack(command_id, packed).result for command_id, packed in newest][::-1]

    def remember(self, end: Finished) -> None:
        """Take up an end that is on the card."""
        result = end.result
        assert result.command_id is not None
        error = result.error
        reason = None if error is None else (error.code, error.message, error.field)
        self._keep(
            result.command_id,
            _pack(
                end.sender, result.status, result.seq, result.data, reason,
                result.correlation_id, end.issued_us,
            ),
        )  # fmt: skip

    def take(self, record: Record, event: Event) -> None:
        """Take up a record that is read from the log, in order."""
        self.horizon.apply(event)
        cause = record.cause
        if cause.command_id is None:
            return
        if isinstance(event, CommandDone):
            status: Status = "done"
            data, reason, issued_us = event.data, None, event.issued_us
        elif isinstance(event, CommandRefused):
            status, data, issued_us = status_of(event), {}, None
            reason = (event.code, event.message, event.field)
        else:
            return
        sender = Sender(event.name, cause.actor_id, cause.actor_role)
        packed = _pack(sender, status, record.seq, data, reason, cause.correlation_id, issued_us)
        self._keep(cause.command_id, packed)

    def state(self) -> list[Any]:
        """Give all of it in types that msgpack knows, for a checkpoint."""
        ids = [command_id.bytes for command_id in self._packed]
        return [self.horizon.state(), ids, list(self._packed.values())]

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave; what is over the limits of today is forgotten."""
        horizon, ids, ends = state
        self.horizon.restore(horizon)
        for id_bytes, packed in zip(ids, ends, strict=True):
            self._keep(UUID(bytes=id_bytes), packed)

    def _is_over(self) -> bool:
        return len(self._packed) > self._count_max or self._bytes > self._bytes_max

    def _keep(self, command_id: UUID, packed: bytes) -> None:
        self._bytes += len(packed) - len(self._packed.get(command_id, b""))
        self._packed[command_id] = packed
        while len(self._packed) > 1 and self._is_over():
            _, oldest = self._packed.popitem(last=False)
            self._bytes -= len(oldest)
            self.horizon.forget(_issued_us(oldest))


def status_of(event: CommandRefused) -> Status:
    """Say how a command ended that was refused."""
    return "expired" if event.status == "expired" else "rejected"


Reason = tuple[str, str, str | None]
"""Code, message and field of a refusal."""


def _pack(
    sender: Sender, status: str, seq: int, data: dict[str, Any], reason: Reason | None,
    correlation_id: str | None, issued_us: int | None,
) -> bytes:  # fmt: skip
    return cast(
        bytes, msgpack.packb((issued_us, *sender, status, seq, data, reason, correlation_id))
    )


def _issued_us(packed: bytes) -> int | None:
    issued_us: int | None = msgpack.unpackb(packed)[0]
    return issued_us


def _unpack(command_id: UUID, packed: bytes) -> Finished:
    issued_us, name, actor_id, actor_role, status, seq, data, reason, correlation_id = (
        msgpack.unpackb(packed)
    )
    error = None
    if reason is not None:
        code, message, field = reason
        error = ErrorDetail(code=code, message=message, field=field)
    result = Result(
        command_id=command_id,
        name=name,
        status=cast(Status, status),
        seq=seq,
        data=data,
        error=error,
        correlation_id=correlation_id,
    )
    return Finished(result, Sender(name, actor_id, actor_role), issued_us)
