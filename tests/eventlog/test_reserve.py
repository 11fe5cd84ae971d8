"""A full card: what is essential is still recorded, everything else is refused in words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from teddy_edge.errors import LogFull, LogPoisoned
from teddy_edge.eventlog import Entry, EventLog, Policy
from teddy_edge.eventlog.files import SystemFiles
from teddy_edge.eventlog.quarantine import Quarantine, give_up_kept_aside, kept_aside
from teddy_edge.eventlog.reserve import RESERVE_NAME, Reserve, free_up
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from teddy_edge.eventlog.spares import Spares
from teddy_edge.settings import LogSettings

DIRECTORY = Path("/log")
SAFETY, COMMAND, ACTIVITY = 1, 3, 5
SETTINGS = LogSettings(segment_bytes_max=4096, allocation_bytes=512, reserve_bytes=20_000)
POLICY = Policy(removable=frozenset({ACTIVITY}))


def open_log(files: SimulatedFiles) -> EventLog:
    log = EventLog.open(DIRECTORY, SETTINGS, files, essential=[SAFETY], policy=POLICY)
    log.start()
    return log


async def fill(log: EventLog) -> int:
    """Append activity until it is refused; gives the last number."""
    seq = 0
    for _ in range(10_000):
        try:
            seq = await log.append([Entry(ACTIVITY, b"x" * 100)])
        except LogFull:
            return seq
    raise AssertionError("the card never gets full")


async def test_a_full_card_still_records_what_is_essential() -> None:
    files = SimulatedFiles()
    files.capacity_bytes = 100_000
    log = open_log(files)
    assert RESERVE_NAME in files.names(DIRECTORY)
    last_seq = await fill(log)
    assert RESERVE_NAME not in files.names(DIRECTORY)
    for number in range(1, 51):
        entries = [Entry(COMMAND, b"x" * 100), Entry(SAFETY, b"x" * 100)]
        assert await log.append(entries) == last_seq + 2 * number
    with pytest.raises(LogFull) as caught:
        log.append([Entry(COMMAND, b"")])
    refused = caught.value
    assert (refused.directory, refused.reserve_bytes) == (DIRECTORY, 20_000)
    assert refused.budget_bytes is None
    assert str(refused) == (
        "the card under /log is full but for the 20000 bytes that are kept for what is essential"
    )
    await log.close()
    again = open_log(files)
    with pytest.raises(LogFull):
        again.append([Entry(ACTIVITY, b"")])
    assert await again.append([Entry(SAFETY, b"still")]) == last_seq + 101
    await again.close()


async def test_a_card_that_is_full_is_named_also_where_the_log_is_over_its_budget() -> None:
    files = SimulatedFiles()
    files.capacity_bytes = 100_000
    log = open_log(files)
    await fill(log)
    await log.close()
    settings = SETTINGS.model_copy(update={"budget_bytes": 20_000})
    again = EventLog.open(DIRECTORY, settings, files, essential=[SAFETY])
    again.start()
    again.measure_room()
    with pytest.raises(LogFull, match="the card"):
        again.append([Entry(ACTIVITY, b"")])
    files.capacity_bytes = 1 << 30
    again.measure_room()
    with pytest.raises(LogFull, match="budget of 20000 bytes"):
        again.append([Entry(ACTIVITY, b"")])
    await again.close()


async def test_a_card_that_is_freed_takes_everything_again() -> None:
    files = SimulatedFiles()
    files.capacity_bytes = 100_000
    log = open_log(files)
    await fill(log)
    while log.retention.reduce(log.last_seq):
        pass
    log.measure_room()
    assert RESERVE_NAME in files.names(DIRECTORY)
    await log.append([Entry(ACTIVITY, b"again")])
    await log.close()


async def test_a_card_filled_by_others_gives_its_reserve_to_recovery() -> None:
    files = SimulatedFiles()
    log = open_log(files)
    await log.append([Entry(SAFETY, b"x" * 3000)])
    killed = files.copy()
    await log.close()
    killed.capacity_bytes = 0
    killed.capacity_bytes = -killed.free_bytes(DIRECTORY)
    again = open_log(killed)
    assert RESERVE_NAME not in killed.names(DIRECTORY)
    assert again.last_seq == 1
    assert await again.append([Entry(SAFETY, b"x" * 3000)]) == 2
    await again.close()


async def test_without_a_reserve_a_full_card_poisons() -> None:
    files = SimulatedFiles()
    files.capacity_bytes = 10_000
    log = EventLog.open(DIRECTORY, SETTINGS, files)
    log.start()
    assert RESERVE_NAME not in files.names(DIRECTORY)
    assert await log.append([Entry(ACTIVITY, b"x" * 100)]) == 1
    appends = [log.append([Entry(ACTIVITY, b"x" * 100)]) for _ in range(200)]
    results = await asyncio.gather(*appends, return_exceptions=True)
    assert isinstance(results[-1], LogPoisoned)
    await log.close()


class Card(SystemFiles):
    """Real files on a card of which the test says how much is free."""

    left_bytes = 0

    def free_bytes(self, directory: Path) -> int:
        return self.left_bytes


def test_the_reserve_is_made_with_thrice_its_size_free_and_goes_below_its_size(
    tmp_path: Path,
) -> None:
    card = Card()
    reserve = Reserve(tmp_path, card, 1000, Spares(tmp_path, card, SETTINGS, 0))
    for left_bytes, is_held in [
        (0, False), (2999, False), (3000, True), (1000, True), (999, False), (2999, False),
        (4000, True),
    ]:  # fmt: skip
        card.left_bytes = left_bytes
        reserve.keep()
        assert reserve.is_spent is not is_held
        assert reserve.wanted_bytes == (1000 if is_held else 3000)
        assert card.names(tmp_path) == [RESERVE_NAME] * is_held


def test_room_is_given_up_whether_the_reserve_is_whole_or_was_being_made(tmp_path: Path) -> None:
    files = SystemFiles()
    for name in ("reserve", "reserve.new", "other"):
        files.create(tmp_path / name).close()
    free_up(tmp_path, files)
    assert files.names(tmp_path) == ["other"]


@pytest.mark.parametrize("found_bytes", [0, 1000, 40_000])
async def test_a_reserve_of_another_size_is_made_anew(found_bytes: int) -> None:
    files = SimulatedFiles()
    await open_log(files).close()
    files.damage(DIRECTORY / RESERVE_NAME, bytes(found_bytes))
    log = open_log(files)
    assert len(files.content(DIRECTORY / RESERVE_NAME)) == SETTINGS.reserve_bytes
    await log.close()


@pytest.mark.parametrize("step", range(20))
def test_what_is_kept_aside_may_be_given_up_while_its_size_is_looked_at(step: int) -> None:
    """Retention bounds it in one thread, and the writer needs room in another."""
    files = SimulatedFiles()
    for number in range(5):
        files.damage(DIRECTORY / f"{number:020d}.log.damaged", bytes(1000))
    left = iter(range(step))

    def meddle(*_: object) -> None:
        if next(left, None) is None:
            files.fault = lambda *_: None
            give_up_kept_aside(DIRECTORY, files)

    files.fault = meddle
    Quarantine(DIRECTORY, files, SETTINGS.model_copy(update={"quarantine_bytes_max": 0})).bound()
    assert kept_aside(DIRECTORY, files) == []
