"""The cloud's end at work, and what a bare bear sends to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import aiomqtt

from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.fleet.receiver import Receiver
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.sync.wire import EventBatch, encode_batch
from tests.mqtt_link.linking import TIMEOUT_S, running, settings_for, until

EVENTS = "teddy/v1/bear-1/events"
CONFIRMED = "teddy/v1/bear-1/confirmed"


@contextlib.asynccontextmanager
async def receiving(broker: Mosquitto, sink: SqliteSink) -> AsyncIterator[None]:
    """A receiver at work."""
    link = Receiver(sink).link(settings_for(broker.port))
    async with running(link):
        await until(lambda: link.connected)
        yield


async def send(bear: aiomqtt.Client, *batches: EventBatch) -> dict[str, object]:
    """Send batches; return the last of as many confirmations."""
    for batch in batches:
        await bear.publish(EVENTS, encode_batch(batch), qos=1)
    return [await heard(bear) for _ in batches][-1]


async def heard(bear: aiomqtt.Client) -> dict[str, object]:
    """Wait for what the cloud says next."""
    async with asyncio.timeout(TIMEOUT_S):
        said = json.loads((await anext(bear.messages)).payload)
    assert isinstance(said, dict)
    return said
