"""The broker that the tests rest on."""

from __future__ import annotations

from pathlib import Path

import aiomqtt
import pytest

from teddy_edge.errors import BrokerUnavailable
from teddy_edge.fleet.broker import Mosquitto, Persistence, find_mosquitto
from tests.mqtt_link.linking import until


async def retain(broker: Mosquitto) -> None:
    async with aiomqtt.Client(broker.host, broker.port) as client:
        for topic in ("kept", "kept/too"):
            await client.publish(topic, b"value", qos=1, retain=True)


async def retained(broker: Mosquitto) -> bool:
    """Tell whether the broker still has what `retain` left; a marker comes after it."""
    async with aiomqtt.Client(broker.host, broker.port) as client:
        await client.subscribe("kept")
        await client.subscribe("marker")
        await client.publish("marker")
        message = await anext(client.messages)
    return str(message.topic) == "kept"


@pytest.mark.parametrize(
    ("persistence", "end", "kept"),
    [
        (Persistence(), "stop", True),
        (Persistence(), "kill", False),
        (Persistence(interval=1, on_changes=True), "kill", True),
        (None, "stop", False),
    ],
)
async def test_what_survives_the_end_of_the_broker_is_as_asked(
    tmp_path: Path, persistence: Persistence | None, end: str, kept: bool
) -> None:
    with Mosquitto(tmp_path / "broker", persistence=persistence) as broker:
        await retain(broker)
        if persistence is not None and persistence.on_changes:
            await until((tmp_path / "broker/mosquitto.db").exists)
        port = broker.port
        broker.stop() if end == "stop" else broker.kill()
        assert broker.pid is None
        broker.start()
        assert broker.port == port
        assert await retained(broker) is kept


def test_a_port_that_is_taken_is_named(tmp_path: Path, broker: Mosquitto) -> None:
    with pytest.raises(BrokerUnavailable, match=f"port {broker.port} is taken"):
        Mosquitto(tmp_path / "second", port=broker.port).start()


def test_a_broker_that_does_not_start_says_what_it_logged(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match="Unknown configuration variable"):
        Mosquitto(tmp_path / "broker", lines=["no_such_option 1"]).start()


def test_another_process_can_take_a_broker_over(tmp_path: Path, broker: Mosquitto) -> None:
    other = Mosquitto(broker.config_file.parent, port=broker.port)
    assert other.pid == broker.pid
    other.stop()
    assert broker.pid is None


def test_a_machine_without_mosquitto_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(BrokerUnavailable, match="apt-get install mosquitto"):
        find_mosquitto()
