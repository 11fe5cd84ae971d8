"""What docs/protocol.md shows is what is read and written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import BaseModel

from teddy_edge.asyncapi import CHANNELS
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.messages import Answer, CommandEnvelope, QueryEnvelope, Result
from teddy_edge.settings import Settings
from teddy_edge.sync import signals
from tests.acceptance.bear import EMMA, Bear
from tests.acceptance.cloud import PARENT
from tests.mqtt_link.linking import until

PAGE = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text()
EXAMPLES = dict(re.findall(r"^```json (\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
(CODE,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TYPES: dict[str, type[BaseModel]] = {
    "command": CommandEnvelope,
    "result": Result,
    "query": QueryEnvelope,
    "answer": Answer,
    "status": signals.BearStatus,
    "pending": signals.Pending,
    "confirmed": signals.Confirmation,
    "replay": signals.Replay,
    "urgent": signals.UrgentEvent,
    "state": signals.ReadModelState,
}


@pytest.mark.parametrize("name", TYPES)
def test_an_example_is_read_by_the_code_and_shows_every_field(name: str) -> None:
    model = TYPES[name].model_validate_json(EXAMPLES[name])
    shown = set(json.loads(EXAMPLES[name]))
    assert shown <= set(type(model).model_fields)
    left_out = set(type(model).model_fields) - shown
    assert left_out <= {"aud", "correlation_id", "issued_at"}


def test_every_topic_is_in_the_table() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (\S+) → \S+ \| (\w+) \|", PAGE, re.MULTILINE)
    assert {(topic, who, kept == "yes") for topic, who, kept in rows} == {
        (channel.topic, "bear" if channel.by_bear else "cloud", channel.retained)
        for channel in CHANNELS
    }


def test_the_limits_are_those_that_are_set() -> None:
    settings = Settings()
    sync = settings.sync
    for shown in (
        f"`sync.batches_in_flight_max` ({sync.batches_in_flight_max})",
        f"`sync.confirm_timeout_s` ({sync.confirm_timeout_s:g} s)",
        f"`sync.replays_per_minute` ({sync.replays_per_minute})",
        f"`sync.history_records_per_s` ({sync.history_records_per_s:,})",
        f"`sync.pending_finished_max`\n({sync.pending_finished_max})",
        f"`commands.payload_bytes_max` ({settings.commands.payload_bytes_max // 1024} KiB)",
    ):
        assert shown in PAGE


def test_a_cloud_end_has_50_lines() -> None:
    _, *lines = [line for line in CODE.splitlines() if line]
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 100


class SmallCloud:
    """The page's program, on a broker, with its file."""

    def __init__(self, directory: Path, port: int) -> None:
        self._program = directory / "cloud.py"
        self._program.write_text(CODE)
        self.file = directory / "cloud.db"
        self._said = directory / "said"
        self._port = port
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._said.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", self._program, str(self._port), self.file],
                stdout=said,
                stderr=said,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            return connection.execute(query).fetchall()

    def said(self) -> str:
        return self._said.read_text()

    def commands(self, *commands: dict[str, object]) -> None:
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            for each in commands:
                row = (each["id"], "bear-001", each["name"], json.dumps(each), None)
                connection.execute("INSERT INTO commands VALUES (?, ?, ?, ?, ?)", row)
            connection.commit()


@pytest.fixture
def cloud(tmp_path: Path, broker: Mosquitto) -> Iterator[SmallCloud]:
    made = SmallCloud(tmp_path, broker.port)
    yield made
    if made.process is not None:
        made.kill()


def register() -> dict[str, object]:
    return {
        "id": str(uuid4()),
        "name": "register_child",
        "actor": PARENT,
        "issued_at": "2020-01-01T10:00:00Z",
        "data": EMMA,
    }


async def test_a_cloud_end_of_50_lines_takes_part_in_all_of_it(
    tmp_path: Path, broker: Mosquitto, cloud: SmallCloud
) -> None:
    """It is killed, it loses its file, and in the end it has everything, once and in order."""
    quick = {"TEDDY_EDGE_BUTTONS__DEBOUNCE_S": "0", "TEDDY_EDGE_SYNC__CONFIRM_TIMEOUT_S": "1"}
    with Bear(tmp_path, broker.port, **quick) as bear:

        def is_confirmed() -> bool:
            log = bear.client.status().body["log"]
            return bool(log["confirmed_seq"] == log["last_seq"])

        async def press(times: int) -> None:
            for _ in range(times):
                assert (await asyncio.to_thread(bear.client.press, "belly")).ok

        await asyncio.to_thread(bear.start)
        cloud.start()
        await press(5)
        await until(is_confirmed)
        cloud.kill()
        command = register()
        cloud.commands(command)
        await press(5)
        cloud.start()
        await until(is_confirmed)
        waiting = "SELECT result FROM commands WHERE result IS NOT NULL"
        await until(lambda: len(cloud.rows(waiting)) == 1)
        ((result,),) = cloud.rows(waiting)
        assert isinstance(result, bytes)
        done = json.loads(result)
        assert (done["command_id"], done["status"]) == (command["id"], "done")
        child_id = done["data"]["child_id"]
        data = {"child_id": child_id, "violation_type": "stranger", "severity": "high"}
        violation = {"actor": PARENT, "data": data}
        reply = await asyncio.to_thread(bear.client.command, "report_safety_violation", violation)
        assert reply.ok
        await until(lambda: "safety_violation_reported" in cloud.said())

        cloud.kill()
        cloud.file.unlink()
        cloud.start()
        await press(1)
        await until(is_confirmed)
        last_seq = bear.client.status().body["log"]["last_seq"]
        everything = [(seq,) for seq in range(1, last_seq + 1)]
        await until(lambda: cloud.rows("SELECT seq FROM events ORDER BY seq") == everything)
        assert "Error" not in cloud.said()
