"""A real daemon starts from its checkpoint, and knows what it knew before it was killed."""

from __future__ import annotations

import json
import time
from pathlib import Path

from teddy_edge.fleet.broker import Mosquitto
from tests.acceptance.bear import EMMA, START_S_MAX, Bear
from tests.acceptance.cloud import cloud_at


def read_from(bear: Bear) -> list[int]:
    """Behind which record each start began to read the log."""
    lines = [json.loads(line) for line in bear.log_file.read_text().splitlines()]
    return [line["after_seq"] for line in lines if line["message"] == "the log is read"]


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} is not written"
        time.sleep(0.02)


async def test_a_start_from_a_checkpoint_knows_every_end_and_every_child(
    tmp_path: Path, broker: Mosquitto
) -> None:
    settings = {
        "TEDDY_EDGE_BUTTONS__DEBOUNCE_S": "0",
        "TEDDY_EDGE_COMMANDS__CHECKPOINT_RECORDS": "100",
    }
    async with cloud_at(broker.port) as cloud:
        with Bear(tmp_path, broker.port, **settings) as bear:
            bear.start()
            bear.wait_until("broker.connected", value=True)
            command_id = await cloud.send("register_child", EMMA)
            (first,) = await cloud.results(command_id)
            for _ in range(60):
                assert bear.client.press("belly").ok
            bear.kill()
            bear.start()
            wait_for(bear.data_directory / "checkpoint")
            bear.kill()
            bear.start()
            bear.wait_until("broker.connected", value=True)

            begun_at = read_from(bear)
            assert begun_at[:2] == [0, 0]
            assert begun_at[2] > 100
            await cloud.send("register_child", EMMA, command_id)
            _, duplicate = await cloud.results(command_id, 2)
            assert duplicate == {**first, "duplicate": True}
            other_id = await cloud.send("register_child", EMMA)
            (refused,) = await cloud.results(other_id)
            assert refused["error"]["code"] == "already_registered"
            assert len(bear.events_of("button_pressed")) == 60
