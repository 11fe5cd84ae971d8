"""How a fact becomes the bytes of a log record, and how it is read back.

A record's body is a msgpack array, in this order:

    type, type version, event id (16 bytes), stream, wall ns, monotonic ns, boot id (16 bytes),
    trust, correlation id, causation id (the command's, 16 bytes), actor ([id, role]), data (a map)

The sequence number and the data class stand in the record's frame (see `eventlog`). A body that a
newer version wrote keeps its unknown type: it is carried, replayed and synced, never lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import msgpack

from teddy_edge.clock import Clock, Trust, new_id, rfc3339
from teddy_edge.events.types import DataClass, Event
from teddy_edge.events.upcasting import current_event


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an event happened: the command, who sent it, and the correlation id."""

    command_id: UUID | None = None
    correlation_id: str | None = None
    actor_id: str | None = None
    actor_role: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """An event as it stands in the log."""

    seq: int
    data_class: int
    type: str
    type_version: int
    id: UUID
    stream: str
    wall_ns: int
    monotonic_ns: int
    boot_id: UUID
    trust: Trust
    cause: Cause
    data: dict[str, Any]

    @property
    def event(self) -> Event | None:
        """The typed event as of today, or None for one that this version does not know."""
        return current_event(self.type, self.type_version, self.data)


def encode_event(event: Event, stream: str, cause: Cause, clock: Clock) -> bytes:
    """Make a record body, stamped with the clock's three times and a new event id."""
    actor = None if cause.actor_id is None else [cause.actor_id, cause.actor_role]
    trust = clock.trust()  # asked before the wall clock, which may be set in between
    body = [
        event.type,
        event.type_version,
        new_id(clock).bytes,
        stream,
        clock.wall_ns(),
        clock.monotonic_ns(),
        clock.boot_id.bytes,
        trust.value,
        cause.correlation_id,
        None if cause.command_id is None else cause.command_id.bytes,
        actor,
        _fields(event),
    ]
    return cast(bytes, msgpack.packb(body))


def _fields(event: Event) -> dict[str, Any]:
    names: tuple[str, ...] = event.__match_args__  # type: ignore[attr-defined]  # of a dataclass
    return {name: getattr(event, name) for name in names}


def decode_record(seq: int, data_class: int, body: bytes) -> Record:
    """Read what `encode_event` wrote; the log has already checked the bytes."""
    (
        type_name, type_version, event_id, stream, wall_ns, monotonic_ns, boot_id, trust,
        correlation_id, command_id, actor, data,
    ) = msgpack.unpackb(body)  # fmt: skip
    actor_id, actor_role = actor or (None, None)
    return Record(
        seq=seq,
        data_class=data_class,
        type=type_name,
        type_version=type_version,
        id=UUID(bytes=event_id),
        stream=stream,
        wall_ns=wall_ns,
        monotonic_ns=monotonic_ns,
        boot_id=UUID(bytes=boot_id),
        trust=Trust(trust),
        cause=Cause(
            None if command_id is None else UUID(bytes=command_id),
            correlation_id,
            actor_id,
            actor_role,
        ),
        data=data,
    )


def cloud_event(record: Record, bear: str) -> dict[str, Any]:
    """Show a record with CloudEvents 1.0 attribute names, for people and programs outside."""
    return {
        "specversion": "1.0",
        "id": str(record.id),
        "source": f"teddy/{bear}",
        "type": record.type,
        "dataschema": f"teddy:{record.type}:{record.type_version}",
        "subject": record.stream,
        "time": rfc3339(record.wall_ns),
        "seq": record.seq,
        "dataclass": data_class_name(record.data_class),
        "clocktrust": record.trust.value,
        "bootid": str(record.boot_id),
        "monotonicns": record.monotonic_ns,
        "correlationid": record.cause.correlation_id,
        "causationid": None if record.cause.command_id is None else str(record.cause.command_id),
        "actor": record.cause.actor_id,
        "actorrole": record.cause.actor_role,
        "data": record.data,
    }


def data_class_name(data_class: int) -> str:
    """Name a data class, also one that a newer version added."""
    try:
        return DataClass(data_class).name.lower()
    except ValueError:
        return f"class-{data_class}"
