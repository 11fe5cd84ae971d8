"""TLS, with a broker that asks for a client certificate."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.mqtt_link import MqttLink
from teddy_edge.mqtt_link.buffered_socket import BufferedSocket
from teddy_edge.mqtt_link.connection import OneConnection
from tests.mqtt_link.linking import TIMEOUT_S, running, settings_for, until

CERTIFICATES = Path(__file__).with_name("certificates")
TRUST = {"tls": True, "ca_file": CERTIFICATES / "ca.crt"}
OURS = {
    "certificate_file": CERTIFICATES / "client.crt",
    "key_file": CERTIFICATES / "client.key",
}


# paho leaves the socket of a failed handshake to the garbage collection
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def garbage_is_collected_here() -> Iterator[None]:
    """Else it is while another test runs, which then fails for it."""
    yield
    gc.collect()


@pytest.fixture
def tls_broker(tmp_path: Path) -> Mosquitto:
    """A broker that talks TLS 1.3 to clients with our authority's certificate."""
    lines = [
        f"cafile {CERTIFICATES / 'ca.crt'}",
        f"certfile {CERTIFICATES / 'server.crt'}",
        f"keyfile {CERTIFICATES / 'server.key'}",
        "require_certificate true",
    ]
    return Mosquitto(tmp_path / "broker", lines=lines)


def link_to(port: int, **changes: object) -> MqttLink:
    return MqttLink(settings_for(port, **changes), "bear", subscriptions=[], sessions={})


async def test_a_client_with_a_certificate_connects(tls_broker: Mosquitto) -> None:
    with tls_broker:
        link = link_to(tls_broker.port, **TRUST, **OURS)
        async with running(link):
            await until(lambda: link.connected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (TRUST, "broker.certificate_file and broker.key_file are not set"),
        ({"tls": True, **OURS}, "certificate verify failed"),
        ({**TRUST, **OURS, "key_file": Path("/nowhere")}, "cannot use broker.ca_file"),
    ],
)
async def test_a_client_that_cannot_connect_says_what_to_set(
    tls_broker: Mosquitto,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, object],
    said: str,
) -> None:
    with tls_broker, caplog.at_level(logging.WARNING):
        link = link_to(tls_broker.port, **changes)
        async with running(link):
            await until(lambda: said in caplog.text)
            assert not link.connected


class WritesFirst(BufferedSocket):
    """As TLS in a renegotiation with a full socket: one read waits until something is written."""

    is_waiting = True

    def recv(self, bytes_max: int) -> bytes:
        if self.is_waiting:
            self.is_waiting = False
            raise ssl.SSLWantWriteError
        return super().recv(bytes_max)


async def test_what_is_sent_goes_on_after_a_read_that_had_to_write_first(
    broker: Mosquitto,
) -> None:
    connection = OneConnection(settings_for(broker.port), "bear", None, lambda _: None)
    try:
        await connection.open()
        sock = connection._paho.socket()
        assert sock is not None
        connection._paho._sock = WritesFirst(sock)
        async with asyncio.timeout(TIMEOUT_S):
            await connection.publish("from/bear", b"its answer is that read")
            await connection.publish("from/bear", b"")
    finally:
        connection.close()
