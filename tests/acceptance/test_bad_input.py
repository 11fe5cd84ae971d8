"""What bad input gets: a recorded rejection that says why, and a bear that goes on."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import msgpack
import pytest

from teddy_edge.fleet.broker import Mosquitto
from tests.acceptance.bear import EMMA, Bear
from tests.acceptance.cloud import PARENT, TOPICS, cloud_at

COMMAND_ID = "01a20565-91bb-74e2-bc1f-415ccb61daf4"
GOOD = {
    "id": COMMAND_ID,
    "name": "register_child",
    "actor": PARENT,
    "issued_at": "2020-01-01T10:00:00Z",
    "data": EMMA,
}


def changed(**changes: Any) -> bytes:
    """The good command with something wrong in it."""
    return json.dumps({**GOOD, **changes}).encode()


def without(field: str) -> bytes:
    """The good command with a field left out."""
    return json.dumps({key: value for key, value in GOOD.items() if key != field}).encode()


DEEP: Any = "bottom"
for _ in range(200):
    DEEP = {"deeper": DEEP}

UNREADABLE = {
    "not JSON": (b'{"id": ', "malformed"),
    "nothing": (b"", "malformed"),
    "not UTF-8": (b'{"id": "\xff"}', "malformed"),
    "not msgpack": (b"\x8f\xc1", "malformed"),
    "cut off": (json.dumps(GOOD).encode()[:-10], "malformed"),
    "too large": (changed(data={"text": "x" * 40_000}), "payload_too_large"),
    "a hundred thousand brackets": (b'{"id":' + b"[" * 30_000, "too_deep"),
    "no map": (msgpack.packb([1, 2]), "invalid"),
    "no id": (without("id"), "invalid"),
    "an empty id": (changed(id=""), "invalid"),
    "an id that is no UUID": (changed(id="../../x"), "invalid"),
}

READABLE = {
    "too deep": (changed(data=DEEP), "too_deep", None),
    "an unknown command": (changed(name="fly"), "unknown_command", "name"),
    "a wrong type": (changed(data={**EMMA, "age": "7"}), "invalid", "data.age"),
    "a missing field": (without("actor"), "invalid", "actor"),
    "an unknown field": (changed(priority=1), "invalid", None),
    "a missing field of the data": (changed(data={}), "invalid", "data.parent_id"),
    "another bear's": (changed(aud="bear-002"), "wrong_bear", "aud"),
    "another name than the topic's": (changed(name="press_button"), "name_mismatch", "name"),
    "NaN": (changed(data={**EMMA, "age": float("nan")}), "invalid", "data.age"),
    "half a character": (changed(data={**EMMA, "name": "\ud83d"}), "invalid", "data.name"),
    "somebody who passes for the bear": (
        changed(actor={"id": "bear-001", "role": "device"}),
        "wrong_role",
        "actor.role",
    ),
}


def topic_of(payload: bytes) -> str:
    """A command sent under its own name, except where the two are to differ."""
    return TOPICS.command("fly" if b'"fly"' in payload else "register_child")


@pytest.fixture(scope="module")
def bear(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One bear that takes all of it."""
    directory = tmp_path_factory.mktemp("bear")
    with Mosquitto(directory / "broker") as broker, Bear(directory, broker.port) as bear:
        bear.start()
        bear.wait_until("broker.connected", value=True)
        yield bear, broker


def refusals(bear: Bear) -> list[dict[str, Any]]:
    """What the log says of everything refused so far."""
    return [event["data"] for event in bear.events_of("command_refused")]


async def goes_on(bear: Bear, broker: Mosquitto) -> None:
    """Show that the next good command is done, and that nothing waits for an acknowledgement."""
    async with cloud_at(broker.port) as cloud:
        child = {**EMMA, "udid": str(uuid4())}
        (result,) = await cloud.results(await cloud.send("register_child", child))
        assert result["status"] == "done"


@pytest.mark.parametrize(("payload", "code"), UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_what_has_no_readable_id_is_recorded(
    bear: tuple[Bear, Mosquitto], payload: bytes, code: str
) -> None:
    the_bear, broker = bear
    before = len(refusals(the_bear))
    async with cloud_at(broker.port) as cloud:
        await cloud.publish(TOPICS.command("register_child"), payload)
        await goes_on(the_bear, broker)
    (refusal,) = refusals(the_bear)[before:]
    assert refusal["code"] == code
    assert refusal["message"]
    assert "Emma" not in str(refusal)


@pytest.mark.parametrize(("payload", "code", "field"), READABLE.values(), ids=READABLE.keys())
async def test_what_has_an_id_gets_a_result_too(
    bear: tuple[Bear, Mosquitto], payload: bytes, code: str, field: str | None
) -> None:
    the_bear, broker = bear
    command_id = str(uuid4())
    payload = payload.replace(COMMAND_ID.encode(), command_id.encode())
    async with cloud_at(broker.port) as cloud:
        await cloud.publish(topic_of(payload), payload)
        (result,) = await cloud.results(command_id)
        await goes_on(the_bear, broker)
    assert (result["status"], result["error"]["code"]) == ("rejected", code)
    assert result["error"]["field"] == field
    assert result["seq"] > 0
    assert "Emma" not in str(result)
    assert refusals(the_bear)[-1]["code"] == code


async def test_a_retained_command_is_refused(bear: tuple[Bear, Mosquitto]) -> None:
    the_bear, broker = bear
    command_id = str(uuid4())
    payload = changed(id=command_id, data={**EMMA, "udid": command_id})
    async with cloud_at(broker.port) as cloud:
        await cloud.publish(TOPICS.command("register_child"), payload, retain=True)
        (result,) = await cloud.results(command_id)
        await cloud.publish(TOPICS.command("register_child"), b"", retain=True)
        assert result["error"]["code"] == "retained"
    await goes_on(the_bear, broker)


async def test_an_unknown_button_is_told_the_known_ones(bear: tuple[Bear, Mosquitto]) -> None:
    the_bear, _ = bear
    reply = the_bear.client.press("nose")
    assert reply.status == 404
    assert "belly, left_paw, right_paw" in reply.body["error"]["message"]


async def test_no_line_of_the_log_holds_the_childs_name(bear: tuple[Bear, Mosquitto]) -> None:
    the_bear, _ = bear
    lines = the_bear.log_file.read_text()
    assert "register_child" in lines
    assert "Emma" not in lines
