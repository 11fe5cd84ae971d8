"""A broker that sends too much, or what it may not send."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import aiomqtt
import pytest

from teddy_edge.errors import LinkLost, LinkRefused
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.mqtt_link import Connection, Incoming, MqttLink, Subscription
from teddy_edge.mqtt_link.buffered_socket import BufferedSocket
from teddy_edge.mqtt_link.connection import Delivery, OneConnection
from tests.mqtt_link.linking import TIMEOUT_S, running, settings_for, until
from tests.mqtt_link.peers import RawBroker, publish_packet

WINDOW = 5
HELD_BYTES_MAX = 1_000_000
CERTIFICATES = Path(__file__).with_name("certificates")


async def handle(_connection: Connection, _message: Incoming) -> None:
    """Take what comes."""


class Held:
    """Takes what a connection delivers and lets nothing go."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    @property
    def held_bytes(self) -> int:
        return sum(each.held_bytes for each in self.deliveries)


def connect(raw: RawBroker, held: Held, **changes: object) -> OneConnection:
    settings = settings_for(raw.port, **{"receive_maximum": WINDOW, **changes})
    return OneConnection(settings, "bear", None, held)


def flood(count: int, payload_bytes: int) -> list[bytes]:
    """Make as many messages, whatever the window is."""
    return [publish_packet(b"to/bear", bytes(payload_bytes), 1 + n) for n in range(count)]


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "server.crt", CERTIFICATES / "server.key")
    return context


@pytest.mark.parametrize("tls", [False, True])
async def test_what_exceeds_the_window_is_not_read_until_there_is_room(*, tls: bool) -> None:
    """Over TLS many messages are decrypted at once, and the socket shows nothing of them."""
    held = Held()
    raw_broker = RawBroker(sends=flood(200, 50))
    async with raw_broker.serving(server_context() if tls else None) as raw:
        connection = connect(raw, held, tls=tls, ca_file=CERTIFICATES / "ca.crt")
        try:
            await connection.open()
            await connection.subscribe([Subscription("to/bear", handle)])
            await until(lambda: len(held.deliveries) == WINDOW)
            await asyncio.sleep(0.2)
            assert len(held.deliveries) == WINDOW
            released = 0
            while released < 200:
                await until(lambda: len(held.deliveries) > released)  # noqa: B023
                held.deliveries[released].let_go()
                released += 1
                assert len(held.deliveries) - released <= WINDOW
        finally:
            connection.close()


async def test_an_awaited_acknowledgement_is_read_although_the_window_is_full() -> None:
    held = Held()
    async with RawBroker(sends=flood(50, 10)).serving() as raw:
        connection = connect(raw, held)
        try:
            await connection.open()
            await connection.subscribe([Subscription("to/bear", handle)])
            await until(lambda: len(held.deliveries) >= WINDOW)
            await asyncio.wait_for(connection.publish("from/bear", b""), TIMEOUT_S)
        finally:
            connection.close()


@pytest.mark.parametrize(("count", "payload_bytes"), [(200, 60_000), (10_000, 0)])
async def test_a_flood_is_cut_off_at_the_limit_and_left_to_the_next_connection(
    count: int, payload_bytes: int
) -> None:
    """Even while an answer is awaited that never comes."""
    held = Held()
    raw_broker = RawBroker(sends=flood(count, payload_bytes), answers_publish=False)
    async with raw_broker.serving() as raw:
        connection = connect(raw, held, held_bytes_max=HELD_BYTES_MAX)
        try:
            await connection.open()
            publishing = asyncio.create_task(connection.publish("from/bear", b""))
            await connection.subscribe([Subscription("to/bear", handle)])
            await until(lambda: held.held_bytes > HELD_BYTES_MAX - 62_000)
            ending = asyncio.create_task(connection.until_it_ends())
            await asyncio.sleep(0.1)
            assert held.held_bytes <= HELD_BYTES_MAX
            for delivery in held.deliveries:
                assert not ending.done()
                delivery.let_go()
            with pytest.raises(LinkLost, match="more than it may"):
                await asyncio.wait_for(ending, TIMEOUT_S)
            with pytest.raises(LinkLost):
                await asyncio.wait_for(publishing, TIMEOUT_S)
        finally:
            connection.close()


@pytest.mark.parametrize(("ours", "theirs"), [(2, 65535), (64, 2)])
async def test_no_more_publishes_are_in_flight_than_both_sides_allow(
    ours: int, theirs: int
) -> None:
    raw_broker = RawBroker(receive_maximum=theirs, answers_publish=False)
    async with raw_broker.serving() as raw:
        connection = connect(raw, Held(), receive_maximum=ours)
        try:
            await connection.open()
            publishing = [
                asyncio.create_task(connection.publish("from/bear", b"")) for _ in range(10)
            ]
            await until(lambda: raw.published >= 2)
            await asyncio.sleep(0.1)
            assert raw.published == 2
        finally:
            connection.close()
        ends = await asyncio.gather(*publishing, return_exceptions=True)
        assert all(isinstance(end, LinkLost) for end in ends)


