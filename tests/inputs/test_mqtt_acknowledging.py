"""What a message over MQTT becomes, and when it is acknowledged: when its handler returns."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from teddy_edge.errors import LogOverloaded
from teddy_edge.inputs.mqtt import MqttInput
from teddy_edge.mqtt_link import Incoming
from teddy_edge.settings import Settings
from teddy_edge.testing import FakeClock
from teddy_edge.topics import Topics
from tests.inputs.recording import RecordingCommands, RecordingQueries
from tests.sync.connection import RecordingConnection

TOPICS = Topics("bear-001")
COMMAND_ID = "01a20565-91bb-74e2-bc1f-415ccb61daf4"
RESULT = f"teddy/v1/bear-001/result/{COMMAND_ID}"


class Inbox:
    """An input between recording parts."""

    def __init__(self) -> None:
        self.commands = RecordingCommands()
        self.queries = RecordingQueries()
        self.connection = RecordingConnection()
        self.clock = FakeClock()
        settings = Settings(log={"queue_timeout_s": 0.01})
        self._input = MqttInput(self.commands, self.queries, TOPICS, settings, self.clock)

    async def take(self, **changes: Any) -> None:
        """Take a command to its acknowledgement."""
        command, _ = self._input.subscriptions()
        await command.handler(self.connection, incoming(**changes))


def incoming(response_topic: str | None = None) -> Incoming:
    envelope = {
        "id": COMMAND_ID,
        "name": "mute",
        "actor": {"id": "parent-1", "role": "parent"},
        "issued_at": "2026-11-22T10:00:00Z",
    }
    return Incoming(
        topic=TOPICS.command("mute"),
        payload=json.dumps(envelope).encode(),
        qos=1,
        retain=False,
        response_topic=response_topic,
        correlation_data=b"c",
        content_type=None,
    )


async def test_the_result_is_published_before_the_command_is_acknowledged() -> None:
    inbox = Inbox()
    await inbox.take()
    (published,) = inbox.connection.published
    assert published.topic == RESULT
    assert json.loads(published.payload)["status"] == "done"


async def test_a_command_waits_for_a_card_that_does_not_keep_up_and_keeps_its_receipt() -> None:
    inbox = Inbox()
    inbox.commands.error = LogOverloaded(1, 1)
    taking = asyncio.create_task(inbox.take())
    while inbox.commands.begun < 3:
        inbox.clock.advance(1)
        await asyncio.sleep(0.01)
    assert not taking.done()
    inbox.commands.error = None
    await asyncio.wait_for(taking, 60)
    assert len(inbox.commands.executed) == 1
    assert len(set(inbox.commands.received_ns)) == 1


async def test_a_reply_that_the_broker_refuses_does_not_bring_the_command_back() -> None:
    inbox = Inbox()
    inbox.connection.refused_topics = {RESULT}
    await inbox.take(response_topic="cloud/replies")
    (published,) = inbox.connection.published
    assert (published.topic, published.correlation_data) == ("cloud/replies", b"c")


async def test_no_reply_goes_where_a_bear_listens() -> None:
    inbox = Inbox()
    await inbox.take(response_topic="teddy/v1/bear-002/command/mute")
    assert [published.topic for published in inbox.connection.published] == [RESULT]
