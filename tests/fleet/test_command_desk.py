"""The cloud's end follows each command until the bear has said how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import aiomqtt
import pytest

from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.fleet.command_desk import CommandDesk
from teddy_edge.fleet.sinks import SentCommand
from teddy_edge.fleet.sqlite_sink import OPEN_COMMANDS_MAX, SqliteSink
from teddy_edge.messages import Result
from teddy_edge.mqtt_link import Connection, MqttLink
from teddy_edge.sync.signals import Pending, encode_signal
from teddy_edge.topics import Topics
from tests.mqtt_link.linking import TIMEOUT_S, running, settings_for, until

TOPICS = Topics("bear-1")
PENDING = encode_signal(Pending(epoch=UUID(int=7), last_seq=3))


@pytest.fixture
async def bear(broker: Mosquitto) -> AsyncIterator[aiomqtt.Client]:
    """A bear's client, as bare as can be."""
    client = aiomqtt.Client(broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5)
    async with client:
        await client.subscribe(TOPICS.commands, qos=1)
        yield client


@contextlib.asynccontextmanager
async def desk_at(
    broker: Mosquitto, sink: SqliteSink, resend_s: float = 3600
) -> AsyncIterator[tuple[CommandDesk, Connection]]:
    connections: list[Connection] = []

    async def connected(connection: Connection) -> None:
        connections.append(connection)

    with ThreadPoolExecutor(1) as thread:
        desk = CommandDesk(sink, thread, resend_s)
        link = MqttLink(
            settings_for(broker.port),
            "desk",
            subscriptions=desk.subscriptions(),
            sessions={"desk": desk.run, "connected": connected},
        )
        async with running(link):
            await until(lambda: bool(connections))
            yield desk, connections[0]


def command(name: str = "register_child", bear: str = "bear-1") -> SentCommand:
    return SentCommand(bear, uuid4(), name, json.dumps({"name": name}).encode())


async def next_on(bear: aiomqtt.Client) -> tuple[str, bytes]:
    async with asyncio.timeout(TIMEOUT_S):
        message = await anext(bear.messages)
    assert isinstance(message.payload, bytes)
    return str(message.topic), message.payload


async def test_what_has_no_result_is_sent_again_in_order_when_its_bear_asks(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    sent = [command("first"), command("second")]
    for at_ns, each in enumerate([*sent, command("other", bear="bear-2")]):
        sink.keep_command(each, at_ns)
    async with desk_at(broker, sink):
        await bear.publish(TOPICS.pending, PENDING, qos=1)
        for each in sent:
            assert await next_on(bear) == (TOPICS.command(each.name), each.payload)
        await bear.publish(TOPICS.pending, PENDING, qos=1)
        assert (await next_on(bear))[1] == sent[0].payload


async def test_what_a_clock_that_was_ahead_left_behind_keeps_nothing_back(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    """Before there were marks, there stood the time at which a command was last sent."""
    sent = command()
    sink.keep_command(sent, 1)
    sink.mark([sent], 2**62)
    async with desk_at(broker, sink, resend_s=0.05) as (desk, connection):
        await bear.publish(TOPICS.pending, PENDING, qos=1)
        await desk.note_presence(connection, "bear-1", is_there=True)
        for _ in range(4):
            assert (await next_on(bear))[1] == sent.payload


@pytest.mark.parametrize("status", ["done", "rejected", "expired"])
async def test_a_command_that_ended_is_not_sent_again(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink, status: str
) -> None:
    ended, waiting = command("ended"), command("waiting")
    for each in (ended, waiting):
        sink.keep_command(each, 1)
    result = Result.model_validate(
        {"command_id": ended.id, "name": "ended", "status": status, "seq": 4}
    )
    async with desk_at(broker, sink):
        await bear.publish(TOPICS.result(ended.id), result.model_dump_json(), qos=1)
        await until(lambda: sink.result("bear-1", ended.id) is not None)
        await bear.publish(TOPICS.pending, PENDING, qos=1)
        assert (await next_on(bear))[1] == waiting.payload
    assert sink.result("bear-1", ended.id) == result


def test_the_first_end_of_a_command_stays(sink: SqliteSink) -> None:
    sent = command()
    sink.keep_command(sent, 1)
    first = Result(command_id=sent.id, name="x", status="done", seq=4)
    assert sink.end_command("bear-1", first)
    assert not sink.end_command("bear-1", first.model_copy(update={"status": "expired"}))
    assert not sink.end_command("bear-2", first)
    sink.keep_command(sent, 2)
    assert sink.result("bear-1", sent.id) == first


async def test_more_than_fit_one_look_into_the_store_are_all_sent_again(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    sent = [command(f"command_{number}") for number in range(OPEN_COMMANDS_MAX + 5)]
    with sink._connection:
        for number, each in enumerate(sent):
            row = (each.bear, each.id.bytes, each.name, each.payload, number)
            sink._connection.execute(
                "INSERT INTO commands VALUES (?, ?, ?, ?, ?, 0, NULL, NULL)", row
            )
    async with desk_at(broker, sink):
        await bear.publish(TOPICS.pending, PENDING, qos=1)
        arrived = [await next_on(bear) for _ in sent]
        assert [topic for topic, _ in arrived] == [TOPICS.command(each.name) for each in sent]


async def test_a_bear_that_is_there_gets_a_command_again_without_asking(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    """A broker drops what is too much for it, and tells nobody."""
    here, gone = command("here"), command("gone", bear="bear-2")
    sink.keep_command(here, 1)
    sink.keep_command(gone, 1)
    await bear.subscribe(Topics("bear-2").commands, qos=1)
    async with desk_at(broker, sink, resend_s=0.05) as (desk, connection):
        await desk.note_presence(connection, "bear-1", is_there=True)
        await desk.note_presence(connection, "bear-2", is_there=False)
        for _ in range(3):
            assert (await next_on(bear))[1] == here.payload


async def test_a_bear_that_is_found_to_be_there_gets_what_it_may_have_asked_for(
    broker: Mosquitto, bear: aiomqtt.Client, sink: SqliteSink
) -> None:
    """Once: as long as we hear it, it asks itself."""
    sent = command()
    sink.keep_command(sent, 1)
    async with desk_at(broker, sink) as (desk, connection):
        for is_there in (True, True, False, True):
            await desk.note_presence(connection, "bear-1", is_there=is_there)
        assert (await next_on(bear))[1] == sent.payload
        await asyncio.sleep(0.1)
        assert len(bear.messages) == 0
    async with desk_at(broker, sink) as (desk, connection):
        await desk.note_presence(connection, "bear-1", is_there=True)
        assert (await next_on(bear))[1] == sent.payload


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"status": "EMMASECRET"}', b"\xff"])
async def test_what_is_neither_result_nor_request_is_dropped(
    broker: Mosquitto,
    bear: aiomqtt.Client,
    sink: SqliteSink,
    payload: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = command()
    sink.keep_command(sent, 1)
    async with desk_at(broker, sink):
        await bear.publish(TOPICS.result(sent.id), payload, qos=1)
        await bear.publish(TOPICS.pending, payload, qos=1)
        await bear.publish(TOPICS.pending, PENDING, qos=1)
        assert (await next_on(bear))[1] == sent.payload
    assert "EMMASECRET" not in caplog.text
    assert sink.result("bear-1", sent.id) is None
