"""The daemon builds its read models anew while it goes on serving."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from teddy_edge.cqrs_service import CQRSService
from teddy_edge.errors import LogLocked
from teddy_edge.local_client import UnixConnection
from teddy_edge.projections.store import decode_row, encode_row
from teddy_edge.settings import CommandSettings, Settings
from tests.acceptance.bear import EMMA, Bear

CHILDREN = 10
AT_ONCE = 64
REPORTS = 64 * AT_ONCE
TRIES = 10
"""A rebuild takes a fraction of a second: on a busy machine one may go by unseen."""
PARENT = {"id": "parent-123", "role": "parent"}


async def record_history(data_directory: Path) -> str:
    """Some thousand events; gives Emma's id."""
    patient = CommandSettings(per_minute=1_000_000)
    cqrs = CQRSService(lambda: Settings(data_directory=data_directory, commands=patient))
    await cqrs.initialize()
    registered = await asyncio.gather(
        *(
            cqrs.execute("register_child", {**EMMA, "udid": f"u-{number}"})
            for number in range(CHILDREN)
        )
    )
    ids = [result.data["child_id"] for result in registered]
    for start in range(0, REPORTS, AT_ONCE):
        reports = [
            cqrs.report_safety_violation(ids[number % CHILDREN], "rude_words", "low")
            for number in range(start, start + AT_ONCE)
        ]
        assert all(result.success for result in await asyncio.gather(*reports))
    await cqrs.close()
    return str(ids[0])


def tamper(data_directory: Path, child_id: str, changes: dict[str, Any]) -> None:
    """Change a row as somebody with the card in hand and our code would: it stays readable."""
    with closing(sqlite3.connect(data_directory / "read-models" / "cache.db")) as database:
        key = f"child/{child_id}"
        ((value,),) = database.execute("SELECT value FROM Cache WHERE key = ?", (key,))
        row = encode_row(key, {**decode_row(key, value), **changes})
        database.execute("UPDATE Cache SET value = ? WHERE key = ?", (row, key))
        database.commit()


@pytest.fixture(scope="module")
def emma_and_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    directory = tmp_path_factory.mktemp("history")
    return asyncio.run(record_history(directory / "data")), directory


@pytest.fixture
def bear(emma_and_data: tuple[str, Path]) -> Iterator[Bear]:
    with Bear(emma_and_data[1], broker_port=9) as bear:  # nobody listens there: the bear is offline
        yield bear


def rebuild(bear: Bear, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "teddy_edge.cli", "rebuild", *arguments],
        env={**os.environ, "TEDDY_EDGE_SOCKET": str(bear.socket)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def profile_of(bear: Bear, child_id: str) -> dict[str, Any]:
    message = {"data": {"child_id": child_id}, "actor": PARENT}
    profile: dict[str, Any] = bear.client.query("get_child_profile", message).body["data"]
    return profile


def goes_on(bear: Bear) -> bool:
    """Send a command and a query in a rebuild; tell whether it still went on at their end."""
    if not is_running(bear):
        return False
    child = {**EMMA, "udid": str(uuid4())}
    result = bear.client.command("register_child", {"data": child, "actor": PARENT}).body
    assert result["status"] == "done"
    assert profile_of(bear, result["data"]["child_id"])["age"] == 7
    return is_running(bear)


def is_running(bear: Bear) -> bool:
    return bool(bear.client.status().body["rebuild"]["is_running"])


def test_commands_and_queries_go_on_while_a_tampered_row_is_restored(
    bear: Bear, emma_and_data: tuple[str, Path]
) -> None:
    emma = emma_and_data[0]
    tamper(bear.data_directory, emma, {"age": 16})
    bear.start()
    assert profile_of(bear, emma)["age"] == 16  # and this answer is kept in the cache
    went_on = 0
    for _ in range(TRIES):
        process = rebuild(bear, "--json")
        while process.poll() is None:
            went_on += goes_on(bear)
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        assert json.loads(out)["position"] > 2 * REPORTS
        assert profile_of(bear, emma)["age"] == 7
        if went_on > 1:
            break
    assert went_on > 1
    assert bear.stop() == 0
    said_bytes = bear.log_file.stat().st_size
    bear.start()  # and the new rows are on the card, with their position
    assert profile_of(bear, emma)["age"] == 7
    assert b"built anew" not in bear.log_file.read_bytes()[said_bytes:]


def test_a_second_rebuild_is_refused_while_one_is_running(bear: Bear) -> None:
    """Two ask while the daemon is frozen, so that no time is between them."""
    bear.start()
    os.kill(bear.pid, signal.SIGSTOP)
    with (
        closing(UnixConnection(bear.socket, 60)) as one,
        closing(UnixConnection(bear.socket, 60)) as other,
    ):
        for connection in (one, other):
            connection.request("POST", "/rebuild", b"{}")
        os.kill(bear.pid, signal.SIGCONT)
        answers = [connection.getresponse() for connection in (one, other)]
        assert sorted(answer.status for answer in answers) == [200, 409]
        (refused,) = (answer for answer in answers if answer.status == 409)
        assert json.loads(refused.read())["error"]["code"] == "rebuild_running"
    bear.wait_until("rebuild.is_running", value=False)
    assert bear.client.rebuild().ok


def test_a_daemon_that_is_stopped_in_the_middle_has_its_rows_all_the_same(
    bear: Bear, emma_and_data: tuple[str, Path]
) -> None:
    emma = emma_and_data[0]
    bear.start()
    assert bear.client.rebuild().ok
    assert bear.stop() == 0
    bear.start()
    assert bear.client.rebuild().ok
    bear.kill()
    bear.start()
    assert profile_of(bear, emma)["violation_count"] == len(range(0, REPORTS, CHILDREN))


def test_what_the_daemon_measures_is_seen_on_its_socket(bear: Bear) -> None:
    bear.start()
    bear.client.query("get_bear_state", {})
    health = bear.client.query("get_health", {}).body["data"]
    assert health["queries"]["total"] >= 1
    with closing(UnixConnection(bear.socket, 10)) as connection:
        connection.request("GET", "/health")
        assert json.loads(connection.getresponse().read())["log"] == health["log"]
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    assert f"\nteddy_edge_log_last_seq {health['log']['last_seq']}\n" in text
    assert "\nteddy_edge_queries_total 2\n" in text


def test_the_library_leaves_a_running_daemons_data_alone(bear: Bear) -> None:
    bear.start()

    async def initialize() -> None:
        await CQRSService(lambda: Settings(data_directory=bear.data_directory)).initialize()

    with pytest.raises(LogLocked, match=r"is already open for writing by process [0-9]+"):
        asyncio.run(initialize())
    assert bear.client.status().ok
