"""`teddy-edge fleet events`: what the cloud has of a bear, read by a person or a program."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from teddy_edge.clock import Trust, rfc3339
from teddy_edge.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from teddy_edge.events import ButtonPressed
from teddy_edge.fleet.sinks import Lost, Position, Taken
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.sync.wire import WireRecord
from teddy_edge.testing import FakeClock
from tests.commands.box import EMMA, open_box

BEAR = "bear-001"
YEARS_50_S = 50 * 365 * 24 * 3600.0


def listed(database: Path, *options: str) -> tuple[int, str, str]:
    """Type it; gives the exit code, and what was printed to stdout and stderr."""
    command = [sys.executable, "-m", "teddy_edge.cli", "fleet", "events", BEAR, *options]
    done = subprocess.run(
        [*command, "--database", str(database)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def objects(database: Path, *options: str) -> list[dict[str, Any]]:
    code, printed, said = listed(database, *options)
    assert (code, said) == (EXIT_OK, "")
    return [json.loads(line) for line in printed.splitlines()]


def store(database: Path, records: list[WireRecord]) -> UUID:
    epoch = uuid4()
    with closing(SqliteSink(database)) as sink:
        end = Position(epoch, records[-1].seq, bytes(16))
        sink.store(BEAR, Taken(end, records, Lost(1, 0)))
    return epoch


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    """What came of a bear that learned the time after it had registered a child."""
    clock = FakeClock()
    clock.step_wall(-YEARS_50_S, Trust.UNSYNCED)
    async with open_box(tmp_path / "log", clock=clock) as box:
        await box.send(box.envelope())
        clock.advance(60)
        clock.step_wall(YEARS_50_S, Trust.SYNCED)
        await box.time_keeper.look(box.journal.note)
        await box.journal.note(ButtonPressed("belly"))
        stored = box.log.read(1, 100, 1 << 20)
    store(tmp_path / "fleet.db", [WireRecord(s.seq, s.data_class, s.body) for s in stored])
    return tmp_path / "fleet.db"


async def test_what_came_before_the_time_was_known_is_shown_with_the_time_it_was(
    database: Path,
) -> None:
    code, printed, said = listed(database)
    assert (code, said) == (EXIT_OK, "")
    registered, done, synced, pressed = printed.splitlines()
    right = rfc3339(FakeClock().wall_ns())
    assert registered.split() == ["1", right, "dated", "child_registered", registered.split()[-1]]
    assert done.split()[2:4] == ["dated", "command_done"]
    assert synced.split()[2:4] == ["synced", "clock_synced"]
    assert pressed.split()[2:4] == ["synced", "button_pressed"]
    assert str(EMMA["name"]) not in printed


async def test_programs_get_both_times_and_words_only_when_asked(database: Path) -> None:
    registered, *_, pressed = objects(database, "--json")
    assert registered["clocktrust"] == "unsynced"
    assert registered["time"] < "1990" < registered["datedtime"]
    assert pressed["datedtime"] is None
    assert "data" not in registered
    (registered, *_) = objects(database, "--data")
    assert registered["data"]["name"] == EMMA["name"]


async def test_a_list_begins_where_it_is_asked_to_and_tells_series_apart(database: Path) -> None:
    assert [event["seq"] for event in objects(database, "--json", "--from", "3")] == [3, 4]
    assert objects(database, "--json", "--epoch", str(uuid4())) == []


def test_what_cannot_be_listed_is_said_in_a_sentence(tmp_path: Path) -> None:
    code, printed, said = listed(tmp_path / "fleet.db")
    assert (code, printed) == (EXIT_FAILED, "")
    assert said.endswith("fleet.db knows no events of bear-001\n")
    store(tmp_path / "fleet.db", [WireRecord(1, 4, b"no event")])
    code, printed, said = listed(tmp_path / "fleet.db")
    assert (code, printed) == (EXIT_FAILED, "")
    assert said == "teddy-edge: record 1 is no event that this version can read\n"
    assert listed(tmp_path / "fleet.db", "--from", "first")[0] == EXIT_USAGE
