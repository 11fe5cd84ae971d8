"""The query bus: one handler for each query."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from teddy_edge.diagnostics import correlation
from teddy_edge.errors import CommandRejected, QueryRejected
from teddy_edge.messages import Actor, Answer, ErrorDetail, Origin, QueryEnvelope, rejection_of
from teddy_edge.security import SenderPolicy

logger = logging.getLogger("teddy_edge.queries")


class Query(BaseModel):
    """A question: immutable, validated when made. A subclass sets `wire_name`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    wire_name: ClassVar[str]


class QueryHandler(Protocol):
    """Answers one type of query from the read models."""

    @property
    def query_type(self) -> type[Query]:
        """What it answers."""

    async def answer(self, query: Any, actor: Actor) -> dict[str, Any]:
        """Give the answer's data, or raise `QueryRejected`."""


class ReadModels(Protocol):
    """What the bus asks of the read models beside their rows."""

    position: int

    def age_s(self) -> float:
        """How long the oldest record that is not included has waited."""

    async def include(self, seq: int) -> None:
        """Return once a sequence number is included."""


class QueryBus:
    """Takes query envelopes, gives answers."""

    def __init__(
        self,
        read_models: ReadModels,
        last_seq: Callable[[], int],
        incomplete_because: Callable[[], str | None],
        policy: SenderPolicy,
        catch_up_s_max: float,
    ) -> None:
        """`last_seq` is the log's; `incomplete_because` says what history lacks, if any."""
        self._read_models = read_models
        self._last_seq = last_seq
        self._incomplete_because = incomplete_because
        self._policy = policy
        self._catch_up_s_max = catch_up_s_max
        self._handlers: dict[str, QueryHandler] = {}

    def register(self, handler: QueryHandler) -> None:
        """Add the one handler of a query type."""
        name = handler.query_type.wire_name
        if name in self._handlers:
            raise ValueError(f"{name} has a handler already")
        self._handlers[name] = handler

    async def ask(self, envelope: QueryEnvelope, origin: Origin) -> Answer:
        """Answer a query, after what is recorded already was included (within `catch_up_s_max`)."""
        with correlation(envelope.correlation_id or str(envelope.id)):
            try:
                self._policy.check(envelope.actor, origin)
                await self._catch_up()
                data = await self._answer(envelope)
            except CommandRejected as rejection:
                fields = {"query": envelope.name, "code": rejection.code, "field": rejection.field}
                logger.info("query refused", extra=fields)
                return self._framed(envelope, error=ErrorDetail.of(rejection))
            return self._framed(envelope, data=data)

    async def _catch_up(self) -> None:
        try:
            async with asyncio.timeout(self._catch_up_s_max):
                await self._read_models.include(self._last_seq())
        except TimeoutError:
            logger.info("answering from read models that lag", extra={"age_s": self._age_s()})

    async def _answer(self, envelope: QueryEnvelope) -> dict[str, Any]:
        handler = self._handlers.get(envelope.name)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            raise QueryRejected(
                "unknown_query", f"this bear does not know the query; it knows {known}", "name"
            )
        try:
            query = handler.query_type.model_validate(envelope.data)
        except ValidationError as error:
            raise rejection_of(error, prefix="data") from error
        return await handler.answer(query, envelope.actor)

    def _age_s(self) -> float:
        return round(self._read_models.age_s(), 3)

    def _framed(
        self,
        envelope: QueryEnvelope,
        data: dict[str, Any] | None = None,
        error: ErrorDetail | None = None,
    ) -> Answer:
        lacking = self._incomplete_because()
        return Answer(
            query_id=envelope.id,
            name=envelope.name,
            data=data,
            error=error,
            seq=self._read_models.position,
            age_s=self._age_s(),
            complete=lacking is None,
            incomplete_because=lacking,
            correlation_id=envelope.correlation_id,
        )
