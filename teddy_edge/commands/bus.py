"""The command bus: one handler for each command, behind a chain of middleware."""

from __future__ import annotations

import functools
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from teddy_edge.clock import Clock
from teddy_edge.commands.journal import Decision, Journal
from teddy_edge.diagnostics import correlation
from teddy_edge.domain.command import Command
from teddy_edge.errors import CommandRejected
from teddy_edge.messages import CommandEnvelope, Origin, Refusal, Result

logger = logging.getLogger("teddy_edge.commands")

RECEIPTS_MAX = 1000
"""Commands with a deadline of which it is known when they first came."""


@dataclass(slots=True)
class CommandContext:
    """One command on its way through the chain; validation fills in `command`."""

    envelope: CommandEnvelope
    origin: Origin
    received_ns: int
    """When it came, by monotonic time; of one with a deadline, when it first came."""
    command: Command | None = None


CallNext = Callable[[CommandContext], Awaitable[Result]]


class CommandMiddleware(Protocol):
    """A step of the chain: calls `call_next`, or raises `CommandRejected`."""

    async def __call__(self, call_next: CallNext, context: CommandContext) -> Result:
        """Let the command through, or refuse it."""


class CommandHandler(Protocol):
    """Decides on one type of command.

    `handle` is a plain function: between its look at the aggregates and the append no other command
    can come in between.
    """

    @property
    def command_type(self) -> type[Command]:
        """What it decides on."""

    def handle(self, command: Any, context: CommandContext) -> Decision:
        """Decide, or raise `CommandRejected`."""


class CommandBus:
    """Takes envelopes, gives results. See the package for what a result promises."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._handlers: dict[str, CommandHandler] = {}
        self._chain: CallNext = self._dispatch
        self._first_received_ns: OrderedDict[UUID, int] = OrderedDict()

    def register(self, handler: CommandHandler) -> None:
        """Add the one handler of a command type."""
        name = handler.command_type.wire_name
        if name in self._handlers:
            raise ValueError(f"{name} has a handler already")
        self._handlers[name] = handler

    def use(self, middleware: Sequence[CommandMiddleware]) -> None:
        """Set the chain, outermost first."""
        self._chain = self._dispatch
        for step in reversed(middleware):
            self._chain = functools.partial(step, self._chain)

    def wrap(self, middleware: CommandMiddleware) -> None:
        """Put one more step around the chain."""
        self._chain = functools.partial(middleware, self._chain)

    def command_type(self, name: str) -> type[Command]:
        """Find the type of a command, or refuse the name."""
        if name not in self._handlers:
            known = ", ".join(sorted(self._handlers))
            raise CommandRejected(
                "unknown_command", f"this bear does not know the command; it knows {known}", "name"
            )
        return self._handlers[name].command_type

    async def execute(
        self, envelope: CommandEnvelope, origin: Origin, received_ns: int | None = None
    ) -> Result:
        """Bring a command to its end; returns once the end is on the card.

        `received_ns` is when it came, on the monotonic clock; by default now. Raises
        `LogOverloaded` where the card did not keep up and `LogFull` where it is full: the command
        was not touched and may be sent again. Raises `LogPoisoned` where the card failed.
        """
        if received_ns is None:
            received_ns = self._clock.monotonic_ns()
        context = CommandContext(envelope, origin, self._first_receipt(envelope, received_ns))
        with correlation(envelope.correlation_id or str(envelope.id)):
            await self._journal.wait_for_room()  # before the deadline is looked at
            try:
                return await self._chain(context)
            except CommandRejected as caught:
                rejection = caught
            # Outside of the handler: what goes wrong from here on must not carry what was sent.
            return await self._journal.refuse_command(envelope, origin, rejection)

    async def refuse_command(
        self, envelope: CommandEnvelope, origin: Origin, rejection: CommandRejected
    ) -> Result:
        """Record that a command was refused for the way it came; raises as `execute` does.

        One that ended before keeps its end, and that is given.
        """
        with correlation(envelope.correlation_id or str(envelope.id)):
            _log_refusal(origin, rejection)
            return await self._journal.refuse_command(envelope, origin, rejection)

    def _first_receipt(self, envelope: CommandEnvelope, received_ns: int) -> int:
        """Give when a command first came: a lost connection brings it again, no younger."""
        if envelope.expires_at is None:
            return received_ns
        received_ns = self._first_received_ns.setdefault(envelope.id, received_ns)
        if len(self._first_received_ns) > RECEIPTS_MAX:
            self._first_received_ns.popitem(last=False)
        return received_ns

    async def refuse(self, refusal: Refusal) -> Result:
        """Record that something was refused before it was a command. Raises as `execute` does."""
        with correlation(refusal.correlation_id):
            _log_refusal(refusal.origin, refusal.rejection)
            return await self._journal.refuse(refusal)

    async def _dispatch(self, context: CommandContext) -> Result:
        command = context.command
        if command is None:
            raise RuntimeError("the chain has no step that validates")
        handler = self._handlers[command.wire_name]
        return await self._journal.record(
            context.envelope,
            context.origin,
            functools.partial(handler.handle, command, context),
        )


def _log_refusal(origin: Origin, rejection: CommandRejected) -> None:
    fields = {"origin": origin.value, "code": rejection.code, "field": rejection.field}
    logger.info("message refused", extra=fields)
