"""Bears as light as can be, a thousand to a process: they speak the protocol, and have no daemon.

What they send are the logs of `batches`; how long they wait after a lost connection is drawn by the
daemon's own `Backoff`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from teddy_edge.backoff import Backoff
from teddy_edge.sync.signals import Confirmation, Pending, decode_signal, encode_signal
from teddy_edge.sync.wire import encode_batch
from teddy_edge.topics import Topics
from tests.fleet.batches import SmallLog
from tests.mqtt_link.peers import (
    CONNACK,
    CONNECT,
    PUBACK,
    PUBLISH,
    SUBSCRIBE,
    packet,
    publish_packet,
    read_packet,
)

BATCH_RECORDS = 10
CONFIRM_TIMEOUT_S = 30.0
"""What the cloud has not confirmed for so long is sent again."""
SESSION_EXPIRY = b"\x11" + (3600).to_bytes(4, "big")
RECEIVE_MAXIMUM = b"\x21" + (20).to_bytes(2, "big")
PACKET_IDS = 60_000


class LightBear:
    """One bear. Of its log it has come as far as `last_seq` says."""

    def __init__(self, name: str, port: int, log: SmallLog, backoff: Backoff) -> None:
        self.topics = Topics(name)
        self.log = log
        self.last_seq = 0
        self.due_at_s: list[float] = []
        """When it was to connect again, on the loop's clock; a busy machine may be late for it."""
        self._port = port
        self._backoff = backoff
        self._confirmed_seq = 0
        self._sent_seq = 0
        self._packet_id = 0
        self._writer: asyncio.StreamWriter | None = None
        self._resend: asyncio.TimerHandle | None = None
        self._all_confirmed = asyncio.Event()

    async def run(self) -> None:
        """Keep a connection, for ever."""
        while True:
            began_s = asyncio.get_running_loop().time()
            try:
                await self._serve_one_connection()
            except (OSError, asyncio.IncompleteReadError):
                ended_s = asyncio.get_running_loop().time()
                wait_s = self._backoff.next_s(ended_s - began_s)
                self.due_at_s.append(ended_s + wait_s)
                await asyncio.sleep(wait_s)

    def record(self, last_seq: int) -> None:
        """Have events up to a number happen."""
        self.last_seq = last_seq
        self._all_confirmed.clear()
        self._send_on()

    async def until_all_confirmed(self) -> None:
        """Wait until the cloud has confirmed all that happened."""
        await self._all_confirmed.wait()

    async def _serve_one_connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(_connect(f"teddy-{self.topics.bear}"))
            kind, body = await read_packet(reader)
            assert (kind, body[1]) == (CONNACK, 0), "the broker refuses a bear"
            self._greet(writer)
            while True:
                kind, body = await read_packet(reader)
                if kind == PUBLISH:
                    self._take(writer, body)
        finally:
            self._writer = None
            writer.transport.abort()

    def _greet(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        writer.write(_subscribe(self.topics.confirmed))
        birth = {"online": True, "epoch": str(self.log.epoch), "last_seq": self.last_seq}
        self._publish(self.topics.status, json.dumps(birth).encode())
        pending = Pending(epoch=self.log.epoch, last_seq=self.last_seq)
        self._publish(self.topics.pending, encode_signal(pending))
        self._send_again()

    def _take(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        """Acknowledge a confirmation, and send what comes behind it."""
        topic_end = 2 + int.from_bytes(body[:2], "big")
        writer.write(packet(PUBACK, body[topic_end : topic_end + 2]))
        payload = body[topic_end + 3 + body[topic_end + 2] :]
        confirmation = decode_signal(Confirmation, payload)
        assert confirmation.epoch == self.log.epoch
        self._confirmed_seq = max(self._confirmed_seq, confirmation.seq)
        self._sent_seq = max(self._sent_seq, self._confirmed_seq)
        self._send_on()

    def _send_again(self) -> None:
        self._sent_seq = self._confirmed_seq
        self._send_on()

    def _send_on(self) -> None:
        """Send the next batch, where the one before it is confirmed."""
        if self._confirmed_seq == self.last_seq:
            self._all_confirmed.set()
        elif self._writer is not None and self._sent_seq == self._confirmed_seq:
            first_seq = self._sent_seq + 1
            self._sent_seq = min(self._sent_seq + BATCH_RECORDS, self.last_seq)
            batch = self.log.batch(first_seq, self._sent_seq)
            self._publish(self.topics.events, encode_batch(batch))
            self._await_confirmation()

    def _await_confirmation(self) -> None:
        if self._resend is not None:
            self._resend.cancel()
        loop = asyncio.get_running_loop()
        self._resend = loop.call_later(CONFIRM_TIMEOUT_S, self._send_again)

    def _publish(self, topic: str, payload: bytes) -> None:
        assert self._writer is not None
        self._packet_id = self._packet_id % PACKET_IDS + 1
        self._writer.write(publish_packet(topic.encode(), payload, self._packet_id))


def busiest_second(moments_s: Sequence[float]) -> int:
    """Give how many moments the second with most of them has."""
    ordered, begin, most = sorted(moments_s), 0, 0
    for end, moment_s in enumerate(ordered):
        while ordered[begin] <= moment_s - 1:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def _connect(client_id: str) -> bytes:
    """Make a CONNECT that keeps its session; no keepalive, so that nothing need be pinged."""
    properties = SESSION_EXPIRY + RECEIVE_MAXIMUM
    head = b"\0\4MQTT\5\0\0\0" + bytes([len(properties)]) + properties
    return packet(CONNECT, head + len(client_id).to_bytes(2, "big") + client_id.encode())


def _subscribe(topic_filter: str) -> bytes:
    filter_and_qos = len(topic_filter).to_bytes(2, "big") + topic_filter.encode() + b"\1"
    return packet(SUBSCRIBE, b"\xff\xff\0" + filter_and_qos, flags=0b0010)
