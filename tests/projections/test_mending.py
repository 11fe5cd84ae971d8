"""A fault of the store while the bear runs: all rows come back, whoever met it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from teddy_edge.projections import ChildProjectionManager
from teddy_edge.projections.runner import FAULTS_MAX
from teddy_edge.testing import FakeClock
from tests.commands.box import Box, open_box
from tests.projections.test_runner import SETTINGS, open_read_models, press, rows


async def written(box: Box, read_models: ChildProjectionManager) -> str:
    """Register a child and press, and have the rows written; gives the key of the child's row."""
    result = await box.send(box.envelope())
    await press(box)
    await read_models.include(box.log.last_seq)
    await read_models.write()
    return f"child/{result.data['child_id']}"


def spoil(directory: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as database:
        database.execute(statement, values)


@pytest.mark.parametrize("steps", range(0, 60, 3))
async def test_a_mend_whose_asker_goes_away_is_brought_to_its_end(
    tmp_path: Path, steps: int
) -> None:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        key = await written(box, read_models)
        before = await rows(read_models)
        spoil(tmp_path / "rows", "UPDATE Cache SET value = x'c1' WHERE key = ?", key)
        asking = asyncio.create_task(read_models.get(key))
        for _ in range(steps):
            await asyncio.sleep(0.0005)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await read_models.include(box.log.last_seq)
        assert await rows(read_models) == before
        assert read_models.lacking() is None


async def test_a_damaged_key_is_mended_by_whoever_lists_the_rows(tmp_path: Path) -> None:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        key = await written(box, read_models)
        before = await rows(read_models)
        spoil(tmp_path / "rows", "UPDATE Cache SET key = x'00' WHERE key = ?", key)
        assert await rows(read_models) == before


async def test_a_rebuild_does_not_depend_on_what_it_replaces(tmp_path: Path) -> None:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        key = await written(box, read_models)
        before = await rows(read_models)
        spoil(tmp_path / "rows", "UPDATE Cache SET key = x'00' WHERE key = ?", key)
        await read_models.rebuild()
        assert await rows(read_models) == before


async def spoil_and_mend(read_models: ChildProjectionManager, directory: Path, key: str) -> None:
    await read_models.write()
    spoil(directory, "UPDATE Cache SET value = x'c1' WHERE key = ?", key)
    assert await read_models.get(key) is not None
    await read_models.write()


async def test_after_many_faults_the_rows_stay_in_memory_until_they_are_renewed(
    tmp_path: Path,
) -> None:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        key = await written(box, read_models)
        before = await rows(read_models)
        for _ in range(FAULTS_MAX):
            await spoil_and_mend(read_models, tmp_path / "rows", key)
            assert not read_models.is_outdated()
        await spoil_and_mend(read_models, tmp_path / "rows", key)
        assert read_models.is_outdated()
        assert await rows(read_models) == before
        await read_models.rebuild()
        assert not read_models.is_outdated()
        await press(box)
        await read_models.include(box.log.last_seq)
        before = await rows(read_models)
    async with open_read_models(box.log, tmp_path / "rows") as read_models:
        assert await rows(read_models) == before


async def test_faults_that_lie_far_apart_are_forgotten(tmp_path: Path) -> None:
    clock = FakeClock()
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows", clock=clock) as read_models,
    ):
        key = await written(box, read_models)
        for _ in range(2 * FAULTS_MAX):
            clock.advance(SETTINGS.renewal_interval_s + 1)
            await spoil_and_mend(read_models, tmp_path / "rows", key)
            assert not read_models.is_outdated()
