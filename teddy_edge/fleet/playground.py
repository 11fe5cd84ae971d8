"""What `make run` runs: a broker, the cloud's end and the real daemon, on this machine.

    python -m teddy_edge.fleet.playground                  run until Ctrl-C
    python -m teddy_edge.fleet.playground stop-broker      the bear is offline; the rest goes on
    python -m teddy_edge.fleet.playground start-broker     and online again

Everything lies in `.run/`: the bear's data, what the cloud's end stored, the logs, the broker's
files. It is kept from one run to the next. The broker is a process of its own that another command
may stop and start; that the daemon or the receiver dies ends the playground.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from teddy_edge.errors import (
    EXIT_FAILED,
    EXIT_OK,
    BrokerUnavailable,
    DaemonUnreachable,
    PlaygroundFailed,
)
from teddy_edge.fleet.broker import Mosquitto, free_port, is_free
from teddy_edge.fleet.playground_view import follow, introduction, say, status_once_up
from teddy_edge.local_client import LocalClient, find_daemon
from teddy_edge.socket_paths import default_sockets

DIRECTORY: Final = Path(".run")
CONFIG: Final = Path("config/development.toml")
STOP_TIMEOUT_S: Final = 10.0
DEATH_TIMEOUT_S: Final = 5.0
LOG_LINES: Final = 15


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything of one playground lies."""

    directory: Path

    @property
    def broker(self) -> Path:
        """The broker's files."""
        return self.directory / "broker"

    @property
    def data(self) -> Path:
        """The bear's data."""
        return self.directory / "data"

    @property
    def database(self) -> Path:
        """What the cloud's end stored."""
        return self.directory / "fleet.db"

    @property
    def port_file(self) -> Path:
        """The broker's port, the same from one run to the next where it is free."""
        return self.directory / "port"

    def log(self, name: str) -> Path:
        """What a process said in this run."""
        return self.directory / f"{name}.log"

    def port(self) -> int | None:
        """The port of the last run."""
        try:
            return int(self.port_file.read_text())
        except (OSError, ValueError):
            return None

    @contextlib.contextmanager
    def taken(self) -> Iterator[bool]:
        """Take the folder for this process; False where another playground runs in it."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        with (self.directory / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


class Child:
    """A process of the playground and what it logs."""

    def __init__(self, name: str, log: Path, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._log = log
        self._process = process

    async def until_it_dies(self) -> None:
        """Wait for its end, which is not wanted, and raise `PlaygroundFailed`."""
        code = await self._process.wait()
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        said = "\n".join(f"    {line}" for line in lines)
        raise PlaygroundFailed(f"the {self.name} ended with code {code}; {self._log} says:\n{said}")

    async def stop(self) -> None:
        """End it cleanly, or at last not."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        await self._process.wait()


@contextlib.asynccontextmanager
async def child(
    places: Places, name: str, arguments: Sequence[str], environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Child]:
    """Run a module of ours as a process, in a session of its own: Ctrl-C is not for it."""
    with places.log(name).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *arguments),
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    running = Child(name, places.log(name), process)
    try:
        yield running
    finally:
        await running.stop()


@contextlib.asynccontextmanager
async def broker_at(places: Places) -> AsyncIterator[Mosquitto]:
    """Run the broker; at the end also one that was stopped and started meanwhile is stopped."""
    port = places.port()
    broker = Mosquitto(places.broker, port=port or free_port())
    await asyncio.to_thread(broker.stop)  # one that a killed playground left behind
    if not is_free(broker.port):
        broker = Mosquitto(places.broker, port=free_port())
    places.port_file.write_text(str(broker.port))
    try:
        await asyncio.to_thread(broker.start)
        yield broker
    finally:
        await asyncio.to_thread(broker.stop)


