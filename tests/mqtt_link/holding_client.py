"""A process that takes one message and never acknowledges it; its test kills it."""

from __future__ import annotations

import asyncio
import sys

from teddy_edge.mqtt_link import Connection, Incoming, MqttLink, Subscription
from teddy_edge.settings import BrokerSettings


async def hold(_: Connection, message: Incoming) -> None:
    """Say that it came, and keep it."""
    print(message.payload.decode(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    link = MqttLink(
        BrokerSettings(host="127.0.0.1", port=int(sys.argv[1])),
        "bear",
        subscriptions=[Subscription("to/bear", hold)],
        sessions={},
    )
    asyncio.run(link.run())
