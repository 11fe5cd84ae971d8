"""What leaves the log leaves the rows: they are a function of the log as it is now."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teddy_edge.assembly import Assembly, assembled
from teddy_edge.clock import NS_PER_S
from teddy_edge.errors import LogOverloaded
from teddy_edge.messages import CommandEnvelope, Origin, QueryEnvelope, Result
from teddy_edge.projections import store
from teddy_edge.settings import LogSettings, QuerySettings, Settings
from teddy_edge.testing import FakeClock
from tests.commands.box import PARENT
from tests.projections.histories import Player, steps
from tests.projections.test_histories import anew, packed

HOUR_S = 3600
SMALL = LogSettings().model_copy(
    update={
        "segment_bytes_max": 2048,
        "allocation_bytes": 512,
        "budget_bytes": 7_000,
        "reserve_bytes": 4096,
        "confirmed_age_s_max": 24 * HOUR_S,
        "command_bytes_max": 1000,
        "state_bytes_max": 1000,
    }
)
ROOMY = SMALL.model_copy(update={"budget_bytes": 1 << 30, "command_bytes_max": 1 << 30})


class Bear:
    """All of a bear but its borders, on a card that can be looked at as a crash leaves it."""

    def __init__(self, core: Assembly, clock: FakeClock) -> None:
        self.core = core
        self.clock = clock
        self.log = core.log
        self.read_models = core.read_models

    def envelope(self, name: str, data: dict[str, Any]) -> CommandEnvelope:
        now = datetime.fromtimestamp(self.clock.wall_ns() / NS_PER_S, UTC)
        return CommandEnvelope(id=uuid4(), name=name, actor=PARENT, issued_at=now, data=data)

    async def send(self, envelope: CommandEnvelope, origin: Origin) -> Result:
        return await self.core.commands.execute(envelope, origin)

    async def renewed(self) -> None:
        """Let the renewal go on until there is nothing more for it to do."""
        renewing = asyncio.create_task(self.read_models.renew())
        async with asyncio.timeout(30):
            while self.read_models.is_outdated():  # noqa: ASYNC110 (it sets no event)
                await asyncio.sleep(0.001)
        await self.read_models.get("a read that waits until they are in place")
        renewing.cancel()
        await asyncio.wait([renewing])


@asynccontextmanager
async def open_bear(
    directory: Path, clock: FakeClock, log: LogSettings = SMALL
) -> AsyncIterator[Bear]:
    queries = QuerySettings(catch_up_s_max=30)
    limits = Settings(data_directory=directory, queries=queries).model_copy(update={"log": log})
    async with assembled(limits, clock) as core:
        yield Bear(core, clock)


talk = st.tuples(st.just("talk"), st.integers(0, 3), st.integers(1, 8))
keep = st.tuples(st.just("keep"), st.integers(0, 10), st.sampled_from([0, 60 * HOUR_S]))
renew = st.tuples(st.just("renew"), st.just(0), st.none())
renew_and_keep = st.tuples(st.just("renew and keep"), st.integers(0, 20), st.none())
crash = st.tuples(st.just("crash"), st.just(0), st.booleans())
history_steps = st.lists(
    st.one_of(steps, talk, talk, talk, keep, keep, renew, renew_and_keep, crash),
    min_size=10,
    max_size=40,
)


class History:
    """Plays a history, over crashes; a crash goes on with a copy of the card as it is then."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = FakeClock()
        self.player: Player | None = None
        self.cards = 0

    async def play(self, history: Sequence[tuple[str, int, Any]]) -> None:
        remaining = list(history)
        while remaining:
            async with open_bear(self.root / f"card-{self.cards}", self.clock) as bear:
                while remaining and (step := remaining.pop(0))[0] != "crash":
                    await self.step(bear, step)
                await self.crash(bear, is_written=bool(step[2]))
        async with open_bear(self.root / f"card-{self.cards}", self.clock) as bear:
            await self.check(bear)

    async def step(self, bear: Bear, step: tuple[str, int, Any]) -> None:
        name, number, given = step
        match name:
            case "keep":
                self.clock.advance(given)
                bear.core.cursor.move(round(number / 10 * bear.log.last_seq))
                await bear.core.keeper.keep()
            case "renew":
                await self.check(bear)
            case "renew and keep":
                await self.renew_and_keep(bear, number)
            case _:
                with contextlib.suppress(LogOverloaded):
                    await self.play_step(bear, step)
        await bear.read_models.include(bear.log.last_seq)

    async def play_step(self, bear: Bear, step: tuple[str, int, Any]) -> None:
        player = self.player = self.player or Player(bear)
        player.box = bear
        name, number, given = step
        if name != "talk":
            await player.play(step)
            return
        await player.play(("register", number, 7))
        await player.play(("start", len(player.children) - 1, None))
        turn = {"speaker": "child", "topics": ["moon"], "sentiment": 0.5, "duration_s": 1.5}
        for _ in range(given):
            await player.play(("turn", len(player.talks) - 1, turn))

    async def renew_and_keep(self, bear: Bear, turns: int) -> None:
        """Let records leave the log while it is read."""
        rebuilding = asyncio.create_task(bear.read_models.rebuild())
        for _ in range(turns):
            await asyncio.sleep(0)
        await bear.core.keeper.keep()
        await rebuilding

    async def crash(self, bear: Bear, *, is_written: bool) -> None:
        if is_written:
            await bear.read_models.write()
        self.cards += 1
        shutil.copytree(self.root / f"card-{self.cards - 1}", self.root / f"card-{self.cards}")

    async def check(self, bear: Bear) -> None:
        await bear.renewed()
        assert await packed(bear.read_models) == await anew(bear.log, self.root / "anew")
        shutil.rmtree(self.root / "anew")


