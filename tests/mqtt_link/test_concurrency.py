"""How many handlers run at once, and in which order they start."""

from __future__ import annotations

import asyncio

import aiomqtt
import pytest

from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.mqtt_link import Connection, Incoming, MqttLink, Subscription
from tests.mqtt_link.linking import running, settings_for, until


class Stage:
    """A handler that holds each message until it is told to go on."""

    def __init__(self) -> None:
        self.started: list[bytes] = []
        self.running = 0
        self.running_max = 0
        self.go_on = asyncio.Event()

    async def __call__(self, _: Connection, message: Incoming) -> None:
        self.started.append(message.payload)
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        await self.go_on.wait()
        await asyncio.sleep(0)
        self.running -= 1


async def run_through(
    broker: Mosquitto,
    other: aiomqtt.Client,
    stage: Stage,
    *,
    ordered: bool = False,
    at_once_max: int | None = None,
    first: int,
    qos: int = 1,
) -> None:
    """Send 20 messages; release them once `first` of them run."""
    link = MqttLink(
        settings_for(broker.port, receive_maximum=4),
        "bear",
        subscriptions=[Subscription("to/+/bear", stage, qos, ordered, at_once_max=at_once_max)],
        sessions={},
    )
    async with running(link):
        await until(lambda: link.connected)
        for number in range(20):
            await other.publish("to/the/bear", bytes([number]), qos=1)
        await until(lambda: stage.running == first)
        stage.go_on.set()
        await until(lambda: len(stage.started) == 20 and stage.running == 0)


@pytest.mark.parametrize(("at_once_max", "running_max"), [(None, 4), (2, 2), (9, 4)])
async def test_a_subscription_may_say_how_many_messages_are_handled_at_once(
    broker: Mosquitto, other: aiomqtt.Client, at_once_max: int | None, running_max: int
) -> None:
    stage = Stage()
    await run_through(broker, other, stage, at_once_max=at_once_max, first=running_max)
    assert stage.running_max == running_max


async def test_an_ordered_subscription_handles_one_message_at_a_time(
    broker: Mosquitto, other: aiomqtt.Client
) -> None:
    stage = Stage()
    await run_through(broker, other, stage, ordered=True, first=1)
    assert stage.running_max == 1
    assert stage.started == [bytes([number]) for number in range(20)]


@pytest.mark.parametrize("qos", [0, 1])
async def test_other_subscriptions_start_their_handlers_in_order_up_to_the_bound(
    broker: Mosquitto, other: aiomqtt.Client, qos: int
) -> None:
    """With QoS 0 the broker keeps no window; the bound is ours alone."""
    stage = Stage()
    await run_through(broker, other, stage, ordered=False, first=4, qos=qos)
    assert stage.running_max == 4
    assert stage.started == [bytes([number]) for number in range(20)]


async def test_a_held_subscription_does_not_hold_another_one(
    broker: Mosquitto, other: aiomqtt.Client
) -> None:
    slow, fast = Stage(), Stage()
    fast.go_on.set()
    link = MqttLink(
        settings_for(broker.port),
        "bear",
        subscriptions=[Subscription("slow/#", slow, ordered=True), Subscription("fast", fast)],
        sessions={},
    )
    async with running(link):
        await until(lambda: link.connected)
        for topic in ("slow", "slow/more", "fast"):
            await other.publish(topic, b"", qos=1)
        await until(lambda: len(fast.started) == 1)
        assert len(slow.started) == 1
