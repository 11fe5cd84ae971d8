"""The broker's answers that are awaited on one connection: PUBACKs, and the SUBACK."""

from __future__ import annotations

import asyncio
import time
from typing import Final, TypeVar

from paho.mqtt.reasoncodes import ReasonCode

from teddy_edge.errors import LinkError, LinkLost, LinkRefused, PacketTooLarge

CODE_AT: Final = 2
"""Where a PUBACK has its reason code, behind the packet id."""
TOO_LARGE: Final = b"\x95"
"""No code of a PUBACK, and what mosquitto says to one over its `message_size_limit`."""
UNSPECIFIED_ERROR: Final = b"\x80"

BYTES_PER_S_MIN: Final = 500
"""A link as slow as this is still one: what we send may take as long as it takes there."""
TIMEOUTS_MAX: Final = 30
"""So many times as long as a silence may last, an answer may take."""

Answer = TypeVar("Answer")


class Answers:
    """Waits for answers, as long as anything is heard of the broker."""

    def __init__(self, timeout_s: float) -> None:
        self.heard_at = time.monotonic()
        """When anything was last heard."""
        self._timeout_s = timeout_s
        self._acknowledgements: dict[int, asyncio.Future[ReasonCode]] = {}
        self._too_large: set[int] = set()
        self._unanswered_bytes = 0

    def hear(self) -> None:
        """Take note that the broker said something."""
        self.heard_at = time.monotonic()

    async def acknowledgement(self, packet_id: int, topic: str, size_bytes: int) -> None:
        """Wait for the PUBACK of what was published; a no is `LinkRefused`, all else `LinkLost`."""
        answer: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
        self._acknowledgements[packet_id] = answer
        self._unanswered_bytes += size_bytes
        try:
            code = await self.in_time(answer, f"a message to {topic}")
            if packet_id in self._too_large:
                raise PacketTooLarge(topic, size_bytes, None)
        finally:
            self._unanswered_bytes -= size_bytes
            self._too_large.discard(packet_id)
            del self._acknowledgements[packet_id]
        if code.is_failure:
            raise LinkRefused("publish to", topic, str(code))

    async def in_time(self, answer: asyncio.Future[Answer], to_what: str) -> Answer:
        """Wait for an answer; `LinkLost` once nothing at all was heard for too long.

        Messages may stand before it on their way here, and ours before what it answers. Who sends
        something all the time, and no answer, is not waited for without end.
        """
        asked_at = time.monotonic()
        sending_s = self._unanswered_bytes / BYTES_PER_S_MIN
        allowed_s = self._timeout_s + sending_s
        give_up_at = asked_at + TIMEOUTS_MAX * self._timeout_s + sending_s
        while not answer.done():
            silent_until = max(asked_at, self.heard_at) + allowed_s
            left_s = min(silent_until, give_up_at) - time.monotonic()
            if left_s <= 0:
                raise LinkLost(f"no answer to {to_what} within {allowed_s:.1f} s")
            await asyncio.wait((answer,), timeout=left_s)
        return answer.result()

    def take(self, packet_id: int, code: ReasonCode) -> None:
        """Give a PUBACK to who waits for it."""
        answer = self._acknowledgements.get(packet_id)
        if answer is not None and not answer.done():
            answer.set_result(code)

    def readable(self, packet: bytes | bytearray) -> bytearray:
        """Give a PUBACK with a code that it may have: paho ends the connection on any other."""
        made = bytearray(packet)
        if made[CODE_AT : CODE_AT + 1] == TOO_LARGE:
            packet_id = int.from_bytes(made[:CODE_AT], "big")
            if packet_id in self._acknowledgements:
                self._too_large.add(packet_id)
            made[CODE_AT : CODE_AT + 1] = UNSPECIFIED_ERROR
        return made

    def fail(self, error: LinkError) -> None:
        """Give everybody who waits the reason why the connection ended."""
        for answer in self._acknowledgements.values():
            if not answer.done():
                answer.set_exception(error)
