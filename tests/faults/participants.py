"""A bear, a receiver and a sender of commands, each behind a link of its own to a real broker.

All but the sender are processes. Everything here can be made to fail, by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Self

import aiomqtt

from teddy_edge.fleet.broker import Mosquitto, Persistence
from teddy_edge.settings import BrokerSettings
from teddy_edge.topics import Topics
from tests.acceptance.bear import Bear
from tests.faults import command_sender
from tests.faults.bears import Told
from tests.faults.command_sender import CommandSender
from tests.faults.fault_proxy import FaultProxy, LinkFault

TOPICS = Topics("bear-001")
CLIENT_IDS = {
    "bear": "teddy-bear-001",
    "receiver": "teddy-fleet-receiver",
    "sender": command_sender.CLIENT_ID,
}
DEATH_S_MAX = 60.0
STOP_S_MAX = 30.0
SAVE_INTERVAL_S = 1
"""How old what the broker remembers after a SIGKILL may be."""
HIT_S_MAX = 3.0
"""How long a connection, or a packet, that a fault can hit is awaited."""
MOMENTS = ("before_write", "before_fsync", "after_fsync")

BEAR_SETTINGS = {
    "TEDDY_EDGE_BROKER__KEEPALIVE_S": "5",
    "TEDDY_EDGE_BROKER__TIMEOUT_S": "2",
    "TEDDY_EDGE_BUTTONS__DEBOUNCE_S": "0",
    "TEDDY_EDGE_COMMANDS__PER_MINUTE": "1000000",
    "TEDDY_EDGE_LOG__COMMAND_BYTES_MAX": str(64 * 1024**2),
    "TEDDY_EDGE_SYNC__CONFIRM_TIMEOUT_S": "5",
}

Program = Callable[..., tuple[str, ...]]
"""Gives Python's arguments for a module and its arguments."""


def as_it_is(*module_and_arguments: str) -> tuple[str, ...]:
    """Run a module as it is."""
    return ("-m", *module_and_arguments)


