"""Sends commands to the bears and follows each to its end.

A command is kept before it is sent. It is sent again, as it was, whenever its bear says `pending`,
when the bear is found to be there, and now and then while it is, until a result comes: the bear
executes it once, however often it arrives. The bear also says when it is too late; so every command
ends that reaches its bear at all. Which pass sent a command last is marked by counting, since the
clock of this machine may be set.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final, TypeVar

from pydantic import ValidationError

from teddy_edge.errors import LinkRefused, WireError
from teddy_edge.fleet.sinks import CommandSink, SentCommand
from teddy_edge.messages import Result
from teddy_edge.mqtt_link import Connection, Incoming, Subscription
from teddy_edge.sync.signals import Pending, decode_signal
from teddy_edge.topics import PREFIX, Topics, bear_of

RESEND_S: Final = 60.0
"""A bear that is there answers sooner; a command without a result is sent again after so long."""

logger = logging.getLogger("teddy_edge.fleet")

T = TypeVar("T")


class CommandDesk:
    """Follows the commands of every bear."""

    def __init__(self, sink: CommandSink, thread: Executor, resend_s: float = RESEND_S) -> None:
        """`thread` is the one that calls the sink."""
        self._sink = sink
        self._thread = thread
        self._mark: int | None = None
        """That of the pass which began last; None while the store was not asked."""
        self._resend_s = resend_s
        self._connection: Connection | None = None
        self._present: set[str] = set()
        self._found: set[str] = set()

    def subscriptions(self) -> list[Subscription]:
        """Say what is heard of commands."""
        return [
            Subscription(f"{PREFIX}/+/result/+", self.on_result),
            Subscription(f"{PREFIX}/+/pending", self.on_pending),
        ]

    async def note_presence(self, connection: Connection, bear: str, *, is_there: bool) -> None:
        """Take up whether a bear is there; to one that is found on a connection, send again.

        It may have said `pending` while nobody listened.
        """
        if connection is not self._connection:
            self._connection, self._present, self._found = connection, set(), set()
        if not is_there:
            self._present.discard(bear)
            return
        self._present.add(bear)
        if bear not in self._found:
            self._found.add(bear)
            await self._send_all_again(connection, bear)

    async def on_result(self, connection: Connection, message: Incoming) -> None:
        """Keep a result; its return acknowledges the message."""
        del connection
        bear = bear_of(message.topic)
        try:
            result = Result.model_validate_json(message.payload)
        except ValidationError:
            logger.warning("%s: dropped what is no result", bear)
            return
        if bear is None or result.command_id is None:
            return
        if await self._in_thread(lambda: self._sink.end_command(bear, result)):
            logger.info("%s: %s %s", bear, result.status, result.command_id)

    async def on_pending(self, connection: Connection, message: Incoming) -> None:
        """Send again what has no result."""
        bear = bear_of(message.topic)
        if bear is None:
            return
        try:
            decode_signal(Pending, message.payload)
        except WireError as error:
            logger.warning("%s: dropped a message: %s", bear, error)
            return
        await self._send_all_again(connection, bear)

    async def run(self, connection: Connection) -> None:
        """Send again, now and then, to the bears that are there.

        A command without a result goes out again after one to two times `resend_s`; one that others
        have sent, with the next pass.
        """
        last_mark = await self._next_mark()
        while True:
            await asyncio.sleep(self._resend_s)
            mark = await self._next_mark()
            for bear in sorted(self._present):
                await self._send_again(connection, bear, last_mark + 1, mark)
            last_mark = mark

    async def _send_all_again(self, connection: Connection, bear: str) -> None:
        mark = await self._next_mark()
        await self._send_again(connection, bear, mark, mark)

    async def _next_mark(self) -> int:
        if self._mark is None:
            newest = await self._in_thread(self._sink.newest_mark)
            self._mark = max(newest, self._mark or 0)
        self._mark += 1
        return self._mark

    async def _send_again(
        self, connection: Connection, bear: str, below_mark: int, mark: int
    ) -> None:
        while commands := await self._take_open(bear, below_mark, mark):
            logger.info("%s: %d commands without a result are sent again", bear, len(commands))
            for command in commands:
                await _publish(connection, command)

    async def _take_open(self, bear: str, below_mark: int, mark: int) -> Sequence[SentCommand]:
        """Give what is to be sent, marked, so that the next call gives the rest."""

        def take() -> Sequence[SentCommand]:
            commands = self._sink.open_commands(bear, below_mark)
            self._sink.mark(commands, mark)
            return commands

        return await self._in_thread(take)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


async def _publish(connection: Connection, command: SentCommand) -> None:
    """Publish; what the broker refuses must not keep the others from their bears."""
    topic = Topics(command.bear).command(command.name)
    try:
        await connection.publish(topic, command.payload)
    except LinkRefused as error:
        logger.warning("%s: a command is not sent: %s", command.bear, error.reason)
