"""Puts the log, the command bus, the read models and the query bus together.

The daemon (`app`) puts inputs and sync around it; a program that wants no more than the buses uses
it through `cqrs_service`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from teddy_edge.clock import Clock
from teddy_edge.commands import (
    Aggregates,
    Checkpoint,
    CommandBus,
    Journal,
    WriteState,
    register_handlers,
    standard_middleware,
)
from teddy_edge.eventlog import Cursor, EventLog, RecoveryReport
from teddy_edge.events import Event
from teddy_edge.log_keeper import ESSENTIAL, LogKeeper, policy_of
from teddy_edge.metrics import Meter
from teddy_edge.projections import (
    ChildProjectionManager,
    ReadModelStore,
    standard_projections,
)
from teddy_edge.queries import QueryBus, QueryPolicy, StandardPolicy, register_queries
from teddy_edge.queries.warm_up import likely_queries
from teddy_edge.security import SenderPolicy
from teddy_edge.settings import Settings
from teddy_edge.timekeeping import TimeKeeper

logger = logging.getLogger("teddy_edge.assembly")

SHOWN_MAX = 10
"""Damaged places, and files set aside, that are named in one log line."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts, brought up to the log."""

    settings: Settings
    log: EventLog
    cursor: Cursor
    keeper: LogKeeper
    checkpoint: Checkpoint
    time_keeper: TimeKeeper
    journal: Journal
    commands: CommandBus
    command_meter: Meter
    read_models: ChildProjectionManager
    queries: QueryBus

    def work(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Give what must run, by name, as long as the parts are open; none of it ends by itself."""
        return {
            "log": self.log.watch(),
            "log keeper": self.keeper.run(),
            "checkpoint": self.checkpoint.run(),
            "time keeper": self.time_keeper.run(self.journal.note),
            "read models": self.read_models.run(),
            "read model windows": self.read_models.write_in_windows(),
            "read model renewal": self.read_models.renew(),
        }


@contextlib.asynccontextmanager
async def assembled(
    settings: Settings, clock: Clock, query_policy: QueryPolicy | None = None
) -> AsyncIterator[Assembly]:
    """Open everything, and close it in the end with all that is queued written.

    Raises what opening the log raises (see `EventLog.open`).
    """
    async with contextlib.AsyncExitStack() as stack:
        log = await asyncio.to_thread(_open_log, settings)
        stack.push_async_callback(_close_log, log)
        cursor = await asyncio.to_thread(_open_cursor, settings, log)
        log.start()
        sender_policy = SenderPolicy(allow_unsigned=settings.commands.allow_unsigned)
        command_meter = Meter(clock)
        time_keeper = TimeKeeper(clock, settings.clock)
        checkpoint = checkpoint_of(settings, clock, log)
        state = await asyncio.to_thread(checkpoint.begin)
        if state.clock_synced is not None:
            time_keeper.apply(state.clock_synced)
        aggregates = state.aggregates
        journal = Journal(log, clock, state.ends, _applied_to(aggregates, time_keeper))
        keeper = LogKeeper(log, lambda: cursor.seq, journal.note, settings.log, clock)
        await keeper.begin(state.losses, unread_seq=checkpoint.seq)
        await time_keeper.look(journal.note)
        commands = _command_bus(settings, clock, journal, aggregates, sender_policy, command_meter)
        read_models = await _read_models(settings, clock, log)
        stack.push_async_callback(read_models.close)
        queries = QueryBus(
            read_models, lambda: log.last_seq, sender_policy, settings.queries, clock
        )
        assembly = Assembly(
            settings, log, cursor, keeper, checkpoint, time_keeper, journal, commands,
            command_meter, read_models, queries,
        )  # fmt: skip
        await _prepare_queries(assembly, clock, query_policy or StandardPolicy())
        yield assembly


def _open_log(settings: Settings) -> EventLog:
    """Open the log with a reserve for what is essential, and with what may leave it."""
    policy = policy_of(settings.log)
    log = EventLog.open(settings.log_directory, settings.log, essential=ESSENTIAL, policy=policy)
    _say_what_was_found(log.report)
    return log


def _say_what_was_found(report: RecoveryReport) -> None:
    """Log what this start has cut off, found damaged and set aside, for whoever mends the bear."""
    if report.torn_file is not None:
        facts = {"torn_bytes": report.torn_bytes, "kept_in": report.torn_file.name}
        logger.info("the power was cut during a write", extra=facts)
    if report.damage or report.quarantined:
        places = [f"{damage.path.name} at byte {damage.offset_bytes}" for damage in report.damage]
        aside = [path.name for path in report.quarantined]
        logger.warning(
            "the log is damaged",
            extra={"places": len(places), "first_places": places[:SHOWN_MAX],
                   "set_aside": len(aside), "first_set_aside": aside[:SHOWN_MAX]},
        )  # fmt: skip


def _open_cursor(settings: Settings, log: EventLog) -> Cursor:
    """Open the cursor, and let the log give no number again that the cloud has stored."""
    cursor = Cursor.open(settings.cursor_file, log.epoch)
    if cursor.note is not None and log.last_seq > 0:
        # Without a file nothing was ever confirmed, as on every bear that was not online yet.
        level = logging.WARNING if settings.cursor_file.exists() else logging.INFO
        logger.log(level, "all events are sent again", extra={"reason": cursor.note})
    if cursor.seq > log.last_seq:
        facts = {"last_seq": log.last_seq, "confirmed_seq": cursor.seq}
        logger.warning("the end of the log is lost", extra=facts)
        log.skip_beyond(cursor.seq)
    return cursor


async def _close_log(log: EventLog) -> None:
    """Close the log, and raise what kept its last records from the card."""
    await log.close()
    await log.watch()


def checkpoint_of(settings: Settings, clock: Clock, log: EventLog) -> Checkpoint:
    """Give what lets a start read the end of the log only."""
    return Checkpoint(
        settings.checkpoint_file,
        log,
        lambda: WriteState(clock, settings.commands),
        limits=settings.commands,
        room_bytes=settings.log.segment_bytes_max + 3 * settings.log.reserve_bytes,
    )


def _applied_to(aggregates: Aggregates, time_keeper: TimeKeeper) -> Callable[[Event], None]:
    """Give what moves all that is rebuilt from the log, event by event."""

    def apply(event: Event) -> None:
        aggregates.apply(event)
        time_keeper.apply(event)

    return apply


def _command_bus(
    settings: Settings,
    clock: Clock,
    journal: Journal,
    aggregates: Aggregates,
    policy: SenderPolicy,
    meter: Meter,
) -> CommandBus:
    commands = CommandBus(journal, clock)
    chain = standard_middleware(
        settings.commands.middleware,
        commands.command_type,
        journal,
        clock,
        policy,
        meter,
        settings.commands.per_minute,
    )
    commands.use(chain)
    register_handlers(
        commands,
        aggregates,
        clock,
        buttons=settings.buttons.pins,
        keep_words=settings.commands.keep_words,
        children_max=settings.commands.children_max,
    )
    return commands


async def _read_models(settings: Settings, clock: Clock, log: EventLog) -> ChildProjectionManager:
    store = ReadModelStore(settings.read_models_directory, settings.projections.row_bytes_max)
    read_models = ChildProjectionManager(
        log, store, standard_projections(), settings.projections, clock
    )
    await read_models.open()
    return read_models


async def _prepare_queries(assembly: Assembly, clock: Clock, policy: QueryPolicy) -> None:
    """Register every query, and answer into the cache what is likely to be asked first."""
    limits, queries, read_models = assembly.settings.queries, assembly.queries, assembly.read_models
    register_queries(queries, policy, limits, clock, lambda: health(assembly), read_models.lacking)
    children_max = limits.warm_up_children_max
    await queries.warm_up(await likely_queries(read_models.get, clock, children_max))


def health(assembly: Assembly) -> dict[str, Any]:
    """Give the metrics of now, measured: the guide's five, and what they rest on."""
    commands, queries, cache = (
        assembly.command_meter,
        assembly.queries.meter,
        assembly.queries.cache,
    )
    report = assembly.log.report
    total = commands.total + queries.total
    errors = commands.errors + queries.errors
    return {
        "command_throughput": round(commands.rate_per_s(), 3),
        "query_response_time": queries.median_ms(),
        "cache_hit_rate": round(100 * cache.hit_rate(), 1),
        "error_rate": round(errors / total, 4) if total else 0.0,
        "read_model_freshness": round(assembly.read_models.age_s(), 3),
        "commands": {"total": commands.total, "failed": commands.errors},
        "queries": {"total": queries.total, "failed": queries.errors},
        "cache": {
            "entries": len(cache),
            "hits": cache.hits,
            "misses": cache.misses,
            "evictions": cache.evictions,
        },
        "log": {
            "last_seq": assembly.log.last_seq,
            "complete": report.complete,
            "lost": report.missing_count,
            "damaged_places": len(report.damage),
            "files_set_aside": len(report.quarantined),
        },
        "read_models": {"position": assembly.read_models.position},
    }
