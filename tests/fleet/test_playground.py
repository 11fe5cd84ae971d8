"""`make run`, as a person meets it: real processes, a real Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.mqtt_link.linking import until

TIMEOUT_S = 60
PROJECT = Path(__file__).parents[2]
PROCESSES = ("teddy_edge.cli", "mosquitto.conf")


class Folder:
    """A folder as after a clone, with a playground in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.output = ""
        (path / "config").symlink_to(PROJECT / "config")

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *arguments),
            cwd=self.path,
            env={
                **os.environ,
                "TEDDY_EDGE_SOCKET": str(self.path / "api.sock"),
                "PYTHONPATH": str(PROJECT),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def call(self, *arguments: str) -> tuple[int | None, str]:
        """Run a program to its end."""
        process = await self.start(*arguments)
        output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        return process.returncode, output.decode()

    async def read(self, process: asyncio.subprocess.Process, pattern: str) -> re.Match[str]:
        """Read what the playground prints until the pattern is there."""
        assert process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            while (found := re.search(pattern, self.output)) is None:
                line = await process.stdout.readline()
                assert line, f"it ended: {self.output}"
                self.output += line.decode()
        return found

    async def press(self, button: str) -> int:
        """Press a button; gives the number of the event that it became."""
        code, said = await self.call("teddy_edge.cli", "press", button)
        assert code == 0, said
        return int(said.split()[-1])

    async def read_stored(self, process: asyncio.subprocess.Process, seq: int) -> None:
        """Read until the cloud has stored an event, and maybe later ones."""
        while int((await self.read(process, r"stored all up to (\d+)\n"))[1]) < seq:
            self.output = self.output.partition("stored all up to ")[2]

    async def end_of(self, process: asyncio.subprocess.Process) -> int:
        assert process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            self.output += (await process.stdout.read()).decode()
            return await process.wait()

    def processes(self) -> list[str]:
        """What still runs here."""
        return list(self._processes())

    def _processes(self) -> Iterator[str]:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_text().replace("\0", " ")
                place = (process / "cwd").readlink()
                if place == self.path and any(name in words for name in PROCESSES):
                    yield f"{process.name} {words}"


@pytest.fixture
def folder() -> Iterator[Folder]:
    with tempfile.TemporaryDirectory(prefix="teddy-") as path:  # short: a socket lies in it
        yield Folder(Path(path).resolve())


@pytest.fixture
async def playground(folder: Folder) -> AsyncIterator[asyncio.subprocess.Process]:
    """A playground that has introduced itself."""
    process = await folder.start("teddy_edge.fleet.playground")
    try:
        await folder.read(process, "What happens:")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await folder.end_of(process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_shows_what_happens_until_a_signal_stops_everything(
    folder: Folder, playground: asyncio.subprocess.Process, number: signal.Signals
) -> None:
    await folder.read(playground, r" \d+ .* bear_started")
    seq = await folder.press("left_paw")
    await folder.read(playground, r"\d+  \d\d:\d\d:\d\d  button_pressed +bear\n")
    await folder.read_stored(playground, seq)
    assert len(folder.processes()) == 3
    kept = [folder.path / ".run", *(folder.path / ".run").rglob("*")]
    assert [path for path in kept if path.stat().st_mode & 0o077] == []
    playground.send_signal(number)
    assert await folder.end_of(playground) == 0
    assert folder.output.endswith("\nstopped\n")
    assert "Traceback" not in folder.output
    assert "Traceback" not in (folder.path / ".run/daemon.log").read_text()
    assert folder.processes() == []


async def test_the_broker_can_go_and_come_back_and_is_stopped_with_the_rest(
    folder: Folder, playground: asyncio.subprocess.Process
) -> None:
    code, said = await folder.call("teddy_edge.fleet.playground", "stop-broker")
    assert code == 0, said
    await folder.read(playground, "the bear is offline")
    seq = await folder.press("belly")
    assert (await folder.call("teddy_edge.fleet.playground", "start-broker"))[0] == 0
    await folder.read(playground, "the bear is online")
    await folder.read_stored(playground, seq)
    playground.send_signal(signal.SIGINT)
    assert await folder.end_of(playground) == 0
    assert folder.processes() == []


@pytest.mark.parametrize("name", ["teddy_edge.cli run", "teddy_edge.cli fleet receive"])
async def test_a_process_that_dies_is_reported_and_ends_the_rest(
    folder: Folder, playground: asyncio.subprocess.Process, name: str
) -> None:
    (victim,) = [int(each.split()[0]) for each in folder.processes() if name in each]
    os.kill(victim, signal.SIGKILL)
    assert await folder.end_of(playground) == 1
    assert re.search(
        r"the (daemon|receiver) ended with code -9; \.run/\w+\.log says:", folder.output
    )
    assert "Traceback" not in folder.output
    assert folder.processes() == []


async def test_a_daemon_that_cannot_start_says_why(folder: Folder) -> None:
    (folder.path / "config").unlink()
    (folder.path / "config").mkdir()
    (folder.path / "config/development.toml").write_text("colour = 'brown'\n")
    code, said = await folder.call("teddy_edge.fleet.playground")
    assert code == 1
    assert "the daemon ended with code 78" in said
    assert "colour" in said
    assert folder.processes() == []


async def test_a_second_one_in_the_same_folder_is_refused(
    folder: Folder, playground: asyncio.subprocess.Process
) -> None:
    assert playground.returncode is None
    code, said = await folder.call("teddy_edge.fleet.playground")
    assert (code, said) == (1, f"it runs already in {folder.path / '.run'}\n")


async def test_a_daemon_that_answers_already_is_not_disturbed(folder: Folder) -> None:
    with socket.socket(socket.AF_UNIX) as answering:
        answering.bind(str(folder.path / "api.sock"))
        answering.listen()
        code, said = await folder.call("teddy_edge.fleet.playground")
    assert (code, said) == (
        1,
        f"a daemon is running already; it answers on {folder.path / 'api.sock'}\n",
    )


async def test_the_history_outlives_the_run_and_a_broker_left_behind(folder: Folder) -> None:
    first = await folder.start("teddy_edge.fleet.playground")
    begun_seq = int((await folder.read(first, r" (\d+) .* bear_started"))[1])
    await folder.read_stored(first, begun_seq)
    first.kill()
    await folder.end_of(first)
    left = [int(each.split()[0]) for each in folder.processes() if "mosquitto" not in each]
    for pid in left:
        os.kill(pid, signal.SIGTERM)
    await until(lambda: len(folder.processes()) == 1)
    folder.output = ""
    second = await folder.start("teddy_edge.fleet.playground")
    assert int((await folder.read(second, r" (\d+) .* bear_started"))[1]) > begun_seq
    second.send_signal(signal.SIGINT)
    assert await folder.end_of(second) == 0
    assert folder.processes() == []


async def test_the_broker_of_nothing_cannot_be_stopped(folder: Folder) -> None:
    code, said = await folder.call("teddy_edge.fleet.playground", "stop-broker")
    assert (code, said) == (1, "nothing runs in this folder; start it: make run\n")
