"""The rows are a function of the log, for histories that nobody thought of."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teddy_edge.eventlog import EventLog, RecoveryReport, StoredRecord
from teddy_edge.events import ButtonPressed, Cause, encode_event
from teddy_edge.projections import ChildProjectionManager, ReadModelStore
from teddy_edge.testing import FakeClock
from tests.commands.box import open_box
from tests.projections.histories import Player, fill, histories
from tests.projections.test_runner import open_read_models, press

Steps = Sequence[tuple[str, int, Any]]


async def packed(read_models: ChildProjectionManager) -> dict[str, bytes]:
    """Give every row as the bytes that stand on the card."""
    keys = await read_models.keys("")
    return {key: msgpack.packb(await read_models.get(key)) for key in keys}


async def anew(log: EventLog, directory: Path) -> dict[str, bytes]:
    """Give the rows that the whole log makes in one go."""
    async with open_read_models(log, directory) as read_models:
        return await packed(read_models)


async def play_and_crash(root: Path, steps: Steps, crash_at: int, write_at: int) -> None:
    async with open_box(root / "log") as box:
        player = Player(box)
        async with open_read_models(box.log, root / "rows", close=False) as read_models:
            for number, step in enumerate(steps[:crash_at]):
                await player.play(step)
                await read_models.include(box.log.last_seq)
                if number == write_at:
                    await read_models.write()
            assert await packed(read_models) == await anew(box.log, root / "anew-1")
        async with open_read_models(box.log, root / "rows") as read_models:
            assert await packed(read_models) == await anew(box.log, root / "anew-2")
            for step in steps[crash_at:]:
                await player.play(step)
            await read_models.include(box.log.last_seq)
            live = await packed(read_models)
        async with open_read_models(box.log, root / "rows") as read_models:
            assert live == await packed(read_models) == await anew(box.log, root / "anew-3")
            await read_models.rebuild()
            assert live == await packed(read_models)


@given(steps=histories, crash_at=st.integers(0, 40), write_at=st.integers(0, 40))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_live_rows_are_those_built_anew_and_those_after_a_crash(
    steps: Steps, crash_at: int, write_at: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play_and_crash(Path(directory), steps, crash_at, write_at))


async def test_a_rebuild_goes_on_beside_commands_and_always_gives_the_rows(tmp_path: Path) -> None:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        player = await fill(box.log, box, 200)
        key = f"child/{player.children[1]}"
        heard: list[tuple[int, int]] = []
        seen: list[int] = []
        rebuilding = asyncio.create_task(
            read_models.rebuild(lambda done, last: heard.append((done, last)))
        )
        while not rebuilding.done():
            await player.play(("start", 1, None))
            await read_models.include(box.log.last_seq)
            row = await read_models.get(key)
            assert row is not None
            seen.append(row["conversation_count"])
        await rebuilding
        await read_models.include(box.log.last_seq)
        assert await packed(read_models) == await anew(box.log, tmp_path / "anew")
        assert seen == list(range(201, 201 + len(seen)))
        assert len(seen) > 1
        assert heard == sorted(heard)
        assert heard[0][0] < heard[-1][0] <= heard[-1][1]


async def test_a_rebuild_restores_a_row_that_was_tampered_with_and_says_so(tmp_path: Path) -> None:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        player = await fill(box.log, box, 2)
        await read_models.include(box.log.last_seq)
        await read_models.write()
        true = await packed(read_models)
        key = f"safety/{player.children[1]}"
        at = await read_models._card.position()
        await read_models._card.write({key: {"score": 100}, "child/forged": {}}, at)
        heard: set[str] = set()
        read_models.listen(heard.update)
        assert await packed(read_models) != true
        await read_models.rebuild()
        assert await packed(read_models) == true
        assert heard >= {key, "child/forged"}


async def test_a_rebuild_that_is_given_up_leaves_the_rows_in_use(tmp_path: Path) -> None:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        await fill(box.log, box, 20)
        await read_models.include(box.log.last_seq)
        true = await packed(read_models)
        begun = asyncio.Event()
        rebuilding = asyncio.create_task(read_models.rebuild(lambda *_: begun.set()))
        await begun.wait()
        rebuilding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rebuilding
        assert await packed(read_models) == true
        await read_models.rebuild()
        assert await packed(read_models) == true


async def test_rows_go_on_beyond_numbers_that_are_lost_at_the_end_of_the_log(
    tmp_path: Path,
) -> None:
    async with open_box(tmp_path / "log") as box:
        await press(box)
        settings = box.log._settings
    log = EventLog.open(tmp_path / "log", settings)
    log.skip_beyond(1000)
    log.start()
    async with open_read_models(log, tmp_path / "rows") as read_models:
        assert read_models.position == 1000
        assert await read_models.get("bear/self") is not None
    await log.close()


class EndlessLog:
    """Has one more record whenever it is read."""

    report = RecoveryReport()
    whole_from_seq = 1
    epoch = UUID(int=1)
    last_seq = 10

    def read(self, first_seq: int, *limits: int) -> list[StoredRecord]:
        self.last_seq = max(self.last_seq, first_seq + 1)
        body = encode_event(ButtonPressed("belly"), "bear", Cause(), FakeClock())
        return [StoredRecord(first_seq, 5, body, b"", b"")]


async def test_whoever_waits_for_a_number_does_not_wait_for_what_comes_after(
    tmp_path: Path,
) -> None:
    log: Any = EndlessLog()
    async with asyncio.timeout(30), open_read_models(log, tmp_path / "rows") as read_models:
        assert read_models.position == 10
        log.last_seq = 20
        await read_models.include(20)
        assert (read_models.position, read_models.age_s()) == (20, 0.0)


@pytest.mark.parametrize("rows_max", [1, 5])
async def test_a_catch_up_that_forgets_rows_gives_the_same_ones(
    tmp_path: Path, rows_max: int
) -> None:
    async with open_box(tmp_path / "log") as box:
        await fill(box.log, box, 15)
        expected = await anew(box.log, tmp_path / "anew-1")
        async with open_read_models(
            box.log, tmp_path / "anew-2", held_rows_max=rows_max
        ) as read_models:
            assert await packed(read_models) == expected


@pytest.mark.parametrize(
    "position", [{}, {"seq": "many"}, {"seq": None}, {"seq": -1}, {"seq": 0}, {"seq": 10**6}]
)
async def test_rows_whose_position_cannot_be_true_are_built_anew(
    tmp_path: Path, position: dict[str, Any]
) -> None:
    async with open_box(tmp_path / "log") as box:
        await fill(box.log, box, 3)
        expected = await anew(box.log, tmp_path / "rows")
        store = ReadModelStore(tmp_path / "rows", 100_000)
        await store.open()
        at = await store.position()
        forged = {**at, **position} if position else {}
        await store.write({"child/forged": {"name": "nobody"}}, forged)
        await store.close()
        assert await anew(box.log, tmp_path / "rows") == expected
