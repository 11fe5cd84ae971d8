"""A rebuild on demand: one at a time, owned by the daemon, given up without harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from teddy_edge.errors import ReadModelError
from teddy_edge.projections import ChildProjectionManager, Rebuilding
from teddy_edge.projections.store import ReadModelStore
from teddy_edge.testing import FakeClock
from tests.commands.box import Box, open_box
from tests.projections.test_runner import open_read_models, press, rows


@asynccontextmanager
async def running(read_models: ChildProjectionManager) -> AsyncIterator[Rebuilding]:
    rebuilding = Rebuilding(read_models, FakeClock())
    task = asyncio.create_task(rebuilding.run())
    yield rebuilding
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def ended(rebuilding: Rebuilding) -> dict[str, object]:
    async with asyncio.timeout(60):
        while (state := rebuilding.state())["is_running"]:  # noqa: ASYNC110 (it sets no event)
            await asyncio.sleep(0.001)
    return state


async def some_history(box: Box) -> int:
    for _ in range(10):
        await press(box)
    return (await box.send(box.envelope())).seq


async def test_it_says_how_far_it_is_and_when_it_is_over(tmp_path: Path) -> None:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
        running(read_models) as rebuilding,
    ):
        last_seq = await some_history(box)
        assert not rebuilding.state()["is_running"]
        assert rebuilding.begin()
        assert not rebuilding.begin()
        state = await ended(rebuilding)
        assert (state["position"], state["last_seq"]) == (last_seq, last_seq)
        assert state["failed_because"] is None
        assert rebuilding.begin()  # the next one
        await ended(rebuilding)


async def test_one_that_fails_says_why_and_the_rows_in_use_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
        running(read_models) as rebuilding,
    ):
        await read_models.include(await some_history(box))
        before = await rows(read_models)

        async def fail(*_: object) -> None:
            raise ReadModelError(tmp_path, "sqlite: database or disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(ReadModelStore, "write", fail)
            assert rebuilding.begin()
            state = await ended(rebuilding)
        assert state["failed_because"] == "sqlite: database or disk is full"
        assert await rows(read_models) == before
        assert rebuilding.begin()
        assert (await ended(rebuilding))["failed_because"] is None


async def test_given_up_while_the_new_rows_are_put_in_place_no_event_counts_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new rows stand at a later event than the old ones did."""
    placing = asyncio.Event()
    replace = ReadModelStore.replace_with_sibling

    async def tell_and_replace(store: ReadModelStore) -> None:
        placing.set()
        await replace(store)

    monkeypatch.setattr(ReadModelStore, "replace_with_sibling", tell_and_replace)
    async with open_box(tmp_path / "log") as box:
        async with open_read_models(box.log, tmp_path / "rows") as read_models:
            await press(box)
            await read_models.include(box.log.last_seq)
            await some_history(box)  # not included in the old rows
            rebuild = asyncio.create_task(read_models.rebuild())
            await placing.wait()
            rebuild.cancel()
            await asyncio.wait([rebuild])
            assert rebuild.cancelled()
        async with (
            open_read_models(box.log, tmp_path / "rows") as again,
            open_read_models(box.log, tmp_path / "from the start") as anew,
        ):
            assert await rows(again) == await rows(anew)
