"""Buses that record what they were asked and answer as told."""

from __future__ import annotations

import asyncio

from teddy_edge.errors import CommandRejected
from teddy_edge.messages import (
    Answer,
    CommandEnvelope,
    ErrorDetail,
    Origin,
    QueryEnvelope,
    Refusal,
    Result,
    Status,
)


class RecordingCommands:
    """A `Commands` that numbers what it executed or refused."""

    def __init__(self) -> None:
        self.executed: list[tuple[CommandEnvelope, Origin]] = []
        self.refused: list[Refusal] = []
        self.status: Status = "done"
        self.error: Exception | None = None
        self.begun = 0
        self.received_ns: list[int | None] = []
        self.finished = asyncio.Event()
        self.free = asyncio.Event()
        """Cleared, it lets commands wait as a slow card does."""
        self.free.set()

    async def execute(
        self, envelope: CommandEnvelope, origin: Origin, received_ns: int | None = None
    ) -> Result:
        self.begun += 1
        self.received_ns.append(received_ns)
        await self.free.wait()
        if self.error is not None:
            raise self.error
        self.executed.append((envelope, origin))
        self.finished.set()
        error = None if self.status == "done" else ErrorDetail(code="no", message="not now")
        return Result(
            command_id=envelope.id,
            name=envelope.name,
            status=self.status,
            seq=len(self.executed),
            error=error,
            correlation_id=envelope.correlation_id,
        )

    async def refuse(self, refusal: Refusal) -> Result:
        self.refused.append(refusal)
        return Result(
            command_id=refusal.command_id,
            name=refusal.name,
            status="rejected",
            seq=1000 + len(self.refused),
            error=ErrorDetail.of(refusal.rejection),
            correlation_id=refusal.correlation_id,
        )

    async def refuse_command(
        self, envelope: CommandEnvelope, origin: Origin, rejection: CommandRejected
    ) -> Result:
        return await self.refuse(Refusal.of(envelope, origin, rejection))


class RecordingQueries:
    """A `Queries` that answers with the question's data."""

    def __init__(self) -> None:
        self.asked: list[tuple[QueryEnvelope, Origin]] = []
        self.error: ErrorDetail | None = None

    async def ask(self, envelope: QueryEnvelope, origin: Origin) -> Answer:
        self.asked.append((envelope, origin))
        return Answer(
            query_id=envelope.id,
            name=envelope.name,
            data=None if self.error else envelope.data,
            error=self.error,
            seq=7,
            age_s=0.0,
            complete=True,
            correlation_id=envelope.correlation_id,
        )
