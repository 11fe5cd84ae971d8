"""The read models are a function of the log, whatever happened in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from teddy_edge.eventlog import EventLog
from teddy_edge.messages import Origin
from teddy_edge.projections import (
    ChildProjectionManager,
    ReadModelStore,
    runner,
    standard_projections,
)
from teddy_edge.projections.rows import Row
from teddy_edge.settings import ProjectionSettings
from teddy_edge.testing import FakeClock
from tests.commands.box import EMMA, Box, open_box

SETTINGS = ProjectionSettings(batch_records_max=3)


@asynccontextmanager
async def open_read_models(
    log: EventLog,
    directory: Path,
    *,
    close: bool = True,
    child_version: int | None = None,
    held_rows_max: int = 10_000,
    clock: FakeClock | None = None,
) -> AsyncIterator[ChildProjectionManager]:
    projections = standard_projections()
    for projection in projections:
        if projection.name == "child" and child_version is not None:
            projection.version = child_version
    store = ReadModelStore(directory, 100_000)
    settings = SETTINGS.model_copy(update={"held_rows_max": held_rows_max})
    read_models = ChildProjectionManager(log, store, projections, settings, clock or FakeClock())
    await read_models.open()
    try:
        yield read_models
    finally:
        await (read_models.close() if close else store.close())


async def press(box: Box, button: str = "left_paw") -> None:
    await box.send(box.envelope("press_button", {"button": button}), Origin.BUTTON)


async def rows(read_models: ChildProjectionManager) -> dict[str, Row | None]:
    return {key: await read_models.get(key) for key in await read_models.keys("")}


async def test_a_registered_child_is_a_row(tmp_path: Path) -> None:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        result = await box.send(box.envelope())
        await read_models.include(result.seq)
        row = await read_models.get(f"child/{result.data['child_id']}")
        assert row is not None
        assert {key: row[key] for key in EMMA} == EMMA
        assert (row["registered_at"], row["seq"]) == ("2026-11-18T11:06:40.000Z", 1)


async def test_presses_are_counted_by_button(tmp_path: Path) -> None:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        for button in ("left_paw", "right_paw", "left_paw"):
            await press(box, button)
        await read_models.include(box.log.last_seq)
        row = await read_models.get("bear/self")
        assert row is not None
        assert row["button_presses"] == {"left_paw": 2, "right_paw": 1}
        assert row["last_button"] == "left_paw"


async def test_rows_built_live_after_a_crash_and_anew_are_the_same(tmp_path: Path) -> None:
    async with open_box(tmp_path / "log") as box:
        async with open_read_models(box.log, tmp_path / "live", close=False) as read_models:
            for number in range(4):
                await box.send(box.envelope(data={**EMMA, "udid": f"u{number}"}))
                await press(box)
            await read_models.include(4)
            await read_models.write()
            await read_models.include(box.log.last_seq)
            live = await rows(read_models)
        async with open_read_models(box.log, tmp_path / "live") as read_models:
            after_a_crash = await rows(read_models)
        async with open_read_models(box.log, tmp_path / "anew") as read_models:
            anew = await rows(read_models)
        assert live == after_a_crash == anew
        assert sum(key.startswith("child/") for key in live) == 4


async def test_what_is_written_already_is_not_read_from_the_log_again(tmp_path: Path) -> None:
    async with open_box(tmp_path / "log") as box:
        await press(box)
        async with open_read_models(box.log, tmp_path / "rows"):
            pass
        store = ReadModelStore(tmp_path / "rows", 100_000)
        await store.open()
        assert (await store.position())["seq"] == box.log.last_seq
        await store.close()


async def test_a_new_version_of_a_projection_builds_all_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_box(tmp_path / "log") as box:
        await press(box)
        async with open_read_models(box.log, tmp_path / "rows"):
            pass
        caplog.clear()
        async with open_read_models(box.log, tmp_path / "rows", child_version=99) as new:
            assert "bear/self" in await rows(new)
        assert "built anew" in caplog.text


async def test_rows_of_another_log_are_thrown_away(tmp_path: Path) -> None:
    async with open_box(tmp_path / "log") as box:
        await box.send(box.envelope())
        async with open_read_models(box.log, tmp_path / "rows"):
            pass
    async with (
        open_box(tmp_path / "another") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        assert await rows(read_models) == {}


async def test_a_damaged_file_is_built_anew(tmp_path: Path) -> None:
    async with open_box(tmp_path / "log") as box:
        await press(box)
        async with open_read_models(box.log, tmp_path / "rows") as read_models:
            before = await rows(read_models)
        (tmp_path / "rows" / "cache.db").write_bytes(b"damaged" * 1000)
        async with open_read_models(box.log, tmp_path / "rows") as read_models:
            assert await rows(read_models) == before


async def test_listeners_hear_which_rows_changed(tmp_path: Path) -> None:
    heard: set[str] = set()
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        read_models.listen(heard.update)
        following = asyncio.create_task(read_models.run())
        await press(box)
        await read_models.include(box.log.last_seq)
        following.cancel()
    assert heard == {"bear/self"}


async def test_what_is_still_being_gathered_counts_as_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GATHER_S", 3600)
    clock = FakeClock()
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows", clock=clock) as read_models,
    ):
        await read_models.include(box.log.last_seq)
        following = asyncio.create_task(read_models.run())
        await press(box)
        for _ in range(10):  # the log tells that task only once it has told the command
            await asyncio.sleep(0)
        clock.advance(5)
        assert read_models.age_s() == 5
        following.cancel()
