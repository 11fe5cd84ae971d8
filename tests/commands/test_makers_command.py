"""A maker adds a command, an event and a step in one file, and none of ours is touched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from teddy_edge.cqrs_service import CQRSService
from teddy_edge.settings import Settings
from tests.commands.box import EMMA, open_box
from tests.commands.makers_command import TellStoryHandler, extend

COMMAND_ID = UUID("01a20565-91bb-74e2-bc1f-415ccb61daf4")


@asynccontextmanager
async def open_service(directory: Path) -> AsyncIterator[CQRSService]:
    cqrs = CQRSService(lambda: Settings(data_directory=directory))
    await cqrs.initialize()
    try:
        yield cqrs
    finally:
        await cqrs.close()


async def test_a_makers_command_is_decided_recorded_and_answered_like_ours(tmp_path: Path) -> None:
    async with open_service(tmp_path) as cqrs:
        extend(cqrs)
        result = await cqrs.execute("tell_story", {"title": "dragons"}, command_id=COMMAND_ID)
        assert (result.status, result.data) == ("done", {"pages": 12})
        scary = await cqrs.execute("tell_story", {"title": "a ghost"})
        assert scary.error is not None
        assert (scary.error.code, scary.error.field) == ("too_scary", "data.title")
        wrong = await cqrs.execute("tell_story", {"title": 7})
        assert wrong.error is not None
        assert (wrong.error.code, wrong.error.field) == ("invalid", "data.title")
    async with open_box(tmp_path / "log") as box:
        told, done, *_ = [each for each in box.records() if each.type != "clock_synced"]
        assert (told.type, told.stream, told.data) == (
            "story_told",
            "stories",
            {"title": "dragons"},
        )
        assert (done.type, done.cause.command_id) == ("command_done", COMMAND_ID)


async def test_a_log_with_a_makers_event_opens_also_without_the_maker(tmp_path: Path) -> None:
    async with open_service(tmp_path) as cqrs:
        extend(cqrs)
        first = await cqrs.execute("tell_story", {"title": "dragons"}, command_id=COMMAND_ID)
    async with open_service(tmp_path) as cqrs:
        unknown = await cqrs.execute("tell_story", {"title": "castles"})
        assert unknown.error is not None
        assert unknown.error.code == "unknown_command"
        extend(cqrs)
        again = await cqrs.execute("tell_story", {"title": "dragons"}, command_id=COMMAND_ID)
        assert again == first.model_copy(update={"duplicate": True})


async def test_a_makers_step_sees_every_command_from_then_on(tmp_path: Path) -> None:
    async with open_service(tmp_path) as cqrs:
        count = extend(cqrs)
        await cqrs.register_child(**EMMA)  # type: ignore[arg-type]
        await cqrs.execute("tell_story", {"title": "dragons"})
        await cqrs.execute("fly", {})
        assert count.counts == {"register_child": 1, "tell_story": 1, "fly": 1}


async def test_a_command_has_one_handler(tmp_path: Path) -> None:
    async with open_service(tmp_path) as cqrs:
        extend(cqrs)
        with pytest.raises(ValueError, match="tell_story has a handler already"):
            cqrs.commands.register(TellStoryHandler())
