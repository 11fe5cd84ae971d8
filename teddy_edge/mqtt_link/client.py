"""What aiomqtt and paho are told, and what their messages become."""

from __future__ import annotations

import logging
import socket
import ssl
from dataclasses import dataclass
from typing import Any, Final

import aiomqtt
from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from teddy_edge.errors import LinkLost
from teddy_edge.mqtt_link.subscription import Incoming, Subscription
from teddy_edge.settings import BrokerSettings

DISCONNECT_WITH_WILL: Final = 4
CONTENT_TYPE: Final = 3
CORRELATION_DATA: Final = 9


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained, when we are gone."""

    topic: str
    payload: bytes


def new_client(settings: BrokerSettings, client_id: str, will: Will | None) -> aiomqtt.Client:
    """Make the client of one connection. Raises `LinkLost` where a TLS file cannot be read."""
    return aiomqtt.Client(
        settings.host,
        settings.port,
        username=settings.username,
        password=None if settings.password is None else settings.password.get_secret_value(),
        logger=logging.Logger("paho", logging.CRITICAL),  # what it would log, we raise
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        will=None if will is None else aiomqtt.Will(will.topic, will.payload, qos=1, retain=True),
        timeout=settings.timeout_s,
        keepalive=settings.keepalive_s,
        clean_start=False,
        max_inflight_messages=0,  # no limit but the connection's, which heeds the broker's as well
        properties=_properties(
            PacketTypes.CONNECT,
            SessionExpiryInterval=settings.session_expiry_s,
            ReceiveMaximum=settings.receive_maximum,
            MaximumPacketSize=settings.packet_bytes_max,
        ),
        tls_context=_tls_context(settings) if settings.tls else None,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )


def _tls_context(settings: BrokerSettings) -> ssl.SSLContext:
    """Read the files anew for each connection, so that a renewed certificate is taken up."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.certificate_file is not None:
            context.load_cert_chain(settings.certificate_file, settings.key_file)
    except OSError as error:
        keys = "broker.ca_file, broker.certificate_file or broker.key_file"
        raise LinkLost(f"cannot use {keys}: {error}") from error
    return context


def could_not_connect(settings: BrokerSettings, reason: str) -> LinkLost:
    """Say so, with the cause that TLS 1.3 tells only after it seemed to have connected."""
    hint = ""
    if settings.tls and settings.certificate_file is None:
        hint = (
            " (if the broker wants a client certificate: "
            "broker.certificate_file and broker.key_file are not set)"
        )
    return LinkLost(f"cannot connect to {settings.host}:{settings.port}: {reason}{hint}")


def subscribe_options(each: Subscription) -> SubscribeOptions:
    """Keep the retain flag as the sender set it: a retained command must be seen to be one."""
    handling = (
        SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
        if each.retained_once
        else SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
    )
    return SubscribeOptions(
        qos=each.qos, noLocal=each.no_local, retainAsPublished=True, retainHandling=handling
    )


class PackedProperties(Properties):
    """Properties as they stand in the packet. paho's own are packed anew for each look at them."""

    def __init__(self, packed: bytes) -> None:
        object.__setattr__(self, "_packed", packed)

    def pack(self) -> bytes:
        """Give the bytes."""
        packed: bytes = object.__getattribute__(self, "_packed")
        return packed


def publish_properties(
    correlation_data: bytes | None, content_type: str | None
) -> PackedProperties | None:
    """What goes with a message, where anything does (MQTT 5, 2.2.2 and 3.3.2.3)."""
    content = b""
    if content_type is not None:
        content += _property(CONTENT_TYPE, content_type.encode())
    if correlation_data is not None:
        content += _property(CORRELATION_DATA, correlation_data)
    if not content:
        return None
    length = VariableByteIntegers.encode(len(content))  # type: ignore[no-untyped-call]
    return PackedProperties(length + content)


def _property(identifier: int, value: bytes) -> bytes:
    return bytes([identifier]) + len(value).to_bytes(2, "big") + value


def packet_bytes(topic: str, payload: bytes, properties: PackedProperties | None) -> int:
    """What a PUBLISH takes on the wire, at most 3 bytes less."""
    packed = b"\0" if properties is None else properties.pack()
    return 5 + 2 + len(topic.encode()) + 2 + len(packed) + len(payload)


def goodbye() -> ReasonCode:
    """The reason code of a clean stop, with which the broker still publishes the will."""
    return ReasonCode(PacketTypes.DISCONNECT, identifier=DISCONNECT_WITH_WILL)


def _properties(packet_type: int, **values: Any) -> Properties:
    properties = Properties(packet_type)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        if value is not None:
            setattr(properties, name, value)
    return properties


def incoming(message: MQTTMessage) -> Incoming:
    """Make our own of paho's message."""
    properties = message.properties
    return Incoming(
        topic=_topic(message),
        payload=bytes(message.payload),
        qos=message.qos,
        retain=message.retain,
        response_topic=getattr(properties, "ResponseTopic", None),
        correlation_data=getattr(properties, "CorrelationData", None),
        content_type=getattr(properties, "ContentType", None),
    )


def _topic(message: MQTTMessage) -> str:
    try:
        return message.topic
    except UnicodeDecodeError:
        return message._topic.decode(errors="replace")