@given(history=history_steps)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_once_renewed_the_rows_are_those_built_anew_whatever_left_the_log_and_whenever_it_crashed(
    history: list[tuple[str, int, Any]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(History(Path(directory)).play(history))


async def talk_for_days(bear: Bear, days: int) -> Player:
    """Have a conversation of four turns every twelve hours, with one child."""
    player = Player(bear)
    await player.play(("register", 1, 7))
    turn = {"speaker": "child", "topics": ["moon"], "sentiment": 0.5, "duration_s": 1.5}
    for number in range(1, 2 * days + 1):
        await player.play(("start", 1, None))
        for _ in range(4):
            await player.play(("turn", number, turn))
        bear.clock.advance(12 * HOUR_S)
    await bear.read_models.include(bear.log.last_seq)
    return player


async def keep_all_confirmed(bear: Bear) -> None:
    bear.core.cursor.move(bear.log.last_seq)
    await bear.core.keeper.keep()


async def test_what_left_the_log_leaves_the_rows_and_what_stays_is_there_all_the_time(
    tmp_path: Path,
) -> None:
    async with open_bear(tmp_path / "bear", FakeClock(), ROOMY) as bear:
        talks = (await talk_for_days(bear, 5)).talks[1:]
        await keep_all_confirmed(bear)
        assert bear.read_models.is_outdated()
        assert await bear.read_models.get(f"conversation/{talks[0]}") is not None
        await bear.renewed()
        assert await bear.read_models.get(f"conversation/{talks[0]}") is None
        assert await bear.read_models.get(f"conversation/{talks[-1]}") is not None


async def test_that_records_left_the_log_is_noticed_after_a_crash(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_bear(tmp_path / "bear", clock, ROOMY) as bear:
        await talk_for_days(bear, 5)
        await bear.read_models.write()
        await keep_all_confirmed(bear)
        shutil.copytree(tmp_path / "bear", tmp_path / "crashed")
    async with open_bear(tmp_path / "crashed", clock, ROOMY) as bear:
        assert bear.read_models.is_outdated()
        await bear.renewed()
        assert await packed(bear.read_models) == await anew(bear.log, tmp_path / "anew")


async def test_ends_of_commands_that_are_trimmed_make_no_row_outdated(tmp_path: Path) -> None:
    async with open_bear(tmp_path / "bear", FakeClock(), SMALL) as bear:
        player = Player(bear)
        for number in range(20):
            await player.play(("register", number, 7))
        await keep_all_confirmed(bear)
        await bear.read_models.include(bear.log.last_seq)
        await bear.renewed()
        count = len(bear.log.read(1, 1000, 1 << 20))
        for number in range(20, 25):
            await player.play(("register", number, 7))
        await keep_all_confirmed(bear)
        await bear.read_models.include(bear.log.last_seq)
        assert len(bear.log.read(1, 1000, 1 << 20)) < count + 10
        await bear.renewed()
        assert await packed(bear.read_models) == await anew(bear.log, tmp_path / "anew")


@pytest.mark.parametrize("is_renewed", [False, True])
async def test_an_answer_about_a_time_that_the_log_holds_is_complete_and_no_other_is(
    tmp_path: Path, is_renewed: bool
) -> None:
    async with open_bear(tmp_path / "bear", FakeClock(), ROOMY) as bear:
        player = await talk_for_days(bear, 5)
        await keep_all_confirmed(bear)
        if is_renewed:
            await bear.renewed()
        now = datetime.fromtimestamp(bear.clock.wall_ns() / NS_PER_S, UTC)
        kept = now - timedelta(seconds=ROOMY.confirmed_age_s_max)
        child = {"child_id": player.children[1]}
        for name, data, is_complete in (
            ("get_child_safety_report", {**child, "from_date": kept.isoformat()}, True),
            ("get_child_analytics", {**child, "from_date": kept.isoformat()}, True),
            ("get_child_analytics", child, False),
            ("get_child_profile", child, False),
            ("get_bear_state", {}, False),
        ):
            envelope = QueryEnvelope(id=uuid4(), name=name, actor=PARENT, data=data)
            answer = await bear.core.queries.ask(envelope, Origin.SOCKET)
            assert answer.success
            assert answer.complete is is_complete
            assert is_complete == (answer.incomplete_because is None)
        report = (await bear.core.queries.ask(envelope, Origin.SOCKET)).incomplete_because
        assert report is not None
        assert "with the cloud alone" in report
        assert bear.read_models.lost() is None


async def test_a_card_that_was_dark_for_long_keeps_what_is_not_old_whole(tmp_path: Path) -> None:
    """What lies before and behind the pause stands in one segment, or in two that touch."""
    clock = FakeClock()
    async with open_bear(tmp_path / "bear", clock, ROOMY) as bear:
        player = await talk_for_days(bear, 1)
        clock.advance(1000 * HOUR_S)
        await player.play(("start", 1, None))
        await bear.read_models.include(bear.log.last_seq)
        await keep_all_confirmed(bear)
        now = datetime.fromtimestamp(clock.wall_ns() / NS_PER_S, UTC)
        await bear.read_models.include(bear.log.last_seq)
        kept = now - timedelta(seconds=ROOMY.confirmed_age_s_max)
        assert bear.read_models.lacking(kept) is None


@pytest.mark.parametrize("moment", ["before", "between", "after"])
async def test_a_crash_while_the_new_rows_are_put_in_place_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    clock, card, crashed = FakeClock(), tmp_path / "bear", tmp_path / "crashed"

    def remove(path: Path) -> None:
        is_old = path == card / "read-models"
        if is_old and moment == "before":
            shutil.copytree(card, crashed)
        shutil.rmtree(path)
        if is_old and moment == "between":
            shutil.copytree(card, crashed)

    async with open_bear(card, clock, ROOMY) as bear:
        await talk_for_days(bear, 5)
        await keep_all_confirmed(bear)
        monkeypatch.setattr(store, "shutil", SimpleNamespace(rmtree=remove))
        await bear.renewed()
        if moment == "after":
            shutil.copytree(card, crashed)
    async with open_bear(crashed, clock, ROOMY) as bear:
        await bear.renewed()
        assert await packed(bear.read_models) == await anew(bear.log, tmp_path / "anew")
