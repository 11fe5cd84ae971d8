"""After each connect the bear asks for what has no result."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from teddy_edge.errors import WireError
from teddy_edge.eventlog import Cursor, EventLog
from teddy_edge.messages import Result
from teddy_edge.settings import LogSettings
from teddy_edge.sync import PendingRequest
from teddy_edge.sync.signals import Pending, decode_signal
from teddy_edge.topics import Topics
from tests.commands.box import open_box
from tests.sync.connection import RecordingConnection

TOPICS = Topics("bear-001")


def cursor_of(directory: Path, log: EventLog) -> Cursor:
    return Cursor.open(directory / "confirmed.json", log.epoch)


def results(count: int) -> list[Result]:
    return [
        Result(command_id=UUID(int=number), name="x", status="done", seq=number)
        for number in range(1, count + 1)
    ]


async def test_the_commands_that_ended_last_are_named_with_their_ends(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        done = await box.send(box.envelope())
        refused = await box.send(box.envelope("no_such_command"))
        request = PendingRequest(
            box.log, cursor_of(tmp_path, box.log), TOPICS, lambda: box.journal.finished_last(10)
        )
        connection = RecordingConnection()
        await request.run(connection)
        (message,) = connection.published
        assert (message.topic, message.retain) == (TOPICS.pending, False)
        assert json.loads(message.payload) == {
            "epoch": str(box.log.epoch),
            "last_seq": box.log.last_seq,
            "finished": [
                [str(done.command_id), "done", done.seq],
                [str(refused.command_id), "rejected", refused.seq],
            ],
        }


async def test_only_so_many_are_named_and_those_are_the_newest(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        ends = [await box.send(box.envelope("no_such_command")) for _ in range(5)]
        assert box.journal.finished_last(2) == ends[3:]
        assert box.journal.finished_last(0) == []


async def test_a_broker_that_takes_only_small_packets_gets_the_newest(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path, LogSettings())
    connection = RecordingConnection()
    connection.payload_bytes_max = 300
    await PendingRequest(log, cursor_of(tmp_path, log), TOPICS, lambda: results(100)).run(
        connection
    )
    (message,) = connection.published
    pending = decode_signal(Pending, message.payload)
    assert [seq for _, _, seq in pending.finished] == [98, 99, 100]
    await log.close()


async def test_a_broker_that_forbids_it_does_not_keep_the_bear_offline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog.open(tmp_path, LogSettings())
    connection = RecordingConnection()
    connection.refused_topics.add(TOPICS.pending)
    await PendingRequest(log, cursor_of(tmp_path, log), TOPICS, list).run(connection)
    assert "not asked" in caplog.text
    await log.close()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b'{"epoch": "EMMASECRET", "last_seq": 1}',
        b'{"epoch": "00000000-0000-0000-0000-000000000007", "last_seq": "1"}',
        b'{"epoch": "00000000-0000-0000-0000-000000000007", "last_seq": -1}',
        b'{"epoch": "00000000-0000-0000-0000-000000000007", "last_seq": 1, "finished": [["x"]]}',
        b'{"EMMASECRET',
    ],
)
def test_what_is_no_signal_is_refused_without_being_repeated(payload: bytes) -> None:
    with pytest.raises(WireError) as refused:
        decode_signal(Pending, payload)
    assert "EMMASECRET" not in str(refused.value)
