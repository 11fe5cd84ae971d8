"""The acknowledgement rule: a command is acknowledged when its end is on the card, not before."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from teddy_edge.fleet.broker import Mosquitto
from tests.acceptance.bear import EMMA, Bear
from tests.acceptance.cloud import cloud_at, payload_of


def start_and_arm(bear: Bear, moment: str, armed: Path) -> None:
    """Start a daemon that dies at its next storage call."""
    bear.start(("-m", "tests.acceptance.dies_at_storage", moment, str(armed)))
    bear.wait_until("broker.connected", value=True)
    armed.touch()


@pytest.mark.parametrize("moment", ["before_write", "before_fsync", "after_fsync"])
async def test_a_command_killed_on_its_way_to_the_card_comes_again_and_has_one_effect(
    tmp_path: Path, broker: Mosquitto, moment: str
) -> None:
    async with cloud_at(broker.port) as cloud:
        with Bear(tmp_path, broker.port) as bear:
            start_and_arm(bear, moment, tmp_path / "armed")
            command_id = await cloud.send("register_child", EMMA)
            assert bear.wait_for_death() == -signal.SIGKILL
            assert not [m for m in cloud.messages if f"result/{command_id}" in str(m.topic)]

            bear.start()
            (result,) = await cloud.results(command_id)
            assert result["status"] == "done"
            assert len(bear.events_of("child_registered")) == 1
            is_remembered = moment != "before_write"
            assert result["duplicate"] is is_remembered

            await cloud.send("register_child", EMMA, command_id)
            _, duplicate = await cloud.results(command_id, 2)
            assert duplicate == {**result, "duplicate": True}
            assert len(bear.events_of("child_registered")) == 1


async def test_a_command_that_was_acknowledged_does_not_come_again(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with cloud_at(broker.port) as cloud:
        with Bear(tmp_path, broker.port) as bear:
            bear.start()
            bear.wait_until("broker.connected", value=True)
            command_id = await cloud.send("register_child", EMMA)
            await cloud.results(command_id)
            second = await cloud.send("register_child", EMMA)
            await cloud.results(second)
            bear.kill()
            bear.start()
            bear.wait_until("broker.connected", value=True)
            third = await cloud.send("register_child", EMMA)
            await cloud.results(third)
            assert len(await cloud.results(command_id)) == 1


@pytest.mark.parametrize(
    ("status", "data", "changes"),
    [
        ("done", EMMA, {"correlation_id": "signup-7"}),
        ("rejected", {}, {}),
        ("expired", EMMA, {"expires_at": "2020-01-01T10:00:00Z"}),
    ],
)
async def test_a_duplicate_gets_the_same_bytes_but_for_the_mark_also_after_a_restart(
    tmp_path: Path, broker: Mosquitto, status: str, data: dict[str, Any], changes: dict[str, Any]
) -> None:
    async with cloud_at(broker.port) as cloud:
        with Bear(tmp_path, broker.port) as bear:
            bear.start()
            bear.wait_until("broker.connected", value=True)
            command_id = await cloud.send("register_child", data, **changes)
            (result,) = await cloud.results(command_id)
            assert result["status"] == status
            await cloud.send("register_child", data, command_id, **changes)
            await cloud.results(command_id, 2)
            bear.kill()
            bear.start()
            await cloud.send("register_child", data, command_id, **changes)
            told = await cloud.on(lambda each: str(each.topic).endswith(command_id), 3)
    first, *others = [payload_of(each) for each in told if "/result/" in str(each.topic)]
    marked = first.replace(b'"duplicate":false', b'"duplicate":true')
    assert marked != first
    assert others
    assert set(others) == {marked}
