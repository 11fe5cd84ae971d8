"""A query bus over a bear with a child, for the tests that ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from teddy_edge.clock import NS_PER_S
from teddy_edge.messages import Actor, Answer, Origin, QueryEnvelope
from teddy_edge.projections import ChildProjectionManager
from teddy_edge.queries import QueryBus, StandardPolicy, register_queries
from teddy_edge.security import SenderPolicy
from teddy_edge.settings import QuerySettings
from teddy_edge.testing import FakeClock
from tests.commands.box import EMMA, PARENT, Box, open_box
from tests.projections.test_runner import open_read_models

DAY_S = 24 * 3600
STRANGER = Actor(id="parent-666", role="parent")
SUPPORT = Actor(id="support-1", role="support")
DEVICE = Actor(id="local", role="device")


class Asker:
    """Asks, and brings commands to the bear that is asked about."""

    def __init__(self, box: Box, bus: QueryBus, read_models: ChildProjectionManager) -> None:
        self.box = box
        self.bus = bus
        self.read_models = read_models
        self.child_id = ""

    @property
    def clock(self) -> FakeClock:
        return self.box.clock

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.wall_ns() // NS_PER_S, UTC)

    async def ask(
        self,
        name: str = "get_child_profile",
        data: dict[str, Any] | None = None,
        actor: Actor = PARENT,
        origin: Origin = Origin.MQTT,
    ) -> Answer:
        data = {"child_id": self.child_id} if data is None else data
        envelope = QueryEnvelope(
            id=uuid4(), name=name, actor=actor, correlation_id="correlation-2", data=data
        )
        return await self.bus.ask(envelope, origin)

    async def data(self, name: str, actor: Actor = PARENT, /, **data: Any) -> dict[str, Any]:
        """Ask by way of the local socket, about the child unless told otherwise."""
        if not data or not {"child_id", "parent_id", "search_term"} & data.keys():
            data["child_id"] = self.child_id
        answer = await self.ask(name, data, actor, Origin.SOCKET)
        assert answer.data is not None, answer.error
        return answer.data

    async def refused(self, name: str, actor: Actor = PARENT, /, **data: Any) -> tuple[str, str]:
        """Ask what is refused; gives the code and the field."""
        answer = await self.ask(name, data, actor, Origin.SOCKET)
        assert answer.error is not None
        assert answer.data is None
        return answer.error.code, answer.error.field or ""

    async def send(self, command: str, /, **data: Any) -> dict[str, Any]:
        result = await self.box.send(self.box.envelope(command, data), Origin.SOCKET)
        assert result.success, result.error
        return result.data

    async def register(self, **changes: Any) -> str:
        data = {**EMMA, "udid": str(uuid4()), **changes}
        return str((await self.send("register_child", **data))["child_id"])

    async def violate(self, severity: str, child_id: str | None = None) -> None:
        await self.send(
            "report_safety_violation",
            child_id=child_id or self.child_id,
            violation_type="stranger",
            severity=severity,
            details="where do you live",
        )

    async def talk(self) -> str:
        """Have a conversation of one turn."""
        started = await self.send("start_conversation", child_id=self.child_id)
        await self.send(
            "record_conversation_turn", **started, speaker="child", topics=["moon"], words="hello"
        )
        await self.send("end_conversation", **started, summary="about the moon")
        return str(started["conversation_id"])


@asynccontextmanager
async def open_asker(
    tmp_path: Path,
    *,
    allow_unsigned: bool = True,
    clock: FakeClock | None = None,
    **settings: Any,
) -> AsyncIterator[Asker]:
    query_settings = QuerySettings(
        **{"catch_up_s_max": 30, "expensive_per_minute": 1000, **settings}
    )
    async with (
        open_box(tmp_path / "log", clock=clock) as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        bus = QueryBus(
            read_models,
            lambda: box.log.last_seq,
            SenderPolicy(allow_unsigned=allow_unsigned),
            query_settings,
            box.clock,
        )
        register_queries(
            bus, StandardPolicy(), query_settings, box.clock, dict, read_models.lacking
        )
        asker = Asker(box, bus, read_models)
        asker.child_id = (await box.send(box.envelope(), Origin.SOCKET)).data["child_id"]
        yield asker