class Participants:
    """Everything that takes part.

    `program` may put a mistake into the bear and the receiver; `moments` are those of a storage
    call at which the bear may die.
    """

    def __init__(
        self,
        directory: Path,
        random: Random,
        program: Program = as_it_is,
        moments: Sequence[str] = MOMENTS,
    ) -> None:
        self.database = directory / "fleet.db"
        self.sender = CommandSender(TOPICS)
        self.told = Told()
        self._directory = directory
        self._random = random
        self._program = program
        self._moments = moments
        self._broker = Mosquitto(directory / "broker", persistence=Persistence(SAVE_INTERVAL_S))
        self._links = {name: FaultProxy(self._broker.port, random) for name in CLIENT_IDS}
        self.bear = Bear(directory, self._links["bear"].port, **BEAR_SETTINGS)
        self._receiver: subprocess.Popen[bytes] | None = None

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[Self]:
        """Start everything; leaves nothing running."""
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(self._broker)
            for link in self._links.values():
                await stack.enter_async_context(link.serving())
            stack.enter_context(self.bear)
            stack.callback(self._end_receiver, signal.SIGKILL)
            self._start_receiver()
            await self._start_bear()
            sending = asyncio.create_task(self.sender.link(self._sender_settings()).run())
            stack.push_async_callback(_cancel, sending)
            yield self

    async def stop(self) -> None:
        """Stop the bear and the receiver in an orderly way: what they have is on the disk."""
        assert await asyncio.to_thread(self.bear.stop) == 0
        assert await asyncio.to_thread(self._end_receiver, signal.SIGTERM) == 0

    def faults(self) -> dict[str, Callable[[], Awaitable[bool]]]:
        """All that can happen, by name; each tells whether it did."""
        links = {
            f"{name}: {fault}": functools.partial(self._harm_link, name, fault)
            for name in self._links
            for fault in LinkFault
        }
        sessions = {
            f"{name}: session lost": functools.partial(self._lose_session, name)
            for name in CLIENT_IDS
        }
        return {
            **links,
            **sessions,
            "broker: killed, with what it had saved": functools.partial(self._kill_broker, True),
            "broker: killed, with nothing": functools.partial(self._kill_broker, False),
            "broker: restarted": self._restart_broker,
            "receiver: killed": self._kill_receiver,
            "receiver: dies between store and confirmation": self._receiver_dies_after_store,
            "bear: killed": self._kill_bear,
            "bear: dies at a storage call": self._bear_dies_at_storage,
        }

    def log_tails(self, lines_max: int = 15) -> str:
        """What the processes said last."""
        files = (self.bear.log_file, self._receiver_log)
        return "\n".join(
            line
            for file in files
            for line in [f"{file.name}:", *file.read_text().splitlines()[-lines_max:]]
        )

    async def press(self, count: int) -> None:
        """Press buttons until it is done, or the bear is gone."""
        await asyncio.to_thread(self.told.press, self.bear, count)

    async def _harm_link(self, name: str, fault: LinkFault) -> bool:
        is_lasting = fault in {LinkFault.DELAY, LinkFault.REFUSE}
        for_s = self._random.uniform(0.1, 1.0) if is_lasting else HIT_S_MAX
        return await self._links[name].inflict(fault, for_s)

    async def _lose_session(self, name: str) -> bool:
        """Take the client's place for a moment, with a session that ends at once."""
        impostor = aiomqtt.Client(
            "127.0.0.1",
            self._broker.port,
            identifier=CLIENT_IDS[name],
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
        )
        async with impostor:
            return True

    async def _kill_broker(self, with_what_it_saved: bool) -> bool:
        await asyncio.to_thread(self._broker.kill)
        if not with_what_it_saved:
            (self._directory / "broker" / "mosquitto.db").unlink(missing_ok=True)
        await asyncio.sleep(self._random.uniform(0, 0.5))
        await asyncio.to_thread(self._broker.start)
        return True

    async def _restart_broker(self) -> bool:
        await asyncio.to_thread(self._broker.restart)
        return True

    async def _kill_receiver(self) -> bool:
        await asyncio.to_thread(self._end_receiver, signal.SIGKILL)
        self._start_receiver()
        return True

    async def _receiver_dies_after_store(self) -> bool:
        assert self._receiver is not None
        self._receiver_armed.touch()
        await self.press(1)
        code = await asyncio.to_thread(self._receiver.wait, DEATH_S_MAX)
        assert code == -signal.SIGKILL
        self._start_receiver()
        return True

    async def _kill_bear(self) -> bool:
        await asyncio.to_thread(self.bear.kill)
        await self._start_bear()
        return True

    async def _bear_dies_at_storage(self) -> bool:
        self._bear_armed.touch()
        await self.press(1)
        code = await asyncio.to_thread(self.bear.wait_for_death)
        assert code == -signal.SIGKILL, self.log_tails()
        await self._start_bear()
        return True

    async def _start_bear(self) -> None:
        moment = self._random.choice(self._moments)
        dies_at_storage = ("tests.acceptance.dies_at_storage", moment, str(self._bear_armed))
        await asyncio.to_thread(self.bear.start, self._program(*dies_at_storage))

    def _start_receiver(self) -> None:
        port = str(self._links["receiver"].port)
        arguments = (port, str(self.database), str(self._receiver_armed))
        program = self._program("tests.faults.dies_after_store", *arguments)
        with self._receiver_log.open("ab") as log:
            self._receiver = subprocess.Popen([sys.executable, *program], stdout=log, stderr=log)

    def _end_receiver(self, sign: signal.Signals) -> int:
        assert self._receiver is not None
        self._receiver.send_signal(sign)
        return self._receiver.wait(STOP_S_MAX)

    @property
    def _bear_armed(self) -> Path:
        return self._directory / "bear-armed"

    @property
    def _receiver_armed(self) -> Path:
        return self._directory / "receiver-armed"

    @property
    def _receiver_log(self) -> Path:
        return self._directory / "receiver.log"

    def _sender_settings(self) -> BrokerSettings:
        return BrokerSettings(
            host="127.0.0.1",
            port=self._links["sender"].port,
            keepalive_s=5,
            timeout_s=2,
            backoff_s_min=0.1,
            backoff_s_max=0.3,
        )


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
