"""A command bus on a real log, with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from teddy_edge.clock import NS_PER_S
from teddy_edge.commands import (
    CommandBus,
    Journal,
    WriteState,
    register_handlers,
    standard_middleware,
)
from teddy_edge.eventlog import EventLog
from teddy_edge.events import Event, Record, decode_record
from teddy_edge.messages import Actor, CommandEnvelope, Origin, Result
from teddy_edge.metrics import Meter
from teddy_edge.security import SenderPolicy
from teddy_edge.settings import ClockSettings, CommandSettings, LogSettings
from teddy_edge.testing import FakeClock
from teddy_edge.timekeeping import TimeKeeper

PARENT = Actor(id="parent-123", role="parent")
EMMA = {
    "parent_id": "parent-123",
    "device_id": "device-456",
    "name": "Emma",
    "age": 7,
    "udid": "unique-device-emma-001",
}
MANY = 1_000_000
CHILDREN_MAX = 120


class Box:
    """The write side of a bear."""

    def __init__(
        self,
        log: EventLog,
        clock: FakeClock,
        settings: CommandSettings,
        *,
        allow_unsigned: bool,
        keep_words: bool,
    ) -> None:
        self.log = log
        self.clock = clock
        self.state = WriteState(clock, settings)
        while self.state.follow(log):
            pass
        self.aggregates = self.state.aggregates
        self.time_keeper = TimeKeeper(clock, ClockSettings())
        if self.state.clock_synced is not None:
            self.time_keeper.apply(self.state.clock_synced)
        self.journal = Journal(log, clock, self.state.ends, self.apply)
        self.bus = CommandBus(self.journal, clock)
        policy = SenderPolicy(allow_unsigned=allow_unsigned)
        self.meter = Meter(clock)
        self.standard = standard_middleware(
            settings.middleware,
            self.bus.command_type,
            self.journal,
            clock,
            policy,
            self.meter,
            settings.per_minute,
        )
        self.bus.use(self.standard)
        register_handlers(
            self.bus,
            self.aggregates,
            clock,
            buttons=("left_paw", "right_paw"),
            keep_words=keep_words,
            children_max=CHILDREN_MAX,
        )

    def apply(self, event: Event) -> None:
        self.aggregates.apply(event)
        self.time_keeper.apply(event)

    def records(self) -> list[Record]:
        return records(self.log)

    def types(self) -> list[str]:
        return [record.type for record in self.records()]

    def envelope(
        self,
        name: str = "register_child",
        data: dict[str, Any] | None = None,
        command_id: UUID | None = None,
        actor: Actor = PARENT,
        expires_in_s: float | None = None,
    ) -> CommandEnvelope:
        now = datetime.fromtimestamp(self.clock.wall_ns() / NS_PER_S, UTC)
        expires = None if expires_in_s is None else now + timedelta(seconds=expires_in_s)
        return CommandEnvelope(
            id=command_id or uuid4(),
            name=name,
            actor=actor,
            issued_at=now,
            expires_at=expires,
            correlation_id="correlation-1",
            data=dict(EMMA) if data is None else data,
        )

    async def send(self, envelope: CommandEnvelope, origin: Origin = Origin.MQTT) -> Result:
        return await self.bus.execute(envelope, origin)


def records(log: EventLog) -> list[Record]:
    if log.last_seq == 0:
        return []
    stored = log.read(log.first_seq, MANY, MANY * 100)
    return [decode_record(each.seq, each.data_class, each.body) for each in stored]


@asynccontextmanager
async def open_box(
    directory: Path,
    finished_max: int = 100,
    *,
    allow_unsigned: bool = True,
    keep_words: bool = True,
    clock: FakeClock | None = None,
    record_bytes_max: int = 128 * 1024,
) -> AsyncIterator[Box]:
    """A box on the log in a directory, with what the log remembers replayed."""
    log = EventLog.open(directory, LogSettings(record_bytes_max=record_bytes_max))
    log.start()
    box = Box(
        log,
        clock or FakeClock(),
        CommandSettings().model_copy(update={"finished_max": finished_max}),
        allow_unsigned=allow_unsigned,
        keep_words=keep_words,
    )
    try:
        yield box
    finally:
        await log.close()
