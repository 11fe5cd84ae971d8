"""Commands and queries as MQTT messages, with everything behind and before them fake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from teddy_edge.errors import LogFull
from teddy_edge.inputs.mqtt import MqttInput
from teddy_edge.mqtt_link import Incoming
from teddy_edge.settings import QuerySettings, Settings
from teddy_edge.testing import FakeClock
from teddy_edge.topics import Topics
from tests.inputs.recording import RecordingCommands, RecordingQueries

ID = "0192f0c1-2a3b-7c4d-8e5f-001122334455"
TOPICS = Topics("bear-001")


class RecordingConnection:
    """A `Connection` that keeps what is published on it."""

    session_present = False

    def __init__(self) -> None:
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.correlation_data: list[object] = []

    async def publish(self, topic: str, payload: bytes, **properties: object) -> None:
        self.published.append((topic, json.loads(payload)))
        self.correlation_data.append(properties["correlation_data"])


class Box:
    """An input at which messages arrive as told."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.commands = RecordingCommands()
        self.queries = RecordingQueries()
        self.connection = RecordingConnection()
        self.input = MqttInput(
            self.commands, self.queries, TOPICS, settings or Settings(), FakeClock()
        )

    async def receive(self, topic: str, payload: bytes, **changes: Any) -> None:
        """Let a message arrive; returns when it may be acknowledged."""
        arrived: dict[str, Any] = {
            "topic": topic,
            "payload": payload,
            "qos": 1,
            "retain": False,
            "response_topic": None,
            "correlation_data": None,
            "content_type": None,
            **changes,
        }
        (subscription,) = (each for each in self.input.subscriptions() if each.matches(topic))
        await subscription.handler(self.connection, Incoming(**arrived))


def message(name: str) -> bytes:
    actor = {"id": "parent-1", "role": "parent"}
    moment = "2026-11-22T10:00:00Z"
    return json.dumps({"id": ID, "name": name, "actor": actor, "issued_at": moment}).encode()


@pytest.mark.parametrize(
    "payload", [message("mute"), message("other"), b'{"oops"', b"\xc1", b"x" * 70_000]
)
async def test_a_retained_command_is_refused_as_one_whatever_it_holds(payload: bytes) -> None:
    box = Box()
    await box.receive(TOPICS.command("mute"), payload, retain=True)
    (refusal,) = box.commands.refused
    assert refusal.rejection.code == "retained"
    assert box.commands.executed == []


async def test_a_retained_query_is_refused_and_not_asked() -> None:
    box = Box()
    await box.receive(TOPICS.query("get_bear_state"), message("get_bear_state"), retain=True)
    ((topic, answer),) = box.connection.published
    assert topic == f"teddy/v1/bear-001/answer/{ID}"
    assert (answer["error"]["code"], answer["data"]) == ("retained", None)
    assert box.queries.asked == []


@pytest.mark.parametrize("topic", [TOPICS.command("mute"), TOPICS.query("get_bear_state")])
async def test_that_a_retained_message_is_taken_back_is_no_message(topic: str) -> None:
    box = Box()
    await box.receive(topic, b"", retain=True)
    assert box.commands.refused == []
    assert box.connection.published == []


async def test_on_a_full_card_a_command_is_told_so_and_holds_no_place() -> None:
    box = Box()
    box.commands.error = LogFull(Path("/log"), 1)
    await box.receive(TOPICS.command("mute"), message("mute"))
    ((topic, result),) = box.connection.published
    assert topic == f"teddy/v1/bear-001/result/{ID}"
    assert (result["status"], result["error"]["code"]) == ("rejected", "card_full")


async def test_what_the_card_had_no_room_for_is_not_done_when_it_comes_again() -> None:
    """The connection may have ended before the acknowledgement, and the sender was told already."""
    box = Box()
    box.commands.error = LogFull(Path("/log"), 1)
    await box.receive(TOPICS.command("mute"), message("mute"))
    box.commands.error = None
    await box.receive(TOPICS.command("mute"), message("mute"))
    (_, first), (_, second) = box.connection.published
    assert second == {**first, "duplicate": True}
    assert box.commands.executed == []


@pytest.mark.parametrize(
    "change",
    [{"actor": {"id": "parent-2", "role": "parent"}}, {"name": "other"}, {"unknown": 1}],
)
async def test_what_the_card_had_no_room_for_is_nothing_of_another_sender(
    change: dict[str, Any],
) -> None:
    box = Box()
    box.commands.error = LogFull(Path("/log"), 1)
    theirs = {**json.loads(message("mute")), **change}
    await box.receive(TOPICS.command(theirs["name"]), json.dumps(theirs).encode())
    box.commands.error = None
    await box.receive(TOPICS.command("mute"), message("mute"))
    assert len(box.commands.executed) == 1


async def test_an_empty_command_that_is_not_retained_is_refused() -> None:
    box = Box()
    await box.receive(TOPICS.command("mute"), b"")
    assert box.commands.refused[0].rejection.code == "malformed"


@pytest.mark.parametrize(
    ("wanted", "allowed"), [("cloud/replies", True), ("teddy/v1/bear-002/events", False)]
)
async def test_a_reply_goes_where_the_sender_wants_if_it_may(wanted: str, allowed: bool) -> None:
    box = Box()
    await box.receive(TOPICS.command("mute"), message("mute"), response_topic=wanted)
    topics = [topic for topic, _ in box.connection.published]
    assert topics == [f"teddy/v1/bear-001/result/{ID}", *[wanted] * allowed]


def test_what_is_retained_for_the_bear_does_not_come_again_at_each_connect() -> None:
    assert all(each.retained_once for each in Box().input.subscriptions())


async def test_an_answer_too_long_for_a_slow_link_is_refused_with_the_limit() -> None:
    """It would end each connection, and the query would come again."""
    box = Box(Settings(queries=QuerySettings(answer_bytes_max=1024)))
    for size_bytes, code in ((500, None), (1000, "too_large")):
        query = {**json.loads(message("get_bear_state")), "data": {"words": "x" * size_bytes}}
        await box.receive(TOPICS.query("get_bear_state"), json.dumps(query).encode())
        _, answer = box.connection.published[-1]
        assert answer["error"] is None if code is None else answer["error"]["code"] == code
    assert "over 1024 bytes" in answer["error"]["message"]


@pytest.mark.parametrize(("size_bytes", "comes_back"), [(1024, True), (1025, False)])
async def test_correlation_data_that_would_make_each_reply_long_does_not_come_back(
    size_bytes: int, comes_back: bool
) -> None:
    box = Box()
    data = bytes(size_bytes)
    topic = TOPICS.command("press_button")
    await box.receive(topic, message("press_button"), correlation_data=data)
    assert box.connection.correlation_data == [data if comes_back else None]


def test_few_queries_are_answered_at_once_and_many_commands() -> None:
    at_once = {each.topic_filter: each.at_once_max for each in Box().input.subscriptions()}
    assert at_once == {TOPICS.commands: None, TOPICS.queries: Settings().queries.at_once_max}
