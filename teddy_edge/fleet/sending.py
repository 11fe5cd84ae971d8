"""Sends one command and waits for its end, or asks a bear for its events again.

Each call is a connection of its own, for a person at a terminal. What is sent is kept first, so
that a receiver that uses the same store follows it to its end where nobody waits any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import FIRST_COMPLETED
from collections.abc import Sequence
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

from pydantic import ValidationError

from teddy_edge.clock import Clock
from teddy_edge.errors import LinkLost, LinkRefused
from teddy_edge.fleet.sinks import CommandSink, SentCommand
from teddy_edge.messages import Result
from teddy_edge.mqtt_link import Connection, Incoming, MqttLink, Session, Subscription
from teddy_edge.settings import BrokerSettings
from teddy_edge.sync.signals import Replay, encode_signal
from teddy_edge.topics import Topics

CLIENT_ID: Final = "teddy-fleet-send"

T = TypeVar("T")


async def send_command(
    sink: CommandSink, broker: BrokerSettings, clock: Clock, command: SentCommand, wait_s: float
) -> Result | None:
    """Keep a command, send it, and give its result; None where none came in time.

    Raises `LinkLost` where the broker was not reached in time, `LinkRefused` where it refused.
    """
    topics = Topics(command.bear)
    ended: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    async def on_result(connection: Connection, message: Incoming) -> None:
        del connection
        with contextlib.suppress(ValidationError):
            result = Result.model_validate_json(message.payload)
            if result.command_id == command.id and not ended.done():
                ended.set_result(result)

    async def send(connection: Connection) -> None:
        await connection.publish(topics.command(command.name), command.payload)

    sink.keep_command(command, clock.wall_ns())
    hearing = Subscription(topics.result(command.id), on_result)
    result = await _on_one_link(broker, [hearing], send, ended, wait_s)
    if result is not None:
        sink.end_command(command.bear, result)
    return result


async def ask_for_replay(
    broker: BrokerSettings, bear: str, epoch: UUID, from_seq: int, wait_s: float
) -> None:
    """Ask a bear to send again from a number on; raises as `send_command` does.

    The bear may refuse, which it logs; what it sends is for whoever receives.
    """
    asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask(connection: Connection) -> None:
        replay = encode_signal(Replay(epoch=epoch, from_seq=from_seq))
        await connection.publish(Topics(bear).replay, replay)
        asked.set_result(None)

    await _on_one_link(broker, [], ask, asked, wait_s)


async def _on_one_link(
    broker: BrokerSettings,
    subscriptions: Sequence[Subscription],
    session: Session,
    awaited: asyncio.Future[T],
    wait_s: float,
) -> T | None:
    """Work over a link of our own until what is awaited is there, or the time is over."""

    async def until_refused(connection: Connection) -> None:
        try:
            await session(connection)
        except LinkRefused as refused:
            awaited.set_exception(refused)

    link = MqttLink(
        broker.model_copy(update={"session_expiry_s": 0}),  # nobody comes back to it
        f"{CLIENT_ID}-{uuid4()}",
        subscriptions=subscriptions,
        sessions={"send": until_refused},
    )
    running = asyncio.create_task(link.run())
    ends: list[asyncio.Future[Any]] = [running, awaited]
    try:
        await asyncio.wait(ends, timeout=wait_s, return_when=FIRST_COMPLETED)
        if running.done():
            await running
        if not link.connected:
            raise LinkLost(f"not connected to {broker.host}:{broker.port} within {wait_s:g} s")
        return awaited.result() if awaited.done() else None
    finally:
        running.cancel()
        awaited.cancel()
        await asyncio.wait([running])
