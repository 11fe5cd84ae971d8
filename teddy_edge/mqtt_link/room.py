"""How many messages, and how many bytes of them, may wait for their handlers."""

from __future__ import annotations

from typing import Final

from paho.mqtt.client import MQTTMessage

from teddy_edge.settings import BrokerSettings

MESSAGE_OVERHEAD_BYTES: Final = 1024
"""What a message costs beside its payload, topic and all, roughly."""


def held_bytes(message: MQTTMessage) -> int:
    """What a message costs while it waits."""
    return MESSAGE_OVERHEAD_BYTES + len(message.payload)


class Room:
    """The room of one connection. Once overrun it takes nothing more."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._messages_max = settings.receive_maximum
        self._bytes_max = settings.held_bytes_max
        self._messages = 0
        self._bytes = 0
        self._is_overrun = False

    @property
    def is_full(self) -> bool:
        """Whether as many messages wait as the broker may send at a time."""
        return self._messages >= self._messages_max

    @property
    def is_drained(self) -> bool:
        """Whether it was overrun, and all that it had taken is done."""
        return self._is_overrun and self._messages == 0

    def take(self, message: MQTTMessage) -> bool:
        """Count a message in; false where it has no room."""
        self._is_overrun |= self._bytes + held_bytes(message) > self._bytes_max
        if not self._is_overrun:
            self._messages += 1
            self._bytes += held_bytes(message)
        return not self._is_overrun

    def let_go(self, message_bytes: int) -> None:
        """Count a message out."""
        self._messages -= 1
        self._bytes -= message_bytes