async def play(places: Places, socket: Path) -> None:
    """Run everything until cancelled; raises `PlaygroundFailed` where a part of it dies."""
    async with contextlib.AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_at(places))
        address = ("--host", broker.host, "--port", str(broker.port))
        database = ("--database", str(places.database))
        receiver = child(
            places, "receiver", ("teddy_edge.cli", "fleet", "receive", *address, *database)
        )
        daemon = child(
            places,
            "daemon",
            ("teddy_edge.cli", "run", "--simulate", "--config", str(CONFIG)),
            {
                **os.environ,
                "TEDDY_EDGE_BROKER__PORT": str(broker.port),
                "TEDDY_EDGE_DATA_DIRECTORY": str(places.data.resolve()),
            },
        )
        children = [await stack.enter_async_context(each) for each in (receiver, daemon)]
        await _until_a_part_ends(children, _show(places, broker, LocalClient(socket)))


async def _until_a_part_ends(children: Sequence[Child], show: Coroutine[Any, Any, None]) -> None:
    """Raise the error of what ends first; the death of a process explains the end of the show."""
    showing = asyncio.create_task(show)
    deaths = [asyncio.create_task(each.until_it_dies()) for each in children]
    try:
        await asyncio.wait([*deaths, showing], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(deaths, return_when=asyncio.FIRST_COMPLETED, timeout=DEATH_TIMEOUT_S)
        for ended in [*deaths, showing]:
            if ended.done():
                await ended
    finally:
        for task in [*deaths, showing]:
            task.cancel()
        await asyncio.gather(*deaths, showing, return_exceptions=True)


async def _show(places: Places, broker: Mosquitto, client: LocalClient) -> None:
    """Say what runs and what to try, then what happens, for as long as the daemon lives."""
    status = await status_once_up(client)
    logs = [places.log("daemon"), places.log("receiver"), broker.log_file]
    say(introduction(status, places.data, logs))
    await follow(client, status)


async def _play_until_a_signal(places: Places, socket: Path) -> None:
    playing = asyncio.create_task(play(places, socket))

    def stop() -> None:
        if not playing.cancelling():  # a second Ctrl-C must not cut the cleaning short
            playing.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await playing


def _run(places: Places) -> None:
    if not CONFIG.exists():
        raise PlaygroundFailed(f"{CONFIG} is not here; run this in the folder of the project")
    socket = Path(os.environ.get("TEDDY_EDGE_SOCKET") or default_sockets()[0])
    with places.taken() as is_free_for_us:
        if not is_free_for_us:
            raise PlaygroundFailed(f"it runs already in {places.directory.resolve()}")
        if _answers(socket):
            raise PlaygroundFailed(f"a daemon is running already; it answers on {socket}")
        asyncio.run(_play_until_a_signal(places, socket))
    say("\nstopped")


def _answers(socket: Path) -> bool:
    try:
        find_daemon(socket)
    except DaemonUnreachable:
        return False
    return True


def _stop_broker(places: Places) -> None:
    _broker_of_the_run(places).stop()
    say("the broker is stopped; start it again: make broker-start")


def _start_broker(places: Places) -> None:
    broker = _broker_of_the_run(places)
    broker.start()
    say(f"the broker runs on {broker.host}:{broker.port}")


def _broker_of_the_run(places: Places) -> Mosquitto:
    with places.taken() as nobody_runs:
        port = places.port()
        if nobody_runs or port is None:
            raise PlaygroundFailed("nothing runs in this folder; start it: make run")
    return Mosquitto(places.broker, port=port)


ACTIONS: Final[Mapping[str, Callable[[Places], None]]] = {
    "run": _run,
    "stop-broker": _stop_broker,
    "start-broker": _start_broker,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the playground, or stop or start the broker of the one that runs."""
    parser = argparse.ArgumentParser(prog="python -m teddy_edge.fleet.playground")
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="run")
    action = parser.parse_args(arguments).action
    os.umask(
        0o077
    )  # the bear's events, what the cloud stored and the logs are for their owner alone
    try:
        ACTIONS[action](Places(DIRECTORY))
    except (BrokerUnavailable, PlaygroundFailed, DaemonUnreachable) as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
