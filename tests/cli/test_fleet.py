"""`teddy-edge fleet`, as a person types it: real processes, a real broker, a real bear."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from teddy_edge.errors import EXIT_FAILED, EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE
from teddy_edge.fleet.broker import Mosquitto, free_port
from teddy_edge.fleet.sqlite_sink import SqliteSink
from tests.acceptance.bear import EMMA, Bear
from tests.mqtt_link.linking import until

TIMEOUT_S = 60


class Person:
    """Somebody at a terminal, with a file for what is kept."""

    def __init__(self, directory: Path, port: int) -> None:
        self.database = directory / "fleet.db"
        self._where = ("--port", str(port), "--database", str(self.database))

    def command(self, action: str, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "teddy_edge.cli", "fleet", action, *arguments, *self._where)

    def types(self, action: str, *arguments: str) -> tuple[int, str, str]:
        """Give the exit code, and what was printed to stdout and stderr."""
        done = subprocess.run(
            self.command(action, *arguments),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def sends(self, data: object, *options: str) -> tuple[int, str, str]:
        actor = ("--actor", "parent:parent-123")
        return self.types("send", "bear-001", "register_child", *actor, *options, json.dumps(data))


@pytest.fixture
def person(tmp_path: Path, broker: Mosquitto) -> Person:
    return Person(tmp_path, broker.port)


@pytest.fixture
def bear(tmp_path: Path, broker: Mosquitto) -> Iterator[Bear]:
    with Bear(tmp_path, broker.port, TEDDY_EDGE_SYNC__CONFIRM_TIMEOUT_S="1") as started:
        started.start()
        started.wait_until("broker.connected", value=True)
        yield started


def test_a_command_is_sent_and_its_result_shown(person: Person, bear: Bear) -> None:
    command_id = str(uuid4())
    code, printed, said = person.sends(EMMA, "--id", command_id)
    assert (code, said) == (EXIT_OK, "")
    assert printed.startswith("done: register_child, event ")
    code, printed, _ = person.sends(EMMA, "--id", command_id, "--json")
    assert json.loads(printed)["duplicate"] is True
    assert len(bear.events_of("child_registered")) == 1


def test_a_refusal_is_shown_with_its_reason(person: Person, bear: Bear) -> None:
    code, printed, said = person.sends({**EMMA, "age": 99})
    assert (code, printed) == (EXIT_FAILED, "")
    assert said.startswith("teddy-edge: rejected: ")


async def test_a_command_without_an_answer_is_kept_and_followed_to_its_end(
    person: Person, broker: Mosquitto, tmp_path: Path
) -> None:
    """The bear is away, and the broker forgets; the receiver does not."""
    command_id = uuid4()
    wait = ("--id", str(command_id), "--wait", "0.5")
    code, _, said = await asyncio.to_thread(person.sends, EMMA, *wait)
    assert code == EXIT_UNAVAILABLE
    assert f"command {command_id} is kept" in said
    receiver = await asyncio.create_subprocess_exec(
        *person.command("receive"), stderr=asyncio.subprocess.PIPE
    )
    with (
        contextlib.closing(SqliteSink(person.database)) as sink,
        Bear(tmp_path, broker.port) as bear,
    ):
        await asyncio.to_thread(bear.start)
        await until(lambda: sink.result("bear-001", command_id) is not None)
        result = sink.result("bear-001", command_id)
        assert result is not None
        assert result.status == "done"
        receiver.terminate()
        _, said_by_receiver = await receiver.communicate()
        assert receiver.returncode == EXIT_OK
        assert b"Traceback" not in said_by_receiver


async def test_a_bear_is_asked_for_its_events_again(person: Person, bear: Bear) -> None:
    code, _, said = person.types("replay", "bear-001", "--from", "1")
    assert code == EXIT_FAILED
    assert "knows no events of bear-001" in said
    receiver = await asyncio.create_subprocess_exec(
        *person.command("receive"), stderr=asyncio.subprocess.DEVNULL
    )
    with contextlib.closing(SqliteSink(person.database)) as sink:
        await until(lambda: sink.newest("bear-001") is not None)
        code, printed, said = await asyncio.to_thread(
            person.types, "replay", "bear-001", "--from", "1"
        )
    assert (code, said) == (EXIT_OK, "")
    assert "was asked to send again from event 1 on" in printed
    await until(lambda: "sent again, as the cloud asks" in bear.log_file.read_text())
    receiver.terminate()
    await receiver.wait()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("send", "bear-001", "x", "--actor", "parent:p", "--host", "no host"), "--host"),
        (("send", "bear-001", "x", "--actor", "parent:p", "--host", "a..b"), "--host"),
        (("receive", "--host", "-" * 300), "--host"),
        (("receive", "--port", "0"), "--port"),
        (("receive", "--port", "x"), "--port"),
        (("receive", "--batch-bytes-max", "1"), "--batch-bytes-max"),
        (("send", "b ear", "x", "--actor", "parent:p"), "BEAR should be"),
        (("send", "bear-001", "X Y", "--actor", "parent:p"), "name"),
        (("send", "bear-001", "x", "--actor", "nobody"), "ROLE:ID"),
        (("send", "bear-001", "x", "--actor", "king:p"), "actor.role"),
        (("send", "bear-001", "x", "--actor", "parent:p", "{"), "JSON is malformed"),
        (("send", "bear-001", "x", "--actor", "parent:p", "--id", "7"), "--id"),
        (("send", "bear-001", "x", "--actor", "parent:p", "--expires-in", "nan"), "--expires-in"),
        (("send", "bear-001", "x", "--actor", "parent:p", "--wait", "-1"), "--wait"),
        (("replay", "bear-001", "--from", "0"), "--from"),
        (("replay", "bear-001"), "--from"),
    ],
    ids=str,
)
def test_a_wrong_command_line_is_said_in_a_sentence(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    command = [sys.executable, "-m", "teddy_edge.cli", "fleet", *arguments]
    done = subprocess.run(
        [*command, "--database", tmp_path / "fleet.db"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == EXIT_USAGE
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broker_that_is_away_is_said_in_a_sentence(tmp_path: Path) -> None:
    person = Person(tmp_path, free_port())
    code, _, said = person.sends(EMMA, "--wait", "1")
    assert code == EXIT_UNAVAILABLE
    assert "cannot connect to localhost" in said
    assert "within 1 s; command " in said
    assert "Traceback" not in said
    with contextlib.closing(SqliteSink(person.database)) as sink:
        assert len(sink.open_commands("bear-001", 2**62)) == 1


@pytest.mark.parametrize("action", [("receive",), ("replay", "bear-001", "--from", "1")])
def test_a_file_that_cannot_be_used_is_said_in_a_sentence(
    person: Person, action: tuple[str, ...]
) -> None:
    person.database.write_text("no database at all, however long this text may be" * 100)
    code, _, said = person.types(*action)
    assert code == EXIT_FAILED
    assert "fleet.db cannot be used" in said
    assert "Traceback" not in said


def test_a_broker_that_refuses_is_said_in_a_sentence(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read #\n")
    acl.chmod(0o600)
    with Mosquitto(tmp_path / "strict", lines=[f"acl_file {acl}"]) as strict:
        code, _, said = Person(tmp_path, strict.port).sends(EMMA)
    assert code == EXIT_FAILED
    assert "refused to publish" in said


@pytest.mark.parametrize("action", ["", "receive", "send", "replay", "events"])
def test_help_is_fast_and_says_what_it_is_for(action: str) -> None:
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "teddy_edge.cli",
        "fleet",
        action,
        "--help",
    ]
    done = subprocess.run(
        [word for word in command if word],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "COLUMNS": "100"},
        check=True,
    )
    assert "example" in done.stdout
    assert "fleet.db" in done.stdout
    for heavy in ("pydantic", "aiomqtt", "sqlite3.dbapi2", "asyncio.base_events"):
        assert heavy not in done.stderr, f"{heavy} is imported only to be helped"
