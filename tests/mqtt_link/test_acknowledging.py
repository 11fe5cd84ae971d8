"""A handler's return is the acknowledgement, and nothing else is."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiomqtt

from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.mqtt_link import Connection, Handler, Incoming, MqttLink, Subscription
from tests.mqtt_link.linking import TIMEOUT_S, running, settings_for, until
from tests.mqtt_link.peers import Wire

HOLDING_CLIENT = Path(__file__).with_name("holding_client.py")


def link_to(port: int, handler: Handler, **changes: object) -> MqttLink:
    return MqttLink(
        settings_for(port, **changes),
        "bear",
        subscriptions=[Subscription("to/bear", handler)],
        sessions={},
    )


class Taken:
    """A handler that remembers what came."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    async def __call__(self, _: Connection, message: Incoming) -> None:
        self.payloads.append(message.payload)


async def subscribe_once(broker: Mosquitto) -> None:
    """Make the session whose messages the broker keeps."""
    link = link_to(broker.port, Taken())
    async with running(link):
        await until(lambda: link.connected)


async def test_a_message_whose_handler_was_killed_comes_again_and_once_handled_stays_away(
    broker: Mosquitto, other: aiomqtt.Client
) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, HOLDING_CLIENT, str(broker.port), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    await until(lambda: "bear" in broker.log_file.read_text())
    reading = asyncio.ensure_future(holder.stdout.readline())
    while not reading.done():  # it connects before it subscribes
        await other.publish("to/bear", b"first", qos=1)
        await asyncio.wait((reading,), timeout=0.1)
    holder.kill()
    await holder.wait()

    taken = Taken()
    async with running(link_to(broker.port, taken)):
        await until(lambda: b"first" in taken.payloads)
        await other.publish("to/bear", b"second", qos=1)
        await until(lambda: b"second" in taken.payloads)
    again = Taken()
    async with running(link_to(broker.port, again)):
        await other.publish("to/bear", b"third", qos=1)
        await until(lambda: b"third" in again.payloads)
    assert again.payloads == [b"third"]


async def test_a_handler_that_outlives_its_connection_acknowledges_nothing(
    broker: Mosquitto, other: aiomqtt.Client
) -> None:
    """The same packet id belongs to another message on the next connection."""
    began = asyncio.Event()
    payloads: list[bytes] = []

    async def stubborn(_: Connection, message: Incoming) -> None:
        payloads.append(message.payload)
        if len(payloads) > 1:
            return
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return  # returns as if all were well, too late

    async with Wire(broker.port).serving() as wire:
        link = link_to(wire.port, stubborn)
        async with running(link):
            await until(lambda: link.connected)
            await other.publish("to/bear", b"first", qos=1)
            await began.wait()
            wire.cut()
            await until(lambda: len(payloads) > 1)
    assert payloads == [b"first", b"first"]


async def test_messages_that_came_while_the_link_was_down_arrive_in_order(
    broker: Mosquitto, other: aiomqtt.Client
) -> None:
    await subscribe_once(broker)
    sent = [str(number).encode() for number in range(200)]
    for payload in sent:
        await other.publish("to/bear", payload, qos=1)
    taken = Taken()
    async with running(link_to(broker.port, taken)):
        await until(lambda: len(taken.payloads) >= len(sent))
    assert taken.payloads == sent


async def test_handlers_that_wait_for_their_own_publishes_do_not_block_themselves(
    broker: Mosquitto, other: aiomqtt.Client
) -> None:
    """Their acknowledgements stand behind a backlog that is larger than the window."""
    await subscribe_once(broker)
    for number in range(100):
        await other.publish("to/bear", str(number).encode(), qos=1)
    done: list[bytes] = []

    async def answer(connection: Connection, message: Incoming) -> None:
        await connection.publish("from/bear", message.payload)
        done.append(message.payload)

    async with running(link_to(broker.port, answer, receive_maximum=2)):
        await until(lambda: len(done) == 100)
    assert len(set(done)) == 100


async def test_a_message_of_an_old_subscription_does_not_hold_a_place(
    broker: Mosquitto, other: aiomqtt.Client
) -> None:
    old = MqttLink(
        settings_for(broker.port),
        "bear",
        subscriptions=[Subscription("old/#", Taken())],
        sessions={},
    )
    async with running(old):
        await until(lambda: old.connected)
    await other.publish("old/topic", b"", qos=1)
    taken = Taken()
    link = link_to(broker.port, taken, receive_maximum=1)
    async with running(link):
        await until(lambda: link.connected)
        await other.publish("to/bear", b"new", qos=1)
        await until(lambda: taken.payloads == [b"new"])


async def test_what_a_sender_attaches_arrives(broker: Mosquitto, other: aiomqtt.Client) -> None:
    from paho.mqtt.packettypes import PacketTypes  # noqa: PLC0415
    from paho.mqtt.properties import Properties  # noqa: PLC0415

    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ResponseTopic = "answers/here"
    properties.CorrelationData = b"\x00\x01"
    properties.ContentType = "application/json"
    arrived: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()

    async def take(_: Connection, message: Incoming) -> None:
        arrived.set_result(message)

    link = link_to(broker.port, take)
    async with running(link):
        await until(lambda: link.connected)
        await other.publish("to/bear", b"{}", qos=1, retain=True, properties=properties)
        message = await asyncio.wait_for(arrived, TIMEOUT_S)
    assert message == Incoming(
        topic="to/bear",
        payload=b"{}",
        qos=1,
        retain=True,
        response_topic="answers/here",
        correlation_data=b"\x00\x01",
        content_type="application/json",
    )
