"""The query bus: one handler for each query, behind the policy, the cache and a rate limit."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from teddy_edge.clock import Clock
from teddy_edge.diagnostics import correlation
from teddy_edge.errors import CommandRejected, QueryRejected
from teddy_edge.messages import Actor, Answer, ErrorDetail, Origin, QueryEnvelope, rejection_of
from teddy_edge.metrics import Meter, RateLimit
from teddy_edge.projections import Row
from teddy_edge.queries.cache import QueryCache
from teddy_edge.security import SenderPolicy
from teddy_edge.settings import QuerySettings

logger = logging.getLogger("teddy_edge.queries")

ACTORS_MAX = 1000
"""Actors whose rate is watched."""

Read = Callable[[str], Awaitable[Row | None]]
"""Gives a row; the bus notes which rows an answer was made of."""


class Query(BaseModel):
    """A question: immutable, validated when made. A subclass sets `wire_name`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    wire_name: ClassVar[str]


class QueryHandler(Protocol):
    """Answers one type of query from the read models."""

    @property
    def query_type(self) -> type[Query]:
        """What it answers."""

    @property
    def ttl_s(self) -> float:
        """How long an answer may be kept; 0: not at all."""

    @property
    def is_expensive(self) -> bool:
        """Whether its rate is limited for each actor."""

    async def answer(self, query: Any, actor: Actor, read: Read) -> dict[str, Any]:
        """Give the answer's data, which JSON can hold, or raise `QueryRejected`.

        Data with a `period` (see `Period.as_data`) is about no time before it: the answer is
        complete where nothing of that time is missing.
        """


class ReadModels(Protocol):
    """What the bus asks of the read models."""

    @property
    def position(self) -> int:
        """The last sequence number that they include."""

    async def get(self, key: str) -> Row | None:
        """Give a row."""

    def age_s(self) -> float:
        """How long the oldest record that is not included has waited."""

    def lacking(self, since: datetime | None = None) -> str | None:
        """Why something may be missing from a moment on, or (None) ever; None if it is not."""

    async def include(self, seq: int) -> None:
        """Return once a sequence number is included."""

    def listen(self, listener: Callable[[set[str]], None]) -> None:
        """Have the keys of changed rows told."""


class QueryBus:
    """Takes query envelopes, gives answers."""

    def __init__(
        self,
        read_models: ReadModels,
        last_seq: Callable[[], int],
        policy: SenderPolicy,
        settings: QuerySettings,
        clock: Clock,
    ) -> None:
        """`last_seq` is the log's."""
        self._read_models = read_models
        self._last_seq = last_seq
        self._policy = policy
        self._settings = settings
        self._clock = clock
        self._handlers: dict[str, QueryHandler] = {}
        self._limit = RateLimit(clock, settings.expensive_per_minute, ACTORS_MAX)
        self.cache = QueryCache(clock, settings.cache_entries_max)
        self.meter = Meter(clock)
        read_models.listen(self.cache.invalidate)

    def register(self, handler: QueryHandler) -> None:
        """Add the one handler of a query type."""
        name = handler.query_type.wire_name
        if name in self._handlers:
            raise ValueError(f"{name} has a handler already")
        self._handlers[name] = handler

    async def warm_up(self, envelopes: Iterable[QueryEnvelope]) -> int:
        """Answer into the cache what is likely to be asked first; gives how many answers it took.

        Nothing of it counts as asked. A question that has no answer is left out.
        """
        warmed = 0
        for envelope in envelopes:
            try:
                handler, query = self._query(envelope)
                await self._fresh(envelope, handler, query, self.cache.key(envelope))
            except CommandRejected:
                continue
            warmed += 1
        return warmed

    async def ask(self, envelope: QueryEnvelope, origin: Origin) -> Answer:
        """Answer a query, after what is recorded already was included (within a time limit)."""
        started_ns = self._clock.monotonic_ns()
        with correlation(envelope.correlation_id or str(envelope.id)):
            try:
                self._policy.check(envelope.actor, origin)
                await self._catch_up()
                answer = await self._answer(envelope)
            except CommandRejected as rejection:
                fields = {"query": envelope.name, "code": rejection.code, "field": rejection.field}
                logger.info("query refused", extra=fields)
                seq = self._read_models.position
                answer = self._framed(envelope, seq, error=ErrorDetail.of(rejection))
        self.meter.add(started_ns, failed=answer.error is not None)
        return answer

    async def _catch_up(self) -> None:
        try:
            async with asyncio.timeout(self._settings.catch_up_s_max):
                await self._read_models.include(self._last_seq())
        except TimeoutError:
            logger.info("answering from read models that lag", extra={"age_s": self._age_s()})

    async def _answer(self, envelope: QueryEnvelope) -> Answer:
        """Answer from the cache or the rows, with the last event that is in the answer for sure."""
        handler, query = self._query(envelope)
        seq, key = self._read_models.position, self.cache.key(envelope)
        data = self.cache.get(key) if handler.ttl_s > 0 else None
        if data is None:
            data = await self._fresh(envelope, handler, query, key)
        return self._framed(envelope, seq, data=data)

    async def _fresh(
        self, envelope: QueryEnvelope, handler: QueryHandler, query: Query, key: bytes
    ) -> dict[str, Any]:
        if handler.is_expensive:
            self._check_rate(envelope.actor)
        rows: set[str] = set()

        async def read(row_key: str) -> Row | None:
            rows.add(row_key)
            return await self._read_models.get(row_key)

        changes = self.cache.changes
        text = json.dumps(await handler.answer(query, envelope.actor, read))
        if handler.ttl_s > 0 and changes == self.cache.changes:
            self.cache.put(key, text, rows, handler.ttl_s)
        data: dict[str, Any] = json.loads(text)  # nobody outside holds a row itself
        return data

    def _query(self, envelope: QueryEnvelope) -> tuple[QueryHandler, Query]:
        handler = self._handlers.get(envelope.name)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            raise QueryRejected(
                "unknown_query", f"this bear does not know the query; it knows {known}", "name"
            )
        try:
            return handler, handler.query_type.model_validate(envelope.data)
        except ValidationError as error:
            raise rejection_of(
                error, handler.query_type, prefix="data"
            ) from None  # it repeats the data

    def _check_rate(self, actor: Actor) -> None:
        wait_s = self._limit.wait_s(f"{actor.role}:{actor.id}")
        if wait_s > 0:
            raise QueryRejected("rate_limited", f"ask again in {wait_s} s")

    def _age_s(self) -> float:
        return round(self._read_models.age_s(), 3)

    def _framed(
        self,
        envelope: QueryEnvelope,
        seq: int,
        data: dict[str, Any] | None = None,
        error: ErrorDetail | None = None,
    ) -> Answer:
        lacking = self._read_models.lacking(_begin_of(data or {}))
        return Answer(
            query_id=envelope.id,
            name=envelope.name,
            data=data,
            error=error,
            seq=seq,
            age_s=self._age_s(),
            complete=lacking is None,
            incomplete_because=lacking,
            correlation_id=envelope.correlation_id,
        )


def _begin_of(data: dict[str, Any]) -> datetime | None:
    """Tell from when on an answer is about; None for one that is about all times."""
    period = data.get("period")
    return None if period is None else datetime.fromisoformat(period["from"])
