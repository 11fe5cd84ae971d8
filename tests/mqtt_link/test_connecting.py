"""Connecting, losing the connection, and coming back."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from functools import partial
from random import Random

import aiomqtt
import pytest

from teddy_edge.backoff import Backoff
from teddy_edge.errors import LinkRefused
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.mqtt_link import Connection, Incoming, MqttLink, Session, Subscription, Will
from tests.mqtt_link.linking import TIMEOUT_S, running, settings_for, until
from tests.mqtt_link.peers import NOT_AUTHORISED, RawBroker, Wire


async def ignore(_: Connection, __: Incoming) -> None:
    return


def link_to(port: int, *, session: Session | None = None, **changes: object) -> MqttLink:
    return MqttLink(
        settings_for(port, **changes),
        "bear",
        subscriptions=[Subscription("to/bear", ignore)],
        sessions={} if session is None else {"session": session},
        will=Will("bear/status", b"offline"),
    )


async def test_a_killed_broker_is_found_again_and_work_goes_on(broker: Mosquitto) -> None:
    connections: list[Connection] = []

    async def session(connection: Connection) -> None:
        connections.append(connection)
        await connection.publish("from/bear", b"hello")
        await asyncio.Event().wait()

    link = link_to(broker.port, session=session)
    async with running(link):
        for count in range(1, 4):
            await until(lambda: len(connections) == count and link.connected)  # noqa: B023
            broker.kill()
            await until(lambda: not link.connected)
            broker.start()
        await until(lambda: link.connected)
    assert len(set(connections)) == len(connections)


async def test_a_session_is_told_whether_the_broker_kept_ours(broker: Mosquitto) -> None:
    present: list[bool] = []

    async def session(connection: Connection) -> None:
        present.append(connection.session_present)

    async with Wire(broker.port).serving() as wire:
        link = link_to(wire.port, session=session)
        async with running(link):
            await until(lambda: len(present) == 1)
            wire.cut()
            await until(lambda: len(present) == 2)
    assert present == [False, True]


async def test_a_host_that_can_have_no_address_does_not_end_the_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    link = link_to(1883, host="a..b")
    async with running(link):
        await until(lambda: caplog.text.count("cannot connect to a..b:1883") >= 2)


@pytest.mark.parametrize(("once", "times"), [(True, 1), (False, 3)])
async def test_what_is_retained_comes_at_each_connect_only_where_that_is_wanted(
    broker: Mosquitto, other: aiomqtt.Client, *, once: bool, times: int
) -> None:
    taken: list[bytes] = []
    connections: list[Connection] = []

    async def take(connection: Connection, message: Incoming) -> None:
        connections.append(connection)
        taken.append(message.payload)

    await other.publish("to/bear", b"retained", qos=1, retain=True)
    async with Wire(broker.port).serving() as wire:
        subscription = Subscription("to/bear", take, retained_once=once)
        link = MqttLink(settings_for(wire.port), "bear", subscriptions=[subscription], sessions={})
        async with running(link):
            await until(lambda: taken == [b"retained"])
            for connection in (2, 3):
                # Once the broker answers, it has had our acknowledgements, and sends none again.
                await connections[-1].publish("from/bear", b"still here")
                wire.cut()
                await until(lambda: link.connected and wire.connections == connection)  # noqa: B023
                await other.publish("to/bear", b"%d" % connection, qos=1)
                await until(lambda: taken[-1] == b"%d" % connection)  # noqa: B023
    assert taken.count(b"retained") == times


async def test_a_broker_that_kicks_after_accepting_is_not_hammered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The waits are drawn from a seed: by chance, a row of them may be short."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(delay: float) -> None:
        if asyncio.current_task() is task and delay > 0:
            waits.append(delay)
        await sleep(0)

    monkeypatch.setattr("teddy_edge.mqtt_link.link.asyncio.sleep", noted)
    seeded = partial(Backoff, random=Random(7))
    monkeypatch.setattr("teddy_edge.mqtt_link.link.Backoff", seeded)
    async with RawBroker(kicks=True).serving() as raw:
        link = link_to(raw.port, backoff_s_min=1.0, backoff_s_max=60.0)
        task = asyncio.create_task(link.run())
        while raw.connections < 40:
            await sleep(0.005)
        task.cancel()
        await asyncio.wait((task,))
    assert all(1.0 <= wait <= 60.0 for wait in waits)
    assert sum(waits[19:39]) / 20 > 5.0


async def test_a_wire_that_falls_silent_is_given_up(broker: Mosquitto) -> None:
    async with Wire(broker.port).serving() as wire:
        link = link_to(wire.port, keepalive_s=1, timeout_s=1.0)
        async with running(link):
            await until(lambda: link.connected)
            wire.fall_silent()
            await until(lambda: not link.connected)
            wire.speak_again()
            await until(lambda: link.connected)


async def test_a_quiet_but_healthy_connection_is_kept(broker: Mosquitto) -> None:
    async with Wire(broker.port).serving() as wire:
        link = link_to(wire.port, keepalive_s=2)
        async with running(link), asyncio.timeout(TIMEOUT_S):
            held = -1
            while wire.connections != held:  # a machine that stands still may cost it one
                await until(lambda: link.connected)
                held = wire.connections
                await asyncio.sleep(4)  # longer than either side bears silence


async def test_a_refused_subscription_is_reported_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with RawBroker(suback_code=NOT_AUTHORISED).serving() as raw:
        link = link_to(raw.port)
        with caplog.at_level(logging.WARNING):
            async with running(link):
                await until(lambda: raw.connections >= 3)
                assert not link.connected
    assert "the broker refused to subscribe to to/bear: Not authorized" in caplog.text


async def test_a_subscription_that_may_be_refused_leaves_the_link_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with RawBroker(suback_code=NOT_AUTHORISED).serving() as raw:
        optional = Subscription("to/bear", _drop, may_be_refused=True)
        link = MqttLink(settings_for(raw.port), "bear", subscriptions=[optional], sessions={})
        async with running(link):
            await until(lambda: link.connected)
    assert "the broker refused to subscribe to to/bear: Not authorized" in caplog.text


@pytest.mark.parametrize(("ours_s", "theirs_s"), [(3600, 1), (1, 3600), (1, 0)])
async def test_a_shorter_keepalive_of_the_broker_is_kept_and_a_longer_one_makes_us_no_slower(
    ours_s: int, theirs_s: int
) -> None:
    async with (
        RawBroker(keepalive_s=theirs_s).serving() as raw,
        running(link_to(raw.port, keepalive_s=ours_s)),
    ):
        await until(lambda: raw.pings >= 3)


async def test_what_we_publish_does_not_come_back_where_we_do_not_want_it(
    broker: Mosquitto, other: aiomqtt.Client
) -> None:
    heard: list[bytes] = []

    async def hear(_: Connection, message: Incoming) -> None:
        heard.append(message.payload)

    async def speak(connection: Connection) -> None:
        await connection.publish("to/bear", b"ours")
        await other.publish("to/bear", b"theirs", qos=1)

    link = MqttLink(
        settings_for(broker.port),
        "bear",
        subscriptions=[Subscription("to/bear", hear, no_local=True)],
        sessions={"speak": speak},
    )
    async with running(link):
        await until(lambda: bool(heard))
        await asyncio.sleep(0.1)
    assert heard == [b"theirs"]


async def _drop(_connection: Connection, _message: Incoming) -> None:
    pass


async def test_a_refused_connection_says_why(caplog: pytest.LogCaptureFixture) -> None:
    async with RawBroker(connack_code=NOT_AUTHORISED).serving() as raw:
        with caplog.at_level(logging.WARNING):
            async with running(link_to(raw.port)):
                await until(lambda: raw.connections >= 2)
    assert re.search(r"refused to connect to 127.0.0.1:\d+: Not authorized", caplog.text)


@pytest.mark.parametrize("where", ["handler", "session"])
async def test_a_defect_ends_the_link_as_it_is(
    broker: Mosquitto, other: aiomqtt.Client, where: str
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError(where)

    async def idle(_: Connection) -> None:
        return

    link = MqttLink(
        settings_for(broker.port),
        "bear",
        subscriptions=[Subscription("to/bear", fail)],
        sessions={"session": fail if where == "session" else idle},
    )
    task = asyncio.create_task(link.run())
    await until(lambda: link.connected or task.done())
    await other.publish("to/bear", b"", qos=1)
    with pytest.raises(ZeroDivisionError, match=where):
        await asyncio.wait_for(task, TIMEOUT_S)
    assert not link.connected


async def test_the_will_is_published_when_the_link_stops(
    broker: Mosquitto, other: aiomqtt.Client
) -> None:
    await other.subscribe("bear/status", qos=1)
    link = link_to(broker.port)
    async with running(link):
        await until(lambda: link.connected)
    message = await asyncio.wait_for(anext(other.messages), TIMEOUT_S)
    assert message.payload == b"offline"


async def test_the_will_is_published_when_the_link_breaks(
    broker: Mosquitto, other: aiomqtt.Client
) -> None:
    await other.subscribe("bear/status", qos=1)
    async with Wire(broker.port).serving() as wire:
        link = link_to(wire.port, backoff_s_min=5.0)
        async with running(link):
            await until(lambda: link.connected)
            wire.cut()
            message = await asyncio.wait_for(anext(other.messages), TIMEOUT_S)
    assert message.payload == b"offline"


@pytest.mark.parametrize("end", ["lost", "stopped"])
async def test_a_defect_that_shows_while_a_connection_ends_is_not_swallowed(
    broker: Mosquitto, end: str
) -> None:
    began = asyncio.Event()

    async def session(_: Connection) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    async with Wire(broker.port).serving() as wire:
        task = asyncio.create_task(link_to(wire.port, session=session).run())
        await asyncio.wait_for(began.wait(), TIMEOUT_S)
        wire.cut() if end == "lost" else task.cancel()
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(task, TIMEOUT_S)


async def test_a_link_that_is_stopped_while_it_connects_closes_its_socket() -> None:
    """The broker takes the connection and never answers."""
    taken, closed = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.set()
        await reader.read()
        writer.close()
        closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        async with running(link_to(server.sockets[0].getsockname()[1])):
            await taken.wait()
        await asyncio.wait_for(closed.wait(), TIMEOUT_S)


async def test_a_publish_that_an_acl_forbids_is_refused(
    tmp_path: object, broker: Mosquitto
) -> None:
    assert broker.config_file.parent.is_dir()
    acl = broker.config_file.with_name("acl")
    acl.write_text("topic readwrite to/#\n")
    broker.stop()
    refused: asyncio.Future[LinkRefused] = asyncio.get_running_loop().create_future()

    async def session(connection: Connection) -> None:
        await connection.publish("to/anyone", json.dumps({}).encode())
        try:
            await connection.publish("elsewhere", b"")
        except LinkRefused as error:
            refused.set_result(error)

    with Mosquitto(broker.config_file.parent, lines=[f"acl_file {acl}"]) as guarded:
        async with running(link_to(guarded.port, session=session)):
            error = await asyncio.wait_for(refused, TIMEOUT_S)
    assert (error.operation, error.topic, error.reason) == (
        "publish to",
        "elsewhere",
        "Not authorized",
    )


async def test_many_publishes_at_once_all_arrive(broker: Mosquitto, other: aiomqtt.Client) -> None:
    await other.subscribe("from/bear", qos=1)

    async def session(connection: Connection) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(1000):
                tasks.create_task(connection.publish("from/bear", str(number).encode()))

    async with running(link_to(broker.port, session=session)):
        async with asyncio.timeout(TIMEOUT_S):
            arrived = [(await anext(other.messages)).payload for _ in range(1000)]
    assert sorted(map(int, map(bytes.decode, arrived))) == list(range(1000))
