"""One connection to the broker, from CONNECT to its end.

aiomqtt opens it, waits for CONNACK and SUBACK, and keeps paho's socket in the event loop. The
callbacks that read, and that hear of messages, acknowledgements and the end, are ours: aiomqtt's
drop the reason codes, cannot stop reading, and end the connection on a topic that is not UTF-8.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal

import aiomqtt
from paho.mqtt.client import (
    MQTT_ERR_SUCCESS,
    MQTT_LOG_ERR,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
)
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from teddy_edge.errors import LinkError, LinkLost, LinkOverrun, LinkRefused, PacketTooLarge
from teddy_edge.mqtt_link.answers import Answers
from teddy_edge.mqtt_link.buffered_socket import BufferedSocket, has_unread
from teddy_edge.mqtt_link.client import (
    Will,
    could_not_connect,
    goodbye,
    incoming,
    new_client,
    packet_bytes,
    publish_properties,
    subscribe_options,
)
from teddy_edge.mqtt_link.room import Room, held_bytes
from teddy_edge.mqtt_link.subscription import Incoming, Subscription
from teddy_edge.settings import BrokerSettings

logger = logging.getLogger("teddy_edge.mqtt_link")

RECEIVE_MAXIMUM_UNSET: Final = 65535
PACKET_BYTES_MAX_UNSET: Final = 2**28


class Delivery:
    """A message together with the connection that it came on."""

    def __init__(self, connection: OneConnection, message: MQTTMessage) -> None:
        self._connection = connection
        self._packet_id = message.mid
        self.incoming: Incoming = incoming(message)
        self.held_bytes = held_bytes(message)

    def acknowledge(self) -> None:
        """Send the PUBACK; without effect where the connection has ended."""
        self._connection.acknowledge(self._packet_id, self.incoming.qos)

    def let_go(self) -> None:
        """Make room for another message."""
        self._connection.let_go(self.held_bytes)


class OneConnection:
    """Connects once. `deliver` gets each message, and must not do more than put it in a queue."""

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        will: Will | None,
        deliver: Callable[[Delivery], None],
    ) -> None:
        self.session_present = False
        self._settings = settings
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[LinkError] = self._loop.create_future()
        self._accepted = False
        self._closed = False
        self._network_error = ""
        self._reading = False
        self._room = Room(settings)
        self._packet_bytes_max = PACKET_BYTES_MAX_UNSET
        self._answers_awaited = 0
        self._answers = Answers(settings.timeout_s)
        self._window = asyncio.Semaphore(settings.receive_maximum)
        self._client = new_client(settings, client_id, will)
        self._paho = self._client._client
        self._take_over_callbacks()

    def _take_over_callbacks(self) -> None:
        self._paho.manual_ack_set(True)
        self._paho.connect_timeout = self._settings.timeout_s
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_message = self._on_message
        self._paho.on_publish = self._on_publish
        self._paho_takes_puback = self._paho._handle_pubackcomp
        self._paho._handle_pubackcomp = self._on_puback  # type: ignore[method-assign, assignment]
        self._paho.on_log = self._on_log
        self._paho.on_socket_open = self._on_socket_open
        self._paho.on_socket_register_write = self._on_socket_register_write

    async def open(self) -> None:
        """Connect and wait for the CONNACK."""
        entering = asyncio.ensure_future(self._client.__aenter__())
        try:
            await asyncio.wait((entering, self._ended), return_when=asyncio.FIRST_COMPLETED)
            failure = entering.exception() if entering.done() else self._ended.result()
        finally:
            entering.cancel()
            self._paho.on_log = None  # else paho formats a line for every packet
        if isinstance(failure, aiomqtt.MqttError | ValueError):  # a host that is no name, too
            failure = could_not_connect(self._settings, str(failure))
        if failure is not None:
            raise failure
        if (sock := self._paho.socket()) is not None:
            self._paho._sock = BufferedSocket(sock)

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Subscribe; a refusal of what may not be refused is `LinkRefused`."""
        wanted = [(each.topic_filter, subscribe_options(each)) for each in subscriptions]
        if not wanted:
            return
        with self._awaiting_an_answer():
            asking = asyncio.ensure_future(self._client.subscribe(wanted, timeout=math.inf))
            try:
                codes = await self._answers.in_time(asking, "our subscriptions")
            except aiomqtt.MqttError as error:
                raise LinkLost(f"no answer to our subscriptions: {error}") from error
            finally:
                asking.cancel()
        for each, code in zip(subscriptions, codes, strict=True):
            if isinstance(code, ReasonCode) and code.is_failure:
                refused = LinkRefused("subscribe to", each.topic_filter, str(code))
                if not each.may_be_refused:
                    raise refused
                logger.warning("%s", refused)

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        correlation_data: bytes | None = None,
        content_type: str | None = None,
    ) -> None:
        """Publish and wait for the PUBACK; with QoS 0, until it is written."""
        properties = publish_properties(correlation_data, content_type)
        if (size := packet_bytes(topic, payload, properties)) > self._packet_bytes_max:
            raise PacketTooLarge(topic, size, self._packet_bytes_max)
        async with self._window:
            with self._awaiting_an_answer():
                info = self._paho.publish(topic, payload, qos, retain, properties)
                if info.rc != MQTT_ERR_SUCCESS:
                    raise self._ended.result() if self._ended.done() else LinkLost("not connected")
                await self._answers.acknowledgement(info.mid, topic, size)

    def acknowledge(self, packet_id: int, qos: int) -> None:
        """Send the PUBACK for a message of this connection."""
        self._paho.ack(packet_id, qos)

    def let_go(self, held_bytes: int) -> None:
        """Count a message as done."""
        self._room.let_go(held_bytes)
        if self._room.is_drained:
            self._end(LinkOverrun("the broker sent more than it may; the rest comes anew"))
        self._read_or_pause()

    async def until_it_ends(self) -> None:
        """Wait for the end and raise its reason."""
        raise await self._ended

    async def watch(self) -> None:
        """Ping every half keepalive; raise after 1.25 to 1.5 keepalives without an answer."""
        ours_s = self._settings.keepalive_s
        keepalive_s = min(self._paho.keepalive or ours_s, ours_s)  # the broker may have set another
        while True:
            for _ in range(2):
                await asyncio.sleep(keepalive_s / 4)
                silent_s = time.monotonic() - self._answers.heard_at
                if self._reading and silent_s > 1.25 * keepalive_s:
                    raise LinkLost(f"the broker was silent for {silent_s:.1f} s")
            self._paho._send_pingreq()  # paho's own timer takes two keepalives, and cannot pause

    def close(self) -> None:
        """Say goodbye if the connection still stands, and close the socket."""
        self._end(LinkLost("the link was closed"))
        self._closed = True
        if self._accepted and self._paho.socket() is not None:
            self._paho.disconnect(reasoncode=goodbye())
            self._paho.loop_write()
        self._paho._sock_close()  # disconnect() leaves it open where it cannot write

    def _end(self, error: LinkError) -> None:
        if not self._ended.done():
            self._ended.set_result(error)
        self._answers.fail(error)

    @contextlib.contextmanager
    def _awaiting_an_answer(self) -> Iterator[None]:
        self._answers_awaited += 1
        self._read_or_pause()
        try:
            yield
        finally:
            self._answers_awaited -= 1
            self._read_or_pause()

    def _read_or_pause(self) -> None:
        sock = self._paho.socket()
        full = self._room.is_full and self._answers_awaited == 0
        if sock is None or full is not self._reading:
            return
        self._reading = not full
        if full:
            self._loop.remove_reader(sock)
        else:
            self._answers.hear()
            self._loop.add_reader(sock, self._read)
            self._loop.call_soon(self._read)  # bytes may be there that the system does not show

    def _read(self) -> None:
        if not self._reading:
            return
        self._answers.hear()
        try:
            self._paho.loop_read()
        except (ValueError, LookupError, TypeError, struct.error) as error:
            self._end(LinkLost(f"the broker sent what is not MQTT 5: {error}"))
        if has_unread(self._paho.socket()):
            self._loop.call_soon(self._read)

    def _start_reading(self) -> None:
        if self._closed:  # opened by a thread that nobody waits for any more
            self._paho._sock_close()
        self._read_or_pause()

    def _write(self) -> None:
        self._paho.loop_write()  # with nothing to write, too, else paho never asks again
        if self._paho.want_write() and (sock := self._paho.socket()) is not None:
            self._loop.add_writer(sock, self._paho.loop_write)  # until all is written

    # paho calls these two on the thread that connects, until it has; all else on the event loop.

    def _on_socket_open(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._start_reading)

    def _on_socket_register_write(self, *_: object) -> None:
        on_the_loop = self._loop.call_soon if self._accepted else self._loop.call_soon_threadsafe
        on_the_loop(self._write)

    def _on_log(self, _client: object, _data: object, level: int, line: str) -> None:
        if level == MQTT_LOG_ERR:
            self._network_error = line

    def _on_connect(
        self,
        client: Any,
        data: Any,
        flags: ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if code.is_failure:
            place = f"{self._settings.host}:{self._settings.port}"
            self._end(LinkRefused("connect to", place, str(code)))
            return
        self._accepted = True
        self.session_present = flags.session_present
        theirs = getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM_UNSET)
        self._window = asyncio.Semaphore(min(self._settings.receive_maximum, theirs))
        self._packet_bytes_max = getattr(properties, "MaximumPacketSize", PACKET_BYTES_MAX_UNSET)
        self._client._on_connect(client, data, flags, code, properties)

    def _on_disconnect(
        self, _client: object, _data: object, flags: DisconnectFlags, code: ReasonCode, *_: object
    ) -> None:
        if not self._accepted:
            self._end(could_not_connect(self._settings, self._network_error or str(code)))
        elif flags.is_disconnect_packet_from_server:
            self._end(LinkLost(f"the broker ended the connection: {code}"))
        else:
            self._end(LinkLost("the connection to the broker was lost"))

    def _on_puback(self, kind: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        self._paho._in_packet["packet"] = self._answers.readable(self._paho._in_packet["packet"])
        return self._paho_takes_puback(kind)

    def _on_publish(
        self, _client: object, _data: object, packet_id: int, code: ReasonCode, *_: object
    ) -> None:
        self._answers.take(packet_id, code)

    def _on_message(self, _client: object, _data: object, message: MQTTMessage) -> None:
        if self._room.take(message):
            self._deliver(Delivery(self, message))
            self._read_or_pause()
