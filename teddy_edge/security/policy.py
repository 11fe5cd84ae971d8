"""Whose message is taken, by the way it came."""

from __future__ import annotations

from teddy_edge.errors import CommandRejected
from teddy_edge.messages import Actor, Origin


class SenderPolicy:
    """The rules for every command and query, before anything is looked up for it."""

    def __init__(self, *, allow_unsigned: bool) -> None:
        self._allow_unsigned = allow_unsigned

    def check(self, actor: Actor, origin: Origin) -> None:
        """Raise `CommandRejected` where the sender may not send this way."""
        if origin is not Origin.MQTT:
            return
        if not self._allow_unsigned:
            raise CommandRejected("unsigned", "this bear takes no unsigned message over MQTT")
        if actor.role == "device":
            raise CommandRejected(
                "wrong_role", "only the bear itself may act as a device", "actor.role"
            )
