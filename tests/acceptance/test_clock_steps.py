"""The clock jumps by fifty years, back and forth, while a bear's buses are in use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from teddy_edge.clock import NS_PER_S, Trust
from teddy_edge.cqrs_service import CQRSService
from teddy_edge.eventlog import EventLog
from teddy_edge.events import Record, decode_record
from teddy_edge.messages import Actor, CommandEnvelope, Origin, Result
from teddy_edge.settings import CommandSettings, LogSettings, QuerySettings, Settings
from teddy_edge.testing import FakeClock
from tests.acceptance.bear import EMMA

YEAR_S = 365 * 24 * 3600
YEARS_OFF = (-50, 0, 50)
LIFE_S = 60
AGES = [age % 10 + 1 for age in range(40)]


@asynccontextmanager
async def open_service(directory: Path, clock: FakeClock) -> AsyncIterator[CQRSService]:
    commands = CommandSettings(allow_unsigned=True)
    patient = QuerySettings(catch_up_s_max=30)
    settings = Settings(data_directory=directory, commands=commands, queries=patient)
    service = CQRSService(lambda: settings, clock)
    await service.initialize()
    try:
        yield service
    finally:
        await service.close()


def records(directory: Path) -> list[Record]:
    log = EventLog.open(directory / "log", LogSettings())
    stored = log.read(1, 100_000, 1 << 30)
    return [decode_record(each.seq, each.data_class, each.body) for each in stored]


class Life:
    """A parent's app with a right clock, and a bear whose clock nobody can follow."""

    def __init__(self, cqrs: CQRSService, clock: FakeClock, child_id: str) -> None:
        self.cqrs = cqrs
        self.clock = clock
        self.child_id = child_id
        self.years_off = 0

    def now(self) -> datetime:
        """What the bear believes."""
        return datetime.fromtimestamp(self.clock.wall_ns() / NS_PER_S, UTC)

    def right_now(self) -> datetime:
        """What the app knows."""
        return self.now() - timedelta(seconds=self.years_off * YEAR_S)

    def step(self, years_off: int) -> None:
        """Set the bear's clock so many years off."""
        steps_s = (years_off - self.years_off) * YEAR_S
        self.clock.step_wall(steps_s, self.clock.trust())
        self.years_off = years_off

    async def change_age(self, age: int, issued_at: datetime) -> Result:
        """Send a command over MQTT that lives for a minute from its issue."""
        envelope = CommandEnvelope(
            id=uuid4(),
            name="update_child_profile",
            actor=Actor(id="parent-123", role="parent"),
            issued_at=issued_at,
            expires_at=issued_at + timedelta(seconds=LIFE_S),
            data={"child_id": self.child_id, "changes": {"age": age}},
        )
        return await self.cqrs.commands.execute(envelope, Origin.MQTT)

    async def profile(self) -> Any:
        answer = await self.cqrs.get_child_profile(self.child_id)
        assert answer.data is not None
        return answer.data

    async def hits(self) -> int:
        return int((await self.cqrs.get_health_status())["cache"]["hits"])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("trust", [Trust.UNSYNCED, Trust.SYNCED])
async def test_steps_of_fifty_years_expire_nothing_and_confuse_neither_cache_nor_order(
    tmp_path: Path, seed: int, trust: Trust
) -> None:
    random, clock = Random(seed), FakeClock()
    clock.step_wall(0, trust)
    async with open_service(tmp_path, clock) as cqrs:
        life = Life(cqrs, clock, (await cqrs.register_child(**EMMA)).data["child_id"])  # type: ignore[arg-type]
        for age in AGES:
            life.step(random.choice(YEARS_OFF))
            clock.advance(LIFE_S * 2)
            is_lost = trust is Trust.UNSYNCED
            result = await life.change_age(age, life.right_now() if is_lost else life.now())
            assert result.success, result.error
            assert (await life.profile())["age"] == age, "the very next answer shows it"
            hits = await life.hits()
            life.step(random.choice(YEARS_OFF))
            await life.profile()
            assert await life.hits() == hits + 1, "a step makes no answer old"
            life.step(-50)
            clock.advance(31 * 60)
            await life.profile()
            assert await life.hits() == hits + 1, "nor young"
        before = await life.profile()
        await cqrs.rebuild()
        assert await life.profile() == before
    found = records(tmp_path)
    assert [record.seq for record in found] == list(range(1, len(found) + 1))
    changes = [each for each in found if each.type == "child_profile_updated"]
    assert [each.data["changes"]["age"] for each in changes] == AGES
    times_ns = [each.monotonic_ns for each in found]
    assert times_ns == sorted(times_ns)
