"""Every command ends, whatever the broker forgets: a real bear, a real broker, the cloud's end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.fleet.receiver import Receiver
from teddy_edge.fleet.sinks import SentCommand
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.messages import Result
from tests.acceptance.bear import EMMA, Bear
from tests.acceptance.cloud import PARENT, cloud_at
from tests.mqtt_link.linking import running, settings_for, until


@contextlib.asynccontextmanager
async def cloud_end(sink: SqliteSink, port: int) -> AsyncIterator[None]:
    link = Receiver(sink).link(settings_for(port))
    async with running(link):
        await until(lambda: link.connected)
        yield


def register(command_id: UUID, **changes: object) -> SentCommand:
    envelope = {
        "id": str(command_id),
        "name": "register_child",
        "actor": PARENT,
        "issued_at": "2020-01-01T10:00:00Z",
        "data": EMMA,
        **changes,
    }
    return SentCommand("bear-001", command_id, "register_child", json.dumps(envelope).encode())


async def result_of(sink: SqliteSink, command_id: UUID) -> Result:
    await until(lambda: sink.result("bear-001", command_id) is not None)
    result = sink.result("bear-001", command_id)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "done"),
        ({"expires_at": "2020-01-01T10:00:00Z"}, "expired"),
        ({"name": "register_child", "data": {}}, "rejected"),
    ],
)
async def test_a_command_that_the_broker_forgot_ends_once_the_bear_is_there(
    tmp_path: Path, broker: Mosquitto, changes: dict[str, object], status: str
) -> None:
    command_id = uuid4()
    with contextlib.closing(SqliteSink(tmp_path / "fleet.db")) as sink:
        sink.keep_command(register(command_id, **changes), 1)
        async with cloud_end(sink, broker.port):
            with Bear(tmp_path, broker.port) as bear:
                await asyncio.to_thread(bear.start)
                result = await result_of(sink, command_id)
                assert result.status == status


async def test_a_bear_that_comes_back_asks_for_what_was_forgotten(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """It was heard before on this connection: only what it says itself brings the command."""
    with (
        contextlib.closing(SqliteSink(tmp_path / "fleet.db")) as sink,
        Bear(tmp_path, broker.port) as bear,
    ):
        first, second = uuid4(), uuid4()
        sink.keep_command(register(first), 1)
        async with cloud_end(sink, broker.port):
            await asyncio.to_thread(bear.start)
            await result_of(sink, first)
            sink.keep_command(register(second), 2)
            bear.kill()
            await asyncio.to_thread(bear.start)
            assert (await result_of(sink, second)).status == "rejected", "she is registered"


async def test_a_result_that_the_broker_forgot_comes_again_and_there_is_one_effect(
    tmp_path: Path, broker: Mosquitto
) -> None:
    command_id = uuid4()
    with (
        contextlib.closing(SqliteSink(tmp_path / "fleet.db")) as sink,
        Bear(tmp_path, broker.port) as bear,
    ):
        await asyncio.to_thread(bear.start)
        await asyncio.to_thread(bear.wait_until, "broker.connected", True)
        command = register(command_id)
        sink.keep_command(command, 1)
        async with cloud_at(broker.port) as wire:  # the result comes while no cloud's end is there
            await wire.publish("teddy/v1/bear-001/command/register_child", command.payload)
            await wire.results(str(command_id))
        assert sink.result("bear-001", command_id) is None
        async with cloud_end(sink, broker.port):  # may ask at once, or only after the restart
            broker.kill()
            await asyncio.to_thread(broker.start)
            result = await result_of(sink, command_id)
            assert (result.status, result.duplicate) == ("done", True)
        assert len(bear.events_of("child_registered")) == 1
