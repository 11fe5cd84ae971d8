"""A whole fleet loses its broker at one moment: it comes back spread out, and catches up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from teddy_edge.backoff import Backoff
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.fleet.sqlite_sink import SqliteSink
from tests.fleet.batches import SmallLog
from tests.fleet.light_bears import LightBear, busiest_second

BEARS = int(os.environ.get("MANY_BEARS", "200"))
OPEN_FILES = 2 * BEARS + 200
"""For the broker and for this process, each."""
BACKOFF_S_MIN, BACKOFF_S_MAX = 1.0, 60.0
"""As a bear has them unless it is set otherwise."""
BY_CHANCE = 1.5
"""How far a second may be above the mean, by chance."""
EVENTS = (10, 40)
"""Up to which number events happen before the broker is lost, and after it."""
CATCH_UP_S_MAX = 240.0


@pytest.fixture
def many_open_files() -> Iterator[None]:
    """Raise the limit of open files, also for the broker that is started now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        pytest.skip(f"{BEARS} bears need {OPEN_FILES} open files; this machine allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, OPEN_FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def receiving(port: int, database: Path) -> Iterator[None]:
    """Run the reference receiver as a process."""
    module = ("-m", "teddy_edge.cli", "fleet", "receive")
    where = ("--host", "127.0.0.1", "--port", str(port), "--database", str(database))
    log_file = database.parent / "receiver.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, *module, *where], stdout=log, stderr=log)
    try:
        while "connected to" not in log_file.read_text():  # else the first events come to nobody
            assert process.poll() is None, log_file.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        assert process.wait(20) == 0


@contextlib.asynccontextmanager
async def awake(bears: Sequence[LightBear], random: Random) -> AsyncIterator[None]:
    """Let the bears live, each from a moment of its own on."""

    async def live(bear: LightBear) -> None:
        await asyncio.sleep(random.uniform(0, 2))
        await bear.run()

    lives = [asyncio.create_task(live(bear)) for bear in bears]
    try:
        yield
    finally:
        for life in lives:
            life.cancel()
        ends = await asyncio.gather(*lives, return_exceptions=True)
        assert not [end for end in ends if not isinstance(end, asyncio.CancelledError)]


async def all_confirmed(bears: Sequence[LightBear], last_seq: int) -> float:
    """Have events happen on every bear; gives the seconds until all of them are confirmed."""
    began_s = time.monotonic()
    for bear in bears:
        bear.record(last_seq)
    async with asyncio.timeout(CATCH_UP_S_MAX):
        await asyncio.gather(*[bear.until_all_confirmed() for bear in bears])
    return time.monotonic() - began_s


@pytest.mark.usefixtures("many_open_files")
async def test_a_fleet_comes_back_spread_out_and_catches_up(tmp_path: Path) -> None:
    random = Random(1)
    with (
        Mosquitto(tmp_path / "broker", lines=["max_connections -1"]) as broker,
        receiving(broker.port, tmp_path / "fleet.db"),
    ):
        bears = [
            LightBear(
                f"bear-{number:04}",
                broker.port,
                SmallLog(EVENTS[-1]),
                Backoff(BACKOFF_S_MIN, BACKOFF_S_MAX, Random(number)),
            )
            for number in range(BEARS)
        ]
        async with awake(bears, random):
            before_s = await all_confirmed(bears, EVENTS[0])
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)
            after_s = await all_confirmed(bears, EVENTS[1])
    tries = [at_s for bear in bears for at_s in bear.due_at_s]
    busiest, mean = busiest_second(tries), BEARS / (2 * BACKOFF_S_MIN)
    print(
        f"{BEARS} bears: {len(tries)} connects, in the busiest second {busiest} "
        f"(mean of the back-off {mean:.0f}); all caught up {after_s:.1f} s after the broker "
        f"was lost; the first events had taken {before_s:.1f} s"
    )
    assert len(tries) >= BEARS
    assert busiest <= BY_CHANCE * mean
    check_stored(tmp_path / "fleet.db", bears)


def check_stored(database: Path, bears: Sequence[LightBear]) -> None:
    """The cloud has every event of every bear once, in order."""
    with contextlib.closing(SqliteSink(database)) as sink:
        assert [bear for bear, _ in sink.current()] == [bear.topics.bear for bear in bears]
        for bear in bears:
            assert list(sink.records(bear.topics.bear, bear.log.epoch)) == bear.log.records
