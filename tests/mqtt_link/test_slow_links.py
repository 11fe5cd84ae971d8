"""What stands before an answer on a slow link is no silence of the broker."""

from __future__ import annotations

import asyncio
from random import Random

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from teddy_edge.errors import LinkLost
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.mqtt_link import Connection, MqttLink
from teddy_edge.mqtt_link.answers import Answers
from tests.faults.fault_proxy import FaultProxy
from tests.mqtt_link.linking import running, settings_for, until
from tests.mqtt_link.test_acknowledging import Taken, link_to, subscribe_once

MESSAGES = 30


async def test_what_a_broker_has_kept_comes_before_its_answer_over_one_connection(
    broker: Mosquitto, other: aiomqtt.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Thirty messages of 1 KB take three seconds; an answer is waited for one second in silence."""
    await subscribe_once(broker)
    for number in range(MESSAGES):
        await other.publish("to/bear", bytes([number]) * 1000, qos=1)
    taken = Taken()
    async with FaultProxy(broker.port, Random(1), bytes_per_s=10_000).serving() as slow:
        link = link_to(slow.port, taken, timeout_s=1)
        async with running(link):
            await until(lambda: link.connected and len(taken.payloads) == MESSAGES)
    assert "next try" not in caplog.text, "no connection ended"


async def test_what_we_send_may_take_as_long_as_it_takes_on_a_slow_link(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """Thirty kilobytes take three seconds."""
    is_acknowledged = asyncio.Event()

    async def send(connection: Connection) -> None:
        await connection.publish("from/bear", bytes(30_000))
        is_acknowledged.set()

    async with FaultProxy(broker.port, Random(1), bytes_per_s=10_000).serving() as slow:
        settings = settings_for(slow.port, timeout_s=1)
        async with running(MqttLink(settings, "bear", subscriptions=[], sessions={"send": send})):
            await until(is_acknowledged.is_set)
    assert "next try" not in caplog.text


async def test_a_broker_that_talks_all_the_time_and_never_answers_is_given_up() -> None:
    answers = Answers(timeout_s=0.01)

    async def talk() -> None:
        while True:
            answers.hear()
            await asyncio.sleep(0.001)

    talking = asyncio.create_task(talk())
    with pytest.raises(LinkLost, match="no answer to a message to topic within"):
        await answers.acknowledgement(1, "topic", 0)
    talking.cancel()


async def test_a_refusal_that_nobody_waits_for_is_forgotten() -> None:
    """The packet id is another message's later."""
    answers = Answers(timeout_s=10)
    assert answers.readable(b"\0\7\x95") == b"\0\7\x80"
    sending = asyncio.create_task(answers.acknowledgement(7, "topic", 100))
    await asyncio.sleep(0)
    answers.take(7, ReasonCode(PacketTypes.PUBACK))
    await sending
