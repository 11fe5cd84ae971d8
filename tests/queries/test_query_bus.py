"""Who gets which answer, and what an answer says of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from teddy_edge.messages import Actor, Answer, Origin, QueryEnvelope
from teddy_edge.queries import QueryBus, StandardPolicy, register_queries
from teddy_edge.security import SenderPolicy
from teddy_edge.settings import QuerySettings
from teddy_edge.testing import FakeClock
from tests.commands.box import PARENT, Box, open_box
from tests.projections.test_runner import open_read_models

STRANGER = Actor(id="parent-666", role="parent")


class Asker:
    """A query bus over a bear, and a child registered there."""

    def __init__(self, box: Box, bus: QueryBus) -> None:
        self.box = box
        self.bus = bus
        self.lacking: str | None = None
        self.child_id = ""

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


@asynccontextmanager
async def open_asker(
    tmp_path: Path,
    *,
    allow_unsigned: bool = True,
    expensive_per_minute: int = 1000,
    clock: FakeClock | None = None,
) -> AsyncIterator[Asker]:
    settings = QuerySettings(expensive_per_minute=expensive_per_minute)
    async with (
        open_box(tmp_path / "log", clock=clock) as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        bus = QueryBus(
            read_models,
            lambda: box.log.last_seq,
            lambda: asker.lacking,
            SenderPolicy(allow_unsigned=allow_unsigned),
            settings,
            box.clock,
        )
        register_queries(bus, StandardPolicy(), settings, box.clock, dict, lambda: asker.lacking)
        asker = Asker(box, bus)
        asker.child_id = (await box.send(box.envelope(), Origin.SOCKET)).data["child_id"]
        yield asker


async def test_a_parent_reads_what_was_just_recorded(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        answer = await asker.ask()
        assert answer.data is not None
        assert (answer.data["name"], answer.data["age"]) == ("Emma", 7)
        assert (answer.seq, answer.age_s, answer.complete) == (2, 0.0, True)
        assert answer.correlation_id == "correlation-2"


async def test_a_stranger_cannot_tell_a_child_that_is_there_from_one_that_is_not(
    tmp_path: Path,
) -> None:
    async with open_asker(tmp_path) as asker:
        there = await asker.ask(actor=STRANGER)
        nowhere = await asker.ask(data={"child_id": "nobody"}, actor=STRANGER)
        assert there.data is None
        assert there.error == nowhere.error
        assert there.error is not None
        assert there.error.code == "unknown_child"


@pytest.mark.parametrize("role", ["maker", "guardian"])
async def test_another_role_with_the_parents_id_is_not_the_parent(
    tmp_path: Path, role: Any
) -> None:
    async with open_asker(tmp_path) as asker:
        answer = await asker.ask(actor=Actor(id=PARENT.id, role=role))
        assert answer.data is None


async def test_the_bears_own_programs_see_every_child(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        device = Actor(id="local", role="device")
        assert (await asker.ask(actor=device, origin=Origin.SOCKET)).data is not None
        refused = await asker.ask(actor=device, origin=Origin.MQTT)
        assert refused.error is not None
        assert refused.error.code == "wrong_role"


async def test_unsigned_queries_over_mqtt_are_refused_unless_settings_allow_them(
    tmp_path: Path,
) -> None:
    async with open_asker(tmp_path, allow_unsigned=False) as asker:
        answer = await asker.ask()
        assert (answer.data, answer.error is not None) == (None, True)


async def test_an_answer_over_a_damaged_log_says_that_it_is_not_complete(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        asker.lacking = "a part of the log is damaged"
        answer = await asker.ask()
        assert (answer.complete, answer.incomplete_because) == (False, asker.lacking)


async def test_an_unknown_query_is_told_the_known_ones(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        answer = await asker.ask(name="get_weather", data={})
        assert answer.error is not None
        assert answer.error.code == "unknown_query"
        assert "get_bear_state, get_child_analytics" in answer.error.message


async def test_a_wrong_field_of_a_query_is_named(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        answer = await asker.ask(data={"child": "x"})
        assert answer.error is not None
        assert (answer.error.code, answer.error.field) == ("invalid", "data.child_id")
