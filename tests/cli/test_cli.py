"""The command line, as a process, against a real local API."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from teddy_edge.errors import LogOverloaded
from teddy_edge.messages import ErrorDetail
from tests.inputs.served import FakePins, Served, serving

ROOT = Path(__file__).parents[2]
CANARY = "Zofia Canary"
HEAVY = ("pydantic", "aiomqtt", "paho", "gpiozero", "starlette", "uvicorn", "msgpack", "asyncio")


@dataclass
class Outcome:
    """What a process said and how it ended."""

    code: int
    out: str
    err: str


async def python(
    arguments: list[str],
    environment: dict[str, str] | None = None,
    stdout: int = asyncio.subprocess.PIPE,
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TZ": "UTC", **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await python(["-m", "teddy_edge.cli", *arguments], environment)


async def end(process: asyncio.subprocess.Process, stdin: bytes = b"") -> Outcome:
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode is not None
    return Outcome(process.returncode, (out or b"").decode(), err.decode())


async def teddy(*arguments: str, stdin: bytes = b"", **environment: str) -> Outcome:
    return await end(await start(*arguments, **environment), stdin)


class ServedBear(Served):
    """Asked through the command line."""

    async def ask(self, *arguments: str, stdin: bytes = b"") -> Outcome:
        return await teddy(*arguments, "--socket", str(self.client.path), stdin=stdin)

    def record(self, count: int) -> None:
        """Let the view show events as the real one does."""
        for _ in range(count):
            seq = len(self.view.told) + 1
            self.view.told.append(
                {
                    "seq": seq,
                    "time": "2026-11-22T10:00:00.000Z",
                    "type": "child_registered",
                    "subject": f"child-{seq}\x1b[31m",
                    "clocktrust": "synced",
                    "data": {"name": CANARY},
                }
            )
        self.view.more.set()


@pytest.fixture
async def bear(tmp_path: Path) -> AsyncIterator[ServedBear]:
    bear = ServedBear(tmp_path, FakePins())
    async with serving(bear):
        yield bear


async def test_help_names_every_command_the_exit_codes_and_examples() -> None:
    outcome = await teddy("--help")
    assert outcome.code == 0
    for word in ("run", "status", "press", "send", "query", "tail", "config", "64", "69", "78"):
        assert word in outcome.out
    assert "examples:" in outcome.out


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["send", "--help"], ["status"], ["press", "belly"], ["send", "mute", "{}"]],
)
async def test_a_client_starts_without_what_only_the_daemon_needs(
    bear: ServedBear, arguments: list[str]
) -> None:
    arguments = ["--socket", str(bear.client.path), *arguments]
    code = (
        "import sys\n"
        "from teddy_edge.cli import main\n"
        "try:\n"
        f"    code = main({arguments!r})\n"
        "except SystemExit as stopped:\n"
        "    code = stopped.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], code)\n"
    )
    assert (await end(await python(["-c", code]))).out.endswith("[] 0\n")


async def test_status_is_readable(bear: ServedBear) -> None:
    outcome = await bear.ask("status")
    assert outcome.code == 0
    assert "bear-001" in outcome.out
    assert "not connected" in outcome.out
    assert "0 not yet confirmed" in outcome.out


async def test_status_says_whether_events_are_lost(bear: ServedBear) -> None:
    assert "lost" not in (await bear.ask("status")).out
    bear.view.is_complete = False
    assert "some events are lost" in (await bear.ask("status")).out


async def test_status_as_json_is_what_the_daemon_said(bear: ServedBear) -> None:
    outcome = await bear.ask("status", "--json")
    assert json.loads(outcome.out) == bear.view.status()


async def test_a_press_says_which_event_it_became(bear: ServedBear) -> None:
    outcome = await bear.ask("press", "belly")
    assert (outcome.code, outcome.out) == (0, "belly was pressed, and recorded by event 12\n")


async def test_a_press_of_an_unknown_button_lists_the_known_ones(bear: ServedBear) -> None:
    outcome = await bear.ask("press", "nose")
    assert outcome.code == 1
    assert "the buttons are: belly" in outcome.err
    assert "Traceback" not in outcome.err


async def test_a_command_is_sent_with_everything_given(bear: ServedBear) -> None:
    command_id = "0192f0c1-2a3b-7c4d-8e5f-001122334455"
    outcome = await bear.ask(
        "send", "mute", '{"on": true}', "--id", command_id, "--actor", "parent:p:1",
        "--correlation-id", "c-1",
    )  # fmt: skip
    assert (outcome.code, outcome.out) == (0, "done: mute, event 1\n")
    [(envelope, _)] = bear.commands.executed
    assert (str(envelope.id), envelope.correlation_id) == (command_id, "c-1")
    assert (envelope.actor.role, envelope.actor.id) == ("parent", "p:1")
    assert envelope.data == {"on": True}


async def test_json_may_stand_behind_the_options(bear: ServedBear) -> None:
    outcome = await bear.ask("send", "mute", "--actor", "parent:p", '{"on": true}')
    assert outcome.code == 0
    assert bear.commands.executed[0][0].data == {"on": True}


async def test_a_command_reads_its_data_from_stdin(bear: ServedBear) -> None:
    outcome = await bear.ask("send", "mute", "-", stdin=b'{"on": false}')
    assert outcome.code == 0
    assert bear.commands.executed[0][0].data == {"on": False}


async def test_the_sign_for_stdin_may_stand_behind_the_options(bear: ServedBear) -> None:
    outcome = await bear.ask("send", "mute", "--actor", "parent:p", "-", stdin=b'{"on": false}')
    assert outcome.code == 0
    assert bear.commands.executed[0][0].data == {"on": False}


async def test_a_rejected_command_says_why_and_fails(bear: ServedBear) -> None:
    bear.commands.status = "rejected"
    outcome = await bear.ask("send", "mute")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "teddy-edge: rejected: not now [no]\n"


async def test_a_rejected_command_as_json_is_its_whole_result(bear: ServedBear) -> None:
    bear.commands.status = "rejected"
    outcome = await bear.ask("send", "mute", "--json")
    assert outcome.code == 1
    assert json.loads(outcome.out)["error"]["code"] == "no"


async def test_a_card_that_does_not_keep_up_fails_with_a_sentence(bear: ServedBear) -> None:
    bear.commands.error = LogOverloaded(9, 5.0)
    outcome = await bear.ask("send", "mute")
    assert outcome.code == 1
    assert "no room for 5 s" in outcome.err


async def test_a_query_prints_its_data_and_what_it_rests_on(bear: ServedBear) -> None:
    outcome = await bear.ask("query", "get_bear_state", '{"a": "\N{BEAR FACE}"}')
    assert outcome.code == 0
    assert json.loads(outcome.out) == {"a": "\N{BEAR FACE}"}
    assert "as of event 7" in outcome.err


async def test_a_refused_query_fails(bear: ServedBear) -> None:
    bear.queries.error = ErrorDetail(code="unknown", message="no such child", field="data.id")
    outcome = await bear.ask("query", "get_child_profile")
    assert outcome.code == 1
    assert outcome.err == "teddy-edge: refused: no such child (field data.id) [unknown]\n"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ('{"on" true}', "line 1 column 7"),
        ("{\n  'on': 1}", "line 2 column 3"),
        ("[1]", "should be an object"),
        ("", "line 1 column 1"),
    ],
)
async def test_malformed_json_is_shown_at_its_place(data: str, told: str) -> None:
    outcome = await teddy("send", "mute", data)
    assert outcome.code == 64
    assert told in outcome.err
    assert "Traceback" not in outcome.err


async def test_the_pointer_stands_under_the_mistake() -> None:
    outcome = await teddy("send", "mute", '{"on" true}')
    _, excerpt, pointer = outcome.err.splitlines()
    assert excerpt[pointer.index("^")] == "t"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["press"],
        ["tail", "--from", "0"],
        ["send", "mute", "{}", "--actor", "parent"],
        ["status", "--colour"],
        ["status", "more"],
        ["send", "mute", "{}", "{}"],
    ],
)
async def test_wrong_usage_has_its_own_exit_code(arguments: list[str]) -> None:
    outcome = await teddy(*arguments)
    assert outcome.code == 64
    assert outcome.err.startswith("teddy-edge")


async def test_the_socket_may_stand_before_or_after_the_command(bear: ServedBear) -> None:
    given = ["--socket", str(bear.client.path)]
    assert (await teddy(*given, "status")).code == 0
    assert (await teddy("status", *given)).code == 0


async def test_the_socket_may_come_from_the_environment(bear: ServedBear) -> None:
    path = str(bear.client.path)
    assert (await teddy("status", TEDDY_EDGE_SOCKET=path)).code == 0
    outcome = await teddy("status", "--socket", "/nowhere.sock", TEDDY_EDGE_SOCKET=path)
    assert outcome.code == 69


async def test_without_a_daemon_the_paths_tried_are_named(tmp_path: Path) -> None:
    outcome = await teddy("status", "--socket", str(tmp_path / "api.sock"))
    assert outcome.code == 69
    assert str(tmp_path / "api.sock") in outcome.err
    assert "Traceback" not in outcome.err


async def test_tail_shows_a_line_for_each_event_and_nothing_of_a_child(bear: ServedBear) -> None:
    bear.record(2)
    tail = await start("tail", "--from", "1", "--socket", str(bear.client.path))
    assert tail.stdout is not None
    lines = [(await asyncio.wait_for(tail.stdout.readline(), 60)).decode() for _ in range(2)]
    bear.record(1)
    lines.append((await asyncio.wait_for(tail.stdout.readline(), 60)).decode())
    tail.send_signal(signal.SIGINT)
    outcome = await end(tail)
    assert (outcome.code, outcome.err) == (0, "")
    assert lines[2].split() == [
        "3", "2026-11-22", "10:00:00", "child_registered", "child-3\ufffd[31m", "clock", "synced",
    ]  # fmt: skip
    assert CANARY not in "".join(lines)


async def test_tail_starts_with_the_last_ten_events(bear: ServedBear) -> None:
    bear.record(25)
    tail = await start("tail", "--json", "--socket", str(bear.client.path))
    assert tail.stdout is not None
    first = json.loads(await asyncio.wait_for(tail.stdout.readline(), 60))
    assert first == bear.view.told[15]
    tail.send_signal(signal.SIGINT)
    assert (await end(tail)).code == 0


async def test_tail_ends_when_its_reader_has_enough(bear: ServedBear) -> None:
    bear.record(1)
    reading, writing = os.pipe()
    arguments = ["-m", "teddy_edge.cli", "tail", "--socket", str(bear.client.path)]
    tail = await python(arguments, stdout=writing)
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 1000)
    os.close(reading)
    bear.record(1)
    outcome = await end(tail)
    assert (outcome.code, outcome.err) == (0, "")


async def test_tail_says_when_the_daemon_stops(tmp_path: Path) -> None:
    bear = ServedBear(tmp_path)
    bear.record(1)
    async with serving(bear):
        tail = await start("tail", "--socket", str(bear.client.path))
        assert tail.stdout is not None
        await asyncio.wait_for(tail.stdout.readline(), 60)
    outcome = await end(tail)
    assert (outcome.code, outcome.err) == (69, "teddy-edge: the daemon has stopped\n")


@pytest.mark.parametrize("arguments", [["status"], ["tail"], ["tail", "--from", "1"]])
async def test_a_daemon_that_has_no_place_left_is_told_in_a_sentence(
    bear: ServedBear, arguments: list[str]
) -> None:
    with ExitStack() as stack:
        for _ in range(6):
            idle = stack.enter_context(socket.socket(socket.AF_UNIX))
            idle.connect(str(bear.client.path))
        outcome = await bear.ask(*arguments)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == (
        "teddy-edge: refused: 6 connections are open already [too_many_connections]\n"
    )


def config(directory: Path, text: str) -> Path:
    file = directory / "teddy-edge.toml"
    file.write_text(text)
    return file


async def test_a_correct_configuration_is_called_so(tmp_path: Path) -> None:
    file = config(tmp_path, 'bear = "bear-007"\n')
    outcome = await teddy("config", "check", "--config", str(file))
    assert (outcome.code, outcome.out) == (0, f"{file}: correct, for bear bear-007\n")


@pytest.mark.parametrize("command", [["config", "check"], ["config", "show"], ["run"]])
async def test_a_wrong_configuration_is_explained(tmp_path: Path, command: list[str]) -> None:
    file = config(tmp_path, "[broker]\nport = 99999\n")
    outcome = await teddy(*command, "--config", str(file))
    assert outcome.code == 78
    for word in (str(file), "broker.port", "99999"):
        assert word in outcome.err
    assert "Traceback" not in outcome.err


async def test_the_configuration_shown_can_be_read_again_and_hides_the_password(
    tmp_path: Path,
) -> None:
    file = config(tmp_path, '[broker]\npassword = "secret"\nusername = "b"\n')
    shown = await teddy("config", "show", "--config", str(file), TEDDY_EDGE_BEAR="bear-9")
    assert shown.code == 0
    assert "secret" not in shown.out
    again = await teddy("config", "check", "--config", str(config(tmp_path, shown.out)))
    assert (again.code, again.err) == (0, "")
    assert "bear-9" in again.out
