"""What each step of the chain refuses, and that the refusal says what was wrong."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from pathlib import Path

import pytest

from teddy_edge.clock import Trust
from teddy_edge.commands.bus import CallNext, CommandContext
from teddy_edge.diagnostics import JsonLine
from teddy_edge.messages import Actor, ErrorDetail, Origin, Result
from tests.commands.box import EMMA, Box, open_box


async def refused(box: Box, origin: Origin = Origin.MQTT, **changes: object) -> ErrorDetail:
    result = await box.send(box.envelope(**changes), origin)  # type: ignore[arg-type]
    assert result.status == "rejected"
    assert result.error is not None
    return result.error


async def test_an_unknown_command_is_told_the_known_ones(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        error = await refused(box, name="fly")
        assert (error.code, error.field) == ("unknown_command", "name")
        assert "register_child" in error.message


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"age": "seven"}, "data.age"),
        ({"age": 0}, "data.age"),
        ({"age": 18}, "data.age"),
        ({"age": True}, "data.age"),
        ({"name": ""}, "data.name"),
        ({"name": "   "}, "data.name"),
        ({"name": "E" * 65}, "data.name"),
        ({"name": "Em\nma"}, "data.name"),
        ({"parent_id": ""}, "data.parent_id"),
        ({"udid": None}, "data.udid"),
        ({"nickname": "Em"}, "data"),
    ],
)
async def test_a_wrong_field_is_named(
    tmp_path: Path, change: dict[str, object], field: str
) -> None:
    async with open_box(tmp_path) as box:
        error = await refused(box, data={**EMMA, **change})
        assert (error.code, error.field) == ("invalid", field)


async def test_an_unknown_field_within_a_field_is_answered_with_the_known_ones(
    tmp_path: Path,
) -> None:
    async with open_box(tmp_path) as box:
        data = {"child_id": "c", "changes": {"preferences": {"emma_likes": "dragons"}}}
        error = await refused(box, name="update_child_profile", data=data)
        assert error.field == "data.changes.preferences"
        assert "favorite_stories, interests, language, learning_style" in error.message
        assert "emma" not in str(error)


async def test_a_missing_field_is_named(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        data = {key: value for key, value in EMMA.items() if key != "parent_id"}
        error = await refused(box, data=data)
        assert (error.code, error.field) == ("invalid", "data.parent_id")


async def test_only_the_pins_press_a_button(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        error = await refused(box, name="press_button", data={"button": "left_paw"})
        assert error.code == "wrong_origin"


async def test_an_unknown_button_is_told_the_known_ones(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        error = await refused(box, Origin.BUTTON, name="press_button", data={"button": "nose"})
        assert error.code == "unknown_button"
        assert "left_paw, right_paw" in error.message


async def test_nobody_passes_for_the_bear_over_mqtt(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        error = await refused(box, actor=Actor(id="bear-001", role="device"))
        assert (error.code, error.field) == ("wrong_role", "actor.role")


async def test_unsigned_commands_over_mqtt_are_refused_unless_settings_allow_them(
    tmp_path: Path,
) -> None:
    async with open_box(tmp_path, allow_unsigned=False) as box:
        assert (await refused(box)).code == "unsigned"
        assert (await box.send(box.envelope(), Origin.SOCKET)).status == "done"


async def test_a_command_past_its_deadline_expires(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        late = box.envelope(expires_in_s=10)
        box.clock.advance(11)
        result = await box.send(late)
        assert result.status == "expired"
        assert box.types() == ["command_refused"]


async def test_a_clock_that_is_not_trusted_expires_nothing_that_just_came(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        envelope = box.envelope(expires_in_s=10)
        box.clock.step_wall(50 * 365 * 24 * 3600, Trust.UNSYNCED)
        assert (await box.send(envelope)).status == "done"


async def test_while_the_time_is_not_known_a_command_lives_from_when_it_first_came(
    tmp_path: Path,
) -> None:
    async with open_box(tmp_path) as box:
        box.clock.step_wall(-50 * 365 * 24 * 3600, Trust.UNSYNCED)
        envelope = box.envelope(expires_in_s=10)
        box.log.wait_for_room = never  # type: ignore[method-assign]
        first = asyncio.create_task(box.send(envelope))
        await asyncio.sleep(0)
        first.cancel()  # as when the connection is lost
        del box.log.wait_for_room
        box.clock.advance(11)
        again = await box.send(envelope)
        assert (again.status, box.types()) == ("expired", ["command_refused"])


async def never() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("trust", "origin", "expires_in_s", "code"),
    [
        (Trust.UNSYNCED, Origin.MQTT, 60, "time_unknown"),
        (Trust.UNSYNCED, Origin.MQTT, None, None),
        (Trust.UNSYNCED, Origin.SOCKET, 60, None),
        (Trust.SYNCED, Origin.MQTT, 60, None),
        (Trust.SET, Origin.MQTT, 60, None),
    ],
)
async def test_what_cannot_be_taken_back_is_refused_where_nobody_knows_how_late_it_is(
    tmp_path: Path, trust: Trust, origin: Origin, expires_in_s: float | None, code: str | None
) -> None:
    async with open_box(tmp_path) as box:
        child = (await box.send(box.envelope())).data
        box.clock.step_wall(0, trust)
        envelope = box.envelope("deactivate_child", child, expires_in_s=expires_in_s)
        result = await box.send(envelope, origin)
        assert (result.error and result.error.code) == code
        assert result.success is (code is None)


async def test_a_duplicate_past_its_deadline_keeps_its_result(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        envelope = box.envelope(expires_in_s=10)
        await box.send(envelope)
        box.clock.advance(11)
        again = await box.send(envelope)
        assert (again.status, again.duplicate) == ("done", True)


async def test_the_log_lines_hold_nothing_of_the_child(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_box(tmp_path) as box:
        await box.send(box.envelope())
        await box.send(box.envelope(data={**EMMA, "age": 99}))
    lines = [str(record.__dict__) for record in caplog.records]
    assert len(lines) == 2
    assert not any("Emma" in line for line in lines)


async def test_a_middleware_of_the_makers_own_joins_the_chain(tmp_path: Path) -> None:
    seen: list[str] = []

    async def note(call_next: CallNext, context: CommandContext) -> Result:
        seen.append(context.envelope.name)
        return await call_next(context)

    async with open_box(tmp_path) as box:
        box.bus.use([note, *box.standard])
        assert (await box.send(box.envelope())).status == "done"
    assert seen == ["register_child"]


async def test_a_log_line_carries_the_correlation_id(tmp_path: Path) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLine())
    ours = logging.getLogger("teddy_edge.commands")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        async with open_box(tmp_path) as box:
            await box.send(box.envelope())
    finally:
        ours.removeHandler(handler)
    line = json.loads(stream.getvalue())
    assert (line["correlation_id"], line["status"]) == ("correlation-1", "done")