async def test_small_packets_do_not_wait_for_more() -> None:
    """Without TCP_NODELAY an acknowledgement waits 40 ms for the other side's."""
    async with RawBroker().serving() as raw:
        connection = connect(raw, Held())
        try:
            await connection.open()
            opened = connection._paho.socket()
            assert isinstance(opened, BufferedSocket)
            assert isinstance(opened.inner, socket.socket)
            assert opened.inner.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        finally:
            connection.close()


async def test_a_topic_that_is_not_utf8_reaches_the_handler_marked() -> None:
    topics: list[str] = []

    async def take(_: Connection, message: Incoming) -> None:
        topics.append(message.topic)

    sends = [publish_packet(b"to/\xff/bear", b"", 1), publish_packet(b"to/the/bear", b"", 2)]
    async with RawBroker(sends=sends).serving() as raw:
        link = MqttLink(
            settings_for(raw.port),
            "bear",
            subscriptions=[Subscription("to/+/bear", take)],
            sessions={},
        )
        async with running(link):
            await until(lambda: raw.acknowledged == [1, 2])
        assert raw.connections == 1
    assert topics == ["to/\ufffd/bear", "to/the/bear"]


async def test_bytes_that_are_not_mqtt_end_the_connection_and_not_the_link() -> None:
    async def take(*_: object) -> None:
        return

    async with RawBroker(sends=[b"\xf0\x00\xff\xff\xff\xff\xff\xff"]).serving() as raw:
        link = MqttLink(
            settings_for(raw.port), "bear", subscriptions=[Subscription("#", take)], sessions={}
        )
        async with running(link):
            await until(lambda: raw.connections >= 3)


@pytest.mark.parametrize(
    "torn",
    [
        b"\x32\x02\xff\xff",
        b"\x32\x00",
        b"\x40\x00",
        b"\x90\x01\x00",
        b"\x32\x06\x00\x01t\x00\x01\x7f",
    ],
)
async def test_a_torn_packet_ends_the_connection_and_not_the_link(torn: bytes) -> None:
    async def take(*_: object) -> None:
        return

    async with RawBroker(sends=[torn]).serving() as raw:
        link = MqttLink(
            settings_for(raw.port), "bear", subscriptions=[Subscription("#", take)], sessions={}
        )
        async with running(link):
            await until(lambda: raw.connections >= 3)


async def test_a_message_over_the_packet_limit_stays_away_and_others_come(
    broker: Mosquitto, other: aiomqtt.Client
) -> None:
    taken: list[int] = []

    async def take(_: Connection, message: Incoming) -> None:
        taken.append(len(message.payload))

    link = MqttLink(
        settings_for(broker.port),
        "bear",
        subscriptions=[Subscription("to/bear", take)],
        sessions={},
    )
    async with running(link):
        await until(lambda: link.connected)
        for payload_bytes in (1, 2 * 1024 * 1024, 3):
            await other.publish("to/bear", bytes(payload_bytes), qos=1)
        await until(lambda: len(taken) >= 2)
    assert taken == [1, 3]


async def test_a_flood_that_is_handled_lengthens_no_wait(caplog: pytest.LogCaptureFixture) -> None:
    """A back-off of an hour would be seen."""

    async def take(*_: object) -> None:
        for _turn in range(1000):  # of the loop: meanwhile all that was sent is read
            await asyncio.sleep(0)

    async with RawBroker(sends=flood(100, 30_000)).serving() as raw:
        link = MqttLink(
            settings_for(
                raw.port,
                receive_maximum=100,
                held_bytes_max=1_000_000,
                backoff_s_min=60.0,
                backoff_s_max=3600.0,
            ),
            "bear",
            subscriptions=[Subscription("to/bear", take)],
            sessions={},
        )
        async with running(link):
            await until(lambda: raw.connections >= 4)
    assert "more than it may" in caplog.text


async def test_a_publish_that_the_broker_does_not_take_is_refused_and_the_connection_stays(
    tmp_path: Path,
) -> None:
    with Mosquitto(tmp_path / "small", lines=["max_packet_size 2000"]) as small:
        connection = OneConnection(settings_for(small.port), "bear", None, Held())
        try:
            await connection.open()
            with pytest.raises(LinkRefused, match="over its limit of 2000"):
                await connection.publish("from/bear", bytes(2000))
            await connection.publish("from/bear", bytes(2000 - 5 - 2 - 9 - 2 - 1))
        finally:
            connection.close()
