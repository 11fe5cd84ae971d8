"""A cloud that sends commands until each has a result, and remembers everything it was told."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4, uuid5

from teddy_edge.messages import Result
from teddy_edge.mqtt_link import Connection, Incoming, MqttLink, Subscription
from teddy_edge.settings import BrokerSettings
from teddy_edge.topics import Topics
from tests.acceptance.bear import EMMA

CLIENT_ID = "command-sender"
PARENT = {"id": "parent-123", "role": "parent"}
AT_ONCE = 8
"""Commands that wait for the broker's acknowledgement."""
OPEN_MAX = 500
"""Commands that wait for their result."""
KINDS = {"turn": 80, "report": 10, "wrong": 5, "late": 5}
"""What is sent, and of a hundred commands how many."""

Wanted = tuple[str, dict[str, Any]]
"""A command's name and its data."""


class CommandSender:
    """Sends again what has no result: after each of its own connects, and when the bear asks."""

    def __init__(self, topics: Topics) -> None:
        self.names: dict[UUID, str] = {}
        self.results: dict[UUID, list[Result]] = defaultdict(list)
        self.sent_again = 0
        self._topics = topics
        self._open: dict[UUID, bytes] = {}
        self._to_send: asyncio.Queue[UUID] = asyncio.Queue()
        self._ended = asyncio.Event()

    @property
    def open_count(self) -> int:
        """How many commands have no result."""
        return len(self._open)

    def link(self, broker: BrokerSettings) -> MqttLink:
        """Make the link on which it lives."""
        return MqttLink(
            broker,
            CLIENT_ID,
            subscriptions=[
                Subscription(f"teddy/v1/{self._topics.bear}/result/+", self._on_result),
                Subscription(self._topics.pending, self._on_pending),
            ],
            sessions={"send": self._send},
        )

    async def add(self, wanted: Wanted, life_s: float | None = None) -> UUID:
        """Have a command sent; waits while too many are open."""
        while len(self._open) >= OPEN_MAX:
            self._ended.clear()
            await self._ended.wait()
        name, data = wanted
        command_id, now = uuid4(), datetime.now(UTC)
        envelope = {
            "id": str(command_id),
            "name": name,
            "actor": PARENT,
            "issued_at": now.isoformat(),
            "data": data,
        }
        if life_s is not None:
            envelope["expires_at"] = (now + timedelta(seconds=life_s)).isoformat()
        self.names[command_id] = name
        self._open[command_id] = json.dumps(envelope).encode()
        self._to_send.put_nowait(command_id)
        return command_id

    async def until_all_ended(self) -> None:
        """Wait until every command has a result."""
        while self._open:
            self._ended.clear()
            await self._ended.wait()

    async def _send(self, connection: Connection) -> None:
        self._send_again()
        async with asyncio.TaskGroup() as senders:
            for _ in range(AT_ONCE):
                senders.create_task(self._send_one_by_one(connection))

    async def _send_one_by_one(self, connection: Connection) -> None:
        while True:
            command_id = await self._to_send.get()
            payload = self._open.get(command_id)
            if payload is not None:
                topic = self._topics.command(self.names[command_id])
                await connection.publish(topic, payload)

    def _send_again(self) -> None:
        while not self._to_send.empty():
            self._to_send.get_nowait()
        for command_id in self._open:
            self._to_send.put_nowait(command_id)
        self.sent_again += len(self._open)

    async def _on_pending(self, _connection: Connection, _message: Incoming) -> None:
        self._send_again()

    async def _on_result(self, _connection: Connection, message: Incoming) -> None:
        result = Result.model_validate_json(message.payload)
        assert result.command_id is not None
        self.results[result.command_id].append(result)
        if self._open.pop(result.command_id, None) is not None:
            self._ended.set()


class Load:
    """Commands as a family makes them, some of them wrong and some too late."""

    def __init__(self, sender: CommandSender, random: Random) -> None:
        self._sender = sender
        self._random = random
        self._child_id = ""
        self._conversation_id = ""

    async def begin(self) -> None:
        """Register a child and start a conversation; waits until both are there."""
        command_id = await self._sender.add(("register_child", EMMA))
        self._child_id = str(uuid5(command_id, "child"))
        await self._sender.until_all_ended()
        command_id = await self._sender.add(("start_conversation", {"child_id": self._child_id}))
        self._conversation_id = str(uuid5(command_id, "conversation"))
        await self._sender.until_all_ended()

    async def send(self, count: int) -> None:
        """Send so many commands."""
        for kind in self._random.choices(list(KINDS), list(KINDS.values()), k=count):
            life_s = 0.0 if kind == "late" else None
            await self._sender.add(self._wanted(kind), life_s)

    def _wanted(self, kind: str) -> Wanted:
        if kind == "report":
            violation = {"violation_type": "rude_words", "severity": "low"}
            return "report_safety_violation", {"child_id": self._child_id, **violation}
        conversation_id = "no such" if kind == "wrong" else self._conversation_id
        turn = {"speaker": "child", "duration_s": round(self._random.random(), 3)}
        return "record_conversation_turn", {"conversation_id": conversation_id, **turn}


def contradictions(results: list[Result]) -> Iterator[str]:
    """Yield what differs among the results of one command: only `duplicate` may."""
    told = {result.model_copy(update={"duplicate": False}).model_dump_json() for result in results}
    if len(told) > 1:
        yield f"told different ends: {sorted(told)}"
