"""Puts the log, the command bus, the read models and the query bus together.

The daemon (`app`) puts inputs and sync around it; a program that wants no more than the buses uses
it through `cqrs_service`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from teddy_edge.clock import Clock
from teddy_edge.commands import (
    Aggregates,
    CommandBus,
    Journal,
    register_handlers,
    standard_middleware,
)
from teddy_edge.eventlog import EventLog
from teddy_edge.events import decode_record
from teddy_edge.metrics import Meter
from teddy_edge.projections import (
    ChildProjectionManager,
    ReadModelStore,
    standard_projections,
)
from teddy_edge.queries import QueryBus, QueryPolicy, StandardPolicy, register_queries
from teddy_edge.security import SenderPolicy
from teddy_edge.settings import Settings

READ_RECORDS_MAX = 500
READ_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts, brought up to the log."""

    settings: Settings
    log: EventLog
    journal: Journal
    commands: CommandBus
    command_meter: Meter
    read_models: ChildProjectionManager
    queries: QueryBus


@contextlib.asynccontextmanager
async def assembled(
    settings: Settings, clock: Clock, query_policy: QueryPolicy | None = None
) -> AsyncIterator[Assembly]:
    """Open everything, and close it in the end with all that is queued written.

    Raises what opening the log raises (see `EventLog.open`).
    """
    async with contextlib.AsyncExitStack() as stack:
        log = await asyncio.to_thread(EventLog.open, settings.log_directory, settings.log)
        log.start()
        stack.push_async_callback(log.close)
        sender_policy = SenderPolicy(allow_unsigned=settings.commands.allow_unsigned)
        command_meter = Meter(clock)
        journal, commands = await _write_side(settings, clock, log, sender_policy, command_meter)
        read_models = await _read_models(settings, clock, log)
        stack.push_async_callback(read_models.close)

        def incomplete_because() -> str | None:
            return None if log.report.complete else "a part of the log is lost"

        queries = QueryBus(
            read_models,
            lambda: log.last_seq,
            incomplete_because,
            sender_policy,
            settings.queries,
            clock,
        )
        assembly = Assembly(settings, log, journal, commands, command_meter, read_models, queries)
        register_queries(
            queries,
            query_policy or StandardPolicy(),
            settings.queries,
            clock,
            lambda: health(assembly),
            incomplete_because,
        )
        yield assembly


async def _write_side(
    settings: Settings, clock: Clock, log: EventLog, policy: SenderPolicy, meter: Meter
) -> tuple[Journal, CommandBus]:
    aggregates = Aggregates(settings.buttons.pins)
    journal = Journal(log, clock, aggregates.apply, settings.commands.finished_max)
    await asyncio.to_thread(_replay, log, journal)
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
    register_handlers(commands, aggregates, keep_words=settings.commands.keep_words)
    return journal, commands


def _replay(log: EventLog, journal: Journal) -> None:
    seq = log.first_seq
    while batch := log.read(seq, READ_RECORDS_MAX, READ_BYTES_MAX):
        for stored in batch:
            journal.replay(decode_record(stored.seq, stored.data_class, stored.body))
            seq = stored.seq + 1


async def _read_models(settings: Settings, clock: Clock, log: EventLog) -> ChildProjectionManager:
    store = ReadModelStore(settings.read_models_directory, settings.projections.row_bytes_max)
    read_models = ChildProjectionManager(
        log, store, standard_projections(), settings.projections, clock
    )
    await read_models.open()
    return read_models


def health(assembly: Assembly) -> dict[str, Any]:
    """Give the metrics of now, measured: the guide's five, and what they rest on."""
    commands, queries, cache = (
        assembly.command_meter,
        assembly.queries.meter,
        assembly.queries.cache,
    )
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
        "log": {"last_seq": assembly.log.last_seq, "complete": assembly.log.report.complete},
        "read_models": {"position": assembly.read_models.position},
    }
