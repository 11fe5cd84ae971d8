"""One command, sent by a person at a terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import aiomqtt

from teddy_edge.clock import SystemClock
from teddy_edge.fleet.broker import Mosquitto
from teddy_edge.fleet.sending import send_command
from teddy_edge.fleet.sinks import SentCommand
from teddy_edge.fleet.sqlite_sink import SqliteSink
from tests.mqtt_link.linking import TIMEOUT_S, settings_for

SESSIONS = "$SYS/broker/clients/disconnected"


async def test_who_sent_a_command_leaves_no_session_behind(
    tmp_path: Path, sink: SqliteSink
) -> None:
    """A broker keeps a session for days, and all results that nobody fetches."""
    with Mosquitto(tmp_path / "counting", lines=["sys_interval 1"]) as broker:
        for _ in range(3):
            sent = SentCommand("bear-1", uuid4(), "fly", b"{}")
            settings = settings_for(broker.port)
            assert await send_command(sink, settings, SystemClock(), sent, wait_s=0.5) is None
        async with (
            aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client,
            asyncio.timeout(TIMEOUT_S),
        ):
            await client.subscribe([(SESSIONS, 0), ("$SYS/broker/uptime", 0)])
            counts = {}
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                counts[str(message.topic)] = message.payload
                if len(counts) == 2 and int(message.payload.split()[0]) > 3:
                    break
        assert counts[SESSIONS] == b"0"
