"""What the tests of the link share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiomqtt
import pytest

from teddy_edge.fleet.broker import Mosquitto


@pytest.fixture
async def other(broker: Mosquitto) -> AsyncIterator[aiomqtt.Client]:
    """Another client of the same broker."""
    client = aiomqtt.Client(
        broker.host, broker.port, identifier="other", protocol=aiomqtt.ProtocolVersion.V5
    )
    async with client:
        yield client
