"""A bear that may not say that it is there does all else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from teddy_edge.eventlog import Cursor, EventLog
from teddy_edge.settings import LogSettings
from teddy_edge.sync import PendingRequest
from teddy_edge.sync.presence import Presence
from teddy_edge.testing import FakeClock
from tests.sync.connection import RecordingConnection
from tests.sync.uplinking import TOPICS


@pytest.mark.parametrize("is_refused", [False, True])
async def test_a_birth_that_is_refused_ends_no_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_refused: bool
) -> None:
    log = EventLog.open(tmp_path / "log", LogSettings())
    cursor = Cursor.open(tmp_path / "confirmed.json", log.epoch)
    connection = RecordingConnection()
    if is_refused:
        connection.refused_topics.add(TOPICS.status)
    await Presence(log, cursor, TOPICS, FakeClock()).run(connection)
    said = [json.loads(message.payload)["online"] for message in connection.published]
    assert said == ([] if is_refused else [True])
    assert ("the birth is refused" in caplog.text) is is_refused
    await log.close()


async def test_a_request_that_is_too_large_without_any_name_ends_no_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog.open(tmp_path / "log", LogSettings())
    cursor = Cursor.open(tmp_path / "confirmed.json", log.epoch)
    connection = RecordingConnection()
    connection.payload_bytes_max = 10
    await PendingRequest(log, cursor, TOPICS, list).run(connection)
    assert "not asked for commands" in caplog.text
    await log.close()
