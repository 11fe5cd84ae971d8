"""No record waits for the next one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from teddy_edge.eventlog import Cursor, Entry, EventLog
from teddy_edge.settings import LogSettings, SyncSettings
from teddy_edge.sync import Uplink
from teddy_edge.testing import FakeClock
from tests.sync.connection import RecordingConnection
from tests.sync.uplinking import TOPICS


async def test_a_record_that_is_there_before_the_watch_begins_goes_out(tmp_path: Path) -> None:
    """The writer's thread may finish in the turn of the loop in which the uplink begins."""
    log = EventLog.open(tmp_path / "log", LogSettings())
    log.start()
    cursor = Cursor.open(tmp_path / "confirmed.json", log.epoch)
    uplink = Uplink(log, cursor, TOPICS, SyncSettings(), FakeClock())
    connection = RecordingConnection()
    running = asyncio.create_task(uplink.run(connection))

    def record_meanwhile() -> None:
        log.append([Entry(5, b"body")])
        while log.last_seq < 1:
            time.sleep(0.001)

    asyncio.get_running_loop().call_soon(record_meanwhile)
    await connection.has(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await log.close()
