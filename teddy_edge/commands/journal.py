"""What a command came to is written with its events in one append.

Every record of an end (`command_done`, `command_refused`) stands in the log behind the events of
its command, in the same append, so that after any crash both are there or neither is. The newest
ends are kept in memory to answer duplicates (see `Ends`); what is older lies behind the `Horizon`,
and is never executed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from teddy_edge.clock import Clock, microseconds
from teddy_edge.commands.ends import Ends, Finished, Sender, status_of
from teddy_edge.commands.horizon import Horizon
from teddy_edge.domain.bear import STREAM as BEAR_STREAM
from teddy_edge.errors import CommandExpired, CommandRejected, RecordTooLarge
from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.events import (
    Cause,
    CommandDone,
    CommandRefused,
    Event,
    encode_event,
)
from teddy_edge.messages import Actor, CommandEnvelope, ErrorDetail, Origin, Refusal, Result

COMMAND_STREAM = "commands"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a handler decided: events of one stream, and what the result tells the sender."""

    stream: str
    events: Sequence[Event]
    data: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """Appends decisions and refusals, and knows every recent command's result."""

    def __init__(
        self, log: EventLog, clock: Clock, ends: Ends, apply: Callable[[Event], None]
    ) -> None:
        """`apply` moves the aggregates; it is called in the order of the log.

        Both they and `ends` stand at the log's end.
        """
        self._log = log
        self._clock = clock
        self._ends = ends
        self._horizon = ends.horizon
        self._apply = apply
        self._in_flight: dict[UUID, asyncio.Future[Finished]] = {}

    def finished_last(self, results_max: int) -> list[Result]:
        """Give the results of the commands that ended last, the newest at the end."""
        return self._ends.newest(results_max)

    async def wait_for_room(self) -> None:
        """Return once the log takes more; raises as `EventLog.wait_for_room` does."""
        await self._log.wait_for_room()

    async def earlier_result(self, envelope: CommandEnvelope) -> Result | None:
        """Give the result of a command that came before, waiting until it is on the card.

        Raises `CommandRejected` where its id was used for another command, or by somebody else.
        """
        finished = await self._earlier(envelope.id)
        if finished is None:
            return None
        if finished.sender != Sender.of(envelope.name, envelope.actor):
            raise CommandRejected("id_reused", "the id was used for another command before", "id")
        return finished.result.model_copy(update={"duplicate": True})

    async def _earlier(self, command_id: UUID) -> Finished | None:
        finished = self._ends.find(command_id)
        if finished is None and command_id in self._in_flight:
            finished = await asyncio.shield(self._in_flight[command_id])
        return finished

    async def record(
        self, envelope: CommandEnvelope, origin: Origin, decide: Callable[[], Decision]
    ) -> Result:
        """Decide and append; gives the result once it is on the card.

        Between `decide` and the append nothing else runs, so no two decisions rest on one state,
        and a duplicate that arrived meanwhile finds the first. Raises `CommandRejected` where the
        command may have been done before (see `Horizon`), and what `decide` raises.
        """
        await self._log.wait_for_room()
        earlier = await self.earlier_result(envelope)
        if earlier is not None:
            return earlier
        issued_us = microseconds(envelope.issued_at) if origin is Origin.MQTT else None
        self._horizon.check(issued_us)
        decided = decide()
        cause = _cause(envelope.id, envelope.correlation_id, envelope.actor)
        events = [(event, decided.stream) for event in decided.events]
        done = CommandDone(
            name=envelope.name,
            data=dict(decided.data),
            issued_us=issued_us,
            done_before=self._horizon.done_count,
            latest_us=self._horizon.latest_us,
        )
        try:
            durable = self._append([*events, (done, COMMAND_STREAM)], cause)
        except RecordTooLarge as error:
            sentence = f"what it asks to remember is over {error.record_bytes_max} bytes"
            raise CommandRejected("too_large", sentence, "data") from error
        result = Result(
            command_id=envelope.id,
            name=envelope.name,
            status="done",
            seq=0,
            data=dict(decided.data),
            correlation_id=envelope.correlation_id,
        )
        sender = Sender.of(envelope.name, envelope.actor)
        return await self._finish(Finished(result, sender, issued_us), durable)

    async def refuse_command(
        self, envelope: CommandEnvelope, origin: Origin, rejection: CommandRejected
    ) -> Result:
        """Refuse a command whose envelope could be read; see `refuse`.

        One that was ended before keeps its end, whatever is wrong with it today.
        """
        await self._log.wait_for_room()
        if rejection.code != "id_reused":
            earlier = await self.earlier_result(envelope)
            if earlier is not None:
                return earlier
        refusal = Refusal.of(envelope, origin, rejection)
        return await self.refuse(refusal, envelope.actor)

    async def refuse(self, refusal: Refusal, actor: Actor | None = None) -> Result:
        """Record a refusal, without what was in the command; gives the result once it is durable.

        Where the same sender's command ended before under this id, that end is given. Where
        another's did, the refusal is recorded beside that end and does not replace it.
        """
        await self._log.wait_for_room()
        command_id, sender = refusal.command_id, Sender.of(refusal.name, actor)
        earlier = None if command_id is None else await self._earlier(command_id)
        if earlier is not None and earlier.sender == sender:
            return earlier.result.model_copy(update={"duplicate": True})
        is_first = command_id is not None and earlier is None
        event = _refused(refusal, self._horizon)
        cause = _cause(command_id if is_first else None, refusal.correlation_id, actor)
        durable = self._append([(event, COMMAND_STREAM)], cause)
        result = Result(
            command_id=command_id,
            name=refusal.name,
            status=status_of(event),
            seq=0,
            error=ErrorDetail.of(refusal.rejection),
            correlation_id=refusal.correlation_id,
        )
        if is_first:
            return await self._finish(Finished(result, sender), durable)
        return result.model_copy(update={"seq": await durable})

    async def note(self, event: Event) -> int:
        """Append what happened to the bear by no command; gives its number once it is durable."""
        await self._log.wait_for_room()
        return await self._append([(event, BEAR_STREAM)], Cause())

    def _append(self, events: Sequence[tuple[Event, str]], cause: Cause) -> asyncio.Future[int]:
        entries = [
            Entry(event.data_class, encode_event(event, stream, cause, self._clock))
            for event, stream in events
        ]
        durable = self._log.append(entries)
        for event, _ in events:
            self._apply(event)
            self._horizon.apply(event)
        return durable

    async def _finish(self, end: Finished, durable: asyncio.Future[int]) -> Result:
        assert end.result.command_id is not None
        finished: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        self._in_flight[end.result.command_id] = finished
        durable.add_done_callback(lambda done: self._settle(end, done, finished))
        return (await asyncio.shield(finished)).result

    def _settle(
        self, end: Finished, durable: asyncio.Future[int], finished: asyncio.Future[Finished]
    ) -> None:
        """Runs when the card has answered, whether or not anybody still waits."""
        assert end.result.command_id is not None
        del self._in_flight[end.result.command_id]
        if durable.cancelled():
            finished.cancel()
            return
        error = durable.exception()
        if error is not None:
            finished.set_exception(error)
            return
        end = end._replace(result=end.result.model_copy(update={"seq": durable.result()}))
        self._ends.remember(end)
        finished.set_result(end)


def _refused(refusal: Refusal, horizon: Horizon) -> CommandRefused:
    rejection = refusal.rejection
    return CommandRefused(
        name=refusal.name,
        status="expired" if isinstance(rejection, CommandExpired) else "rejected",
        origin=refusal.origin.value,
        code=rejection.code,
        message=rejection.message,
        field=rejection.field,
        done_before=horizon.done_count,
        latest_us=horizon.latest_us,
    )


def _cause(command_id: UUID | None, correlation_id: str | None, actor: Actor | None) -> Cause:
    if actor is None:
        return Cause(command_id, correlation_id)
    return Cause(command_id, correlation_id, actor.id, actor.role)
