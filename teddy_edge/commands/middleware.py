"""The steps that every command passes before it is decided on, outermost first.

Each is a callable `(call_next, context) -> result` (see `bus.CommandMiddleware`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from pydantic import ValidationError

from teddy_edge.clock import NS_PER_S, Clock, Trust
from teddy_edge.commands.bus import CallNext, CommandContext, CommandMiddleware
from teddy_edge.commands.journal import Journal
from teddy_edge.domain.command import Command
from teddy_edge.errors import CommandExpired, CommandRejected
from teddy_edge.messages import Origin, Result, rejection_of
from teddy_edge.metrics import Meter, RateLimit
from teddy_edge.security import SenderPolicy

logger = logging.getLogger("teddy_edge.commands")

SENDERS_MAX = 1000
"""Senders whose rate is watched."""


class LoggingMiddleware:
    """Says in one line how each command ended; never what was in it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, call_next: CallNext, context: CommandContext) -> Result:
        """Time the command and log its end."""
        try:
            result = await call_next(context)
        except CommandRejected as rejection:
            self._say(context, "rejected", code=rejection.code, field=rejection.field)
            raise
        self._say(context, result.status, seq=result.seq, duplicate=result.duplicate)
        return result

    def _say(self, context: CommandContext, status: str, **more: object) -> None:
        envelope = context.envelope
        took_ns = self._clock.monotonic_ns() - context.received_ns
        fields = {
            "command": envelope.name,
            "command_id": str(envelope.id),
            "origin": context.origin.value,
            "status": status,
            "took_ms": round(took_ns / 1e6, 3),
            **more,
        }
        logger.info("command ended", extra=fields)


class ValidationMiddleware:
    """Finds the command's type and makes the command, or says what is wrong with which field."""

    def __init__(self, command_type: Callable[[str], type[Command]]) -> None:
        self._command_type = command_type

    async def __call__(self, call_next: CallNext, context: CommandContext) -> Result:
        """Fill in `context.command`."""
        command_type = self._command_type(context.envelope.name)
        try:
            context.command = command_type.model_validate(context.envelope.data)
        except ValidationError as error:
            raise rejection_of(error, command_type, prefix="data") from None  # it repeats the data
        return await call_next(context)


class SecurityMiddleware:
    """Checks the sender, and that this type of command may come this way."""

    def __init__(self, policy: SenderPolicy) -> None:
        self._policy = policy

    async def __call__(self, call_next: CallNext, context: CommandContext) -> Result:
        """Refuse what may not come this way."""
        assert context.command is not None
        self._policy.check(context.envelope.actor, context.origin)
        if context.origin not in context.command.origins:
            ways = ", ".join(sorted(context.command.origins))
            raise CommandRejected(
                "wrong_origin", f"this command comes only by way of: {ways}", "name"
            )
        return await call_next(context)


class DedupeMiddleware:
    """Answers a command id that came before with its first result."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def __call__(self, call_next: CallNext, context: CommandContext) -> Result:
        """Let only new ids through."""
        earlier = await self._journal.earlier_result(context.envelope)
        return earlier if earlier is not None else await call_next(context)


class DeadlineMiddleware:
    """Refuses a command whose time is over.

    Where the wall clock cannot be trusted, or is what the command corrects, its life counts from
    when it first came, by monotonic time; after a restart, from when it comes again. How long the
    broker held it before that cannot be known, so what must not come late
    (`Command.needs_trusted_time`) is refused.
    """

    def __init__(self, clock: Clock, command_type: Callable[[str], type[Command]]) -> None:
        self._clock = clock
        self._command_type = command_type
        self._told_offset_ns: int | None = None
        """The latest time that a parent told in this boot, from monotonic time."""

    async def __call__(self, call_next: CallNext, context: CommandContext) -> Result:
        """Raise `CommandExpired` past the deadline, `CommandRejected` where nobody can tell."""
        self._note_told_time()
        expires_at = context.envelope.expires_at
        if expires_at is not None:
            self._check(context, expires_at)
        return await call_next(context)

    def _check(self, context: CommandContext, expires_at: datetime) -> None:
        trust = self._clock.trust()
        if trust is Trust.UNSYNCED:
            self._check_risk(context)
        if trust is Trust.SYNCED or (trust is Trust.SET and not self._type(context).corrects_time):
            is_over = self._now_ns(context) > expires_at.timestamp() * NS_PER_S
        else:
            life_s = (expires_at - context.envelope.issued_at).total_seconds()
            is_over = self._clock.monotonic_ns() - context.received_ns > life_s * NS_PER_S
        if is_over:
            raise CommandExpired("expired", "the command came after its deadline", "expires_at")

    def _note_told_time(self) -> None:
        if self._clock.trust() is Trust.SET:
            offset_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
            self._told_offset_ns = max(offset_ns, self._told_offset_ns or offset_ns)

    def _now_ns(self, context: CommandContext) -> int:
        """The time now; for what cannot be taken back the latest that a parent told.

        A broker may have kept an older `set_clock`, and behind it what was in time only then.
        """
        told_ns = self._told_offset_ns if self._clock.trust() is Trust.SET else None
        if told_ns is None or not self._type(context).needs_trusted_time:
            return self._clock.wall_ns()
        return self._clock.monotonic_ns() + told_ns

    def _type(self, context: CommandContext) -> type[Command]:
        return self._command_type(context.envelope.name)

    def _check_risk(self, context: CommandContext) -> None:
        may_be_late = context.origin is Origin.MQTT
        if may_be_late and self._type(context).needs_trusted_time:
            sentence = "the bear does not know the time now, and this cannot be taken back"
            raise CommandRejected("time_unknown", sentence, "expires_at")


class RateLimitMiddleware:
    """Lets each sender through so many times a minute; the bear's own pins always."""

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._limit = RateLimit(clock, per_minute, SENDERS_MAX)

    async def __call__(self, call_next: CallNext, context: CommandContext) -> Result:
        """Refuse what comes too fast."""
        actor = context.envelope.actor
        wait_s = 0
        if context.origin is not Origin.BUTTON:
            wait_s = self._limit.wait_s(f"{actor.role}:{actor.id}")
        if wait_s > 0:
            raise CommandRejected("rate_limited", f"send again in {wait_s} s, with a new id")
        return await call_next(context)


class MetricsMiddleware:
    """Counts and times every command."""

    def __init__(self, clock: Clock, meter: Meter) -> None:
        self._clock = clock
        self._meter = meter

    async def __call__(self, call_next: CallNext, context: CommandContext) -> Result:
        """Measure the command."""
        started_ns = self._clock.monotonic_ns()
        failed = True
        try:
            result = await call_next(context)
            failed = result.status != "done"
            return result
        finally:
            self._meter.add(started_ns, failed=failed)


def standard_middleware(
    names: Iterable[str],
    command_type: Callable[[str], type[Command]],
    journal: Journal,
    clock: Clock,
    policy: SenderPolicy,
    meter: Meter,
    per_minute: int,
) -> list[CommandMiddleware]:
    """Give the steps named in the settings, outermost first."""
    steps: dict[str, CommandMiddleware] = {
        "metrics": MetricsMiddleware(clock, meter),
        "logging": LoggingMiddleware(clock),
        "validation": ValidationMiddleware(command_type),
        "security": SecurityMiddleware(policy),
        "rate_limit": RateLimitMiddleware(clock, per_minute),
        "dedupe": DedupeMiddleware(journal),
        "deadline": DeadlineMiddleware(clock, command_type),
    }
    return [steps[name] for name in names]
