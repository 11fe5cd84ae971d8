"""The way of a command and of a press through the real daemon, to the cloud and back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgpack
import pytest

from teddy_edge.fleet.broker import Mosquitto
from tests.acceptance.bear import EMMA, Bear
from tests.acceptance.cloud import TOPICS, cloud_at, payload_of, reply_to


async def test_a_registered_child_can_be_read_everywhere(tmp_path: Path, broker: Mosquitto) -> None:
    async with cloud_at(broker.port) as cloud:
        with Bear(tmp_path, broker.port) as bear:
            bear.start()
            (birth,) = await cloud.json_on(TOPICS.status)
            assert birth["online"] is True
            command_id = await cloud.send("register_child", EMMA, correlation_id="c-1")
            (result,) = await cloud.results(command_id)
            assert (result["status"], result["correlation_id"]) == ("done", "c-1")
            child_id = result["data"]["child_id"]
            (state,) = await cloud.json_on(TOPICS.state("child", child_id))
            assert state["data"]["name"] == "Emma"
            answer = await cloud.ask("get_child_profile", {"child_id": child_id})
            assert answer["data"]["age"] == 7
            assert (answer["seq"], answer["complete"]) == (result["seq"], True)
            assert bear.stop() == 0
            (_, gone) = await cloud.json_on(TOPICS.status, 2)
            assert gone == {"online": False}


async def test_a_press_becomes_an_event_upstream(tmp_path: Path, broker: Mosquitto) -> None:
    async with cloud_at(broker.port) as cloud:
        with Bear(tmp_path, broker.port) as bear:
            bear.start()
            reply = await asyncio.to_thread(bear.client.press, "left_paw")
            assert reply.ok
            await cloud.on(lambda message: reply.body["seq"] in cloud.event_seqs(), 1)
            (pressed,) = bear.events_of("button_pressed")
            assert pressed["data"] == {"button": "left_paw"}


async def test_the_reply_goes_where_the_sender_asked(tmp_path: Path, broker: Mosquitto) -> None:
    async with cloud_at(broker.port) as cloud:
        with Bear(tmp_path, broker.port) as bear:
            bear.start()
            bear.wait_until("broker.connected", value=True)
            envelope = {"id": "", "name": "register_child"}
            await cloud.publish(
                TOPICS.command("register_child"),
                json.dumps(envelope),
                properties=reply_to("cloud/replies", b"\x00\xff"),
            )
            (message,) = await cloud.on(lambda each: str(each.topic) == "cloud/replies", 1)
            assert json.loads(payload_of(message))["error"]["field"] == "id"
            assert message.properties is not None
            assert vars(message.properties)["CorrelationData"] == b"\x00\xff"


async def test_a_command_may_be_msgpack(tmp_path: Path, broker: Mosquitto) -> None:
    async with cloud_at(broker.port) as cloud:
        with Bear(tmp_path, broker.port) as bear:
            bear.start()
            bear.wait_until("broker.connected", value=True)
            command_id = "01a20565-91bb-74e2-bc1f-415ccb61daf4"
            envelope = {
                "id": command_id,
                "name": "register_child",
                "actor": {"id": "parent-123", "role": "parent"},
                "issued_at": "2020-01-01T10:00:00Z",
                "data": EMMA,
            }
            await cloud.publish(TOPICS.command("register_child"), msgpack.packb(envelope))
            (result,) = await cloud.results(command_id)
            assert result["status"] == "done"


async def test_what_happened_without_a_broker_arrives_in_order(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with Bear(tmp_path, broker.port, TEDDY_EDGE_BUTTONS__DEBOUNCE_S="0") as bear:
        bear.start()
        bear.wait_until("broker.connected", value=True)
        async with cloud_at(broker.port, "cloud"):
            pass  # only to be known: the bear may be back before the cloud is
        broker.stop()
        bear.wait_until("broker.connected", value=False)
        for number in range(5):
            assert (await asyncio.to_thread(bear.client.press, "belly")).ok
            child = {**EMMA, "udid": f"udid-{number}"}
            body = {"actor": {"id": "parent-123", "role": "parent"}, "data": child}
            assert (await asyncio.to_thread(bear.client.command, "register_child", body)).ok
        last_seq = bear.client.status().body["log"]["last_seq"]
        broker.start()
        async with cloud_at(broker.port, "cloud") as cloud:
            await cloud.on(lambda _: last_seq in cloud.event_seqs(), 1)
            seqs = cloud.event_seqs()
            first_time = [seq for at, seq in enumerate(seqs) if seq not in seqs[:at]]
            assert first_time == list(range(first_time[0], last_seq + 1))


@pytest.mark.parametrize("model", ["bear/bear-001", "child"])
async def test_a_new_listener_sees_the_truth_at_once(
    tmp_path: Path, broker: Mosquitto, model: str
) -> None:
    with Bear(tmp_path, broker.port) as bear:
        bear.start()
        bear.wait_until("broker.connected", value=True)
        async with cloud_at(broker.port) as cloud:
            command_id = await cloud.send("register_child", EMMA)
            (result,) = await cloud.results(command_id)
            child_topic = TOPICS.state("child", result["data"]["child_id"])
            topic = child_topic if model == "child" else f"teddy/v1/bear-001/state/{model}"
            await cloud.json_on(topic)
        async with cloud_at(broker.port) as late:
            message, *_ = await late.on(lambda each: str(each.topic) == topic, 1)
            assert message.retain
