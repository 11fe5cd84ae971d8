"""What each command came to: written with its events in one append, and remembered.

Every record of an end (`command_done`, `command_refused`) stands in the log behind the events of
its command, in the same append, so that after any crash both are there or neither is. The last
`finished_max` ends are kept in memory to answer duplicates; they are read from the log at start.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from teddy_edge.clock import Clock
from teddy_edge.errors import CommandExpired
from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.events import (
    Cause,
    CommandDone,
    CommandRefused,
    Event,
    Record,
    encode_event,
)
from teddy_edge.messages import Actor, CommandEnvelope, ErrorDetail, Refusal, Result

COMMAND_STREAM = "commands"


class Decided(Protocol):
    """What a handler gives (see `bus.Decision`)."""

    @property
    def stream(self) -> str:
        """The stream that the events belong to."""

    @property
    def events(self) -> Sequence[Event]:
        """What happened."""

    @property
    def data(self) -> Mapping[str, Any]:
        """What the sender is told."""


class Journal:
    """Appends decisions and refusals, and knows every recent command's result."""

    def __init__(
        self, log: EventLog, clock: Clock, apply: Callable[[Event], None], finished_max: int
    ) -> None:
        """`apply` moves the aggregates; it is called in the order of the log."""
        self._log = log
        self._clock = clock
        self._apply = apply
        self._finished_max = finished_max
        self._finished: OrderedDict[UUID, Result] = OrderedDict()
        self._in_flight: dict[UUID, asyncio.Future[Result]] = {}

    def replay(self, record: Record) -> None:
        """Take a record from the log at start: move the aggregates, remember a command's end."""
        event = record.event
        if event is None:
            return
        self._apply(event)
        result = _result_of(record, event)
        if result is not None:
            self._remember(result)

    async def earlier_result(self, command_id: UUID) -> Result | None:
        """Give the result of a command that came before, waiting until it is on the card."""
        result = self._finished.get(command_id)
        if result is None and command_id in self._in_flight:
            result = await asyncio.shield(self._in_flight[command_id])
        return None if result is None else result.model_copy(update={"duplicate": True})

    async def record(self, envelope: CommandEnvelope, decide: Callable[[], Decided]) -> Result:
        """Decide and append; gives the result once it is on the card.

        Between `decide` and the append nothing else runs, so no two decisions rest on one state,
        and a duplicate that arrived meanwhile finds the first.
        """
        await self._log.wait_for_room()
        if self._is_known(envelope.id):
            return await self._known_result(envelope.id)
        decided = decide()
        cause = _cause(envelope.id, envelope.correlation_id, envelope.actor)
        events = [(event, decided.stream) for event in decided.events]
        done = CommandDone(name=envelope.name, data=dict(decided.data))
        durable = self._append([*events, (done, COMMAND_STREAM)], cause)
        result = Result(
            command_id=envelope.id,
            name=envelope.name,
            status="done",
            seq=0,
            data=dict(decided.data),
            correlation_id=envelope.correlation_id,
        )
        return await self._finish(result, durable)

    async def refuse(self, refusal: Refusal, actor: Actor | None = None) -> Result:
        """Record a refusal, without what was in the command; gives the result once it is durable.

        A command id that ended before keeps its end: a second refusal gives the first again, and
        where the first was done, the refusal is recorded beside it.
        """
        await self._log.wait_for_room()
        command_id = refusal.command_id
        if command_id is not None and self._is_known(command_id):
            earlier = await self._known_result(command_id)
            if earlier.status != "done":
                return earlier
        rejection = refusal.rejection
        status = "expired" if isinstance(rejection, CommandExpired) else "rejected"
        event = CommandRefused(
            name=refusal.name,
            status=status,
            origin=refusal.origin.value,
            code=rejection.code,
            message=rejection.message,
            field=rejection.field,
        )
        is_first = command_id is not None and not self._is_known(command_id)
        cause = _cause(command_id if is_first else None, refusal.correlation_id, actor)
        durable = self._append([(event, COMMAND_STREAM)], cause)
        result = Result(
            command_id=command_id,
            name=refusal.name,
            status=status,
            seq=0,
            error=ErrorDetail.of(rejection),
            correlation_id=refusal.correlation_id,
        )
        if is_first:
            return await self._finish(result, durable)
        return result.model_copy(update={"seq": await durable})

    async def note(self, event: Event, stream: str) -> int:
        """Append an event that no command caused; gives its sequence number once it is durable."""
        await self._log.wait_for_room()
        return await self._append([(event, stream)], Cause())

    def _append(self, events: Sequence[tuple[Event, str]], cause: Cause) -> asyncio.Future[int]:
        entries = [
            Entry(event.data_class, encode_event(event, stream, cause, self._clock))
            for event, stream in events
        ]
        durable = self._log.append(entries)
        for event, _ in events:
            self._apply(event)
        return durable

    async def _finish(self, result: Result, durable: asyncio.Future[int]) -> Result:
        assert result.command_id is not None
        finished: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._in_flight[result.command_id] = finished
        durable.add_done_callback(lambda done: self._settle(result, done, finished))
        return await asyncio.shield(finished)

    def _settle(
        self, result: Result, durable: asyncio.Future[int], finished: asyncio.Future[Result]
    ) -> None:
        """Runs when the card has answered, whether or not anybody still waits."""
        assert result.command_id is not None
        del self._in_flight[result.command_id]
        if durable.cancelled():
            finished.cancel()
            return
        error = durable.exception()
        if error is not None:
            finished.set_exception(error)
            return
        final = result.model_copy(update={"seq": durable.result()})
        self._remember(final)
        finished.set_result(final)

    def _is_known(self, command_id: UUID) -> bool:
        return command_id in self._finished or command_id in self._in_flight

    async def _known_result(self, command_id: UUID) -> Result:
        result = await self.earlier_result(command_id)
        assert result is not None
        return result

    def _remember(self, result: Result) -> None:
        assert result.command_id is not None
        self._finished[result.command_id] = result
        while len(self._finished) > self._finished_max:
            self._finished.popitem(last=False)


def _cause(command_id: UUID | None, correlation_id: str | None, actor: Actor | None) -> Cause:
    if actor is None:
        return Cause(command_id, correlation_id)
    return Cause(command_id, correlation_id, actor.id, actor.role)


def _result_of(record: Record, event: Event) -> Result | None:
    """Make the result that was given when this record was written."""
    command_id = record.cause.command_id
    correlation_id = record.cause.correlation_id
    if command_id is None:
        return None
    if isinstance(event, CommandDone):
        return Result(
            command_id=command_id,
            name=event.name,
            status="done",
            seq=record.seq,
            data=event.data,
            correlation_id=correlation_id,
        )
    if isinstance(event, CommandRefused):
        return Result(
            command_id=command_id,
            name=event.name,
            status="expired" if event.status == "expired" else "rejected",
            seq=record.seq,
            error=ErrorDetail(code=event.code, message=event.message, field=event.field),
            correlation_id=correlation_id,
        )
    return None
