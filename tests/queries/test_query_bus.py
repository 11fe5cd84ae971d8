"""Who gets which answer, and what an answer says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from teddy_edge.eventlog import RecoveryReport
from teddy_edge.messages import Actor, Origin
from teddy_edge.projections.history import LOST
from tests.commands.box import PARENT
from tests.queries.asking import STRANGER, open_asker


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


async def test_an_answer_over_a_damaged_log_says_that_it_is_not_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_asker(tmp_path) as asker:
        monkeypatch.setattr(RecoveryReport, "complete", False)
        answer = await asker.ask()
        assert (answer.complete, answer.incomplete_because) == (False, LOST)


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
