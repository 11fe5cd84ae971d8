"""The README's snippets, run as a newcomer would run them."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from teddy_edge.cqrs_service import CQRSService
from teddy_edge.settings import Settings

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SNIPPETS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
START_S_MAX = 60.0
STOP_S_MAX = 60.0
PATIENT = {**os.environ, "TEDDY_EDGE_QUERIES__CATCH_UP_S_MAX": "30"}
"""An answer includes what was said before it, however slow the machine is."""
RUN, TEST = "make run\n", "make test\n"
INSTALLING = [snippet for snippet in SNIPPETS if "sudo" in snippet]
TALKING = [snippet for snippet in SNIPPETS if snippet not in {RUN, TEST, *INSTALLING}]


def clone_to(directory: Path) -> Path:
    """Copy what git has of the project, as it is in the working tree."""
    names = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=PROJECT, text=True
    )
    clone = directory / "teddy-edge"
    for name in names.splitlines():
        if (PROJECT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((PROJECT / name).read_bytes())
            (clone / name).chmod((PROJECT / name).stat().st_mode)
    return clone


@contextmanager
def make_run(clone: Path, environ: dict[str, str]) -> Iterator[Path]:
    """Run `make run` in a terminal of its own; gives the file of what it prints.

    Setting up is left out (`-o setup`): the tests run in what it made.
    """
    output = clone / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["make", "-o", "setup", "run"],
            cwd=clone,
            env=environ,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            wait_for(output, "teddy-edge press left_paw", process)
            yield output
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(STOP_S_MAX)


def wait_for(output: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the text was printed."""
    deadline = time.monotonic() + START_S_MAX
    while text not in output.read_text():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)


def own_environ(tmp_path: Path) -> dict[str, str]:
    """The programs of this test's interpreter, and a socket that no other bear has."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
    socket = tmp_path / "socket" / "api.sock"
    return {**PATIENT, "PATH": path, "TEDDY_EDGE_SOCKET": str(socket)}


def bash(script: str, directory: Path, environ: dict[str, str]) -> str:
    """Run a script, stop at the first command that fails, and give what it printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("make ", "make -o setup ")],
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def processes_of(clone: Path) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended while we looked
            if os.fsencode(clone) in (command := file.read_bytes()):
                found.append(command.replace(b"\0", b" ").decode())
    return found


def test_the_two_commands_stand_in_the_readme() -> None:
    assert RUN in SNIPPETS
    assert TEST in SNIPPETS  # not run from here: it is what runs this
    assert len(TALKING) >= 5
    assert len(INSTALLING) == 2


def test_a_newcomer_talks_to_the_bear_as_the_readme_shows(tmp_path: Path) -> None:
    clone, environ = clone_to(tmp_path), own_environ(tmp_path)
    with make_run(clone, environ) as output:
        printed = bash("\n".join(TALKING), clone, environ)
        for shown in (
            *('"status":"done"', '"Emma"', "Noah", "left_paw", '"online":true'),
            *("done: update_child_profile", "asked to send again from event 1"),
            *("were built anew from", '"score": 85', '"command_throughput"', "8. Error Handling"),
        ):
            assert shown in printed, printed
        assert "button_pressed" in output.read_text()
    assert processes_of(clone) == []


def test_the_library_is_used_as_the_readme_shows(tmp_path: Path) -> None:
    library, _ = CODE
    environ = {**PATIENT, "TEDDY_EDGE_DATA_DIRECTORY": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", library],
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Emma nothing_recorded\n", "")


def test_the_makers_command_is_the_one_that_is_tested() -> None:
    _, makers_command = CODE
    assert makers_command == (PROJECT / "tests" / "commands" / "makers_command.py").read_text()


def rows_of(title: str) -> dict[str, set[str]]:
    """The table below a title: a name, and the fields of its data."""
    _, _, table = README.partition(f"| {title} | data |\n|---|---|\n")
    rows = [row.split(" | ") for row in table.partition("\n\n")[0].splitlines()]
    return {
        name.strip("| `"): set(re.findall(r"`(\w+)`", data.partition(";")[0]))
        for name, data in rows
    }


async def test_the_tables_list_every_command_and_query_with_its_fields(tmp_path: Path) -> None:
    cqrs = CQRSService(lambda: Settings(data_directory=tmp_path))
    await cqrs.initialize()
    commands = {
        name: set(handler.command_type.model_fields)
        for name, handler in cqrs.commands._handlers.items()
    }
    queries = {
        name: set(handler.query_type.model_fields)
        for name, handler in cqrs.queries._handlers.items()
    }
    await cqrs.close()
    del commands["press_button"]  # only a paw sends it
    assert rows_of("command") == commands
    assert rows_of("query") == queries


def test_the_bear_is_installed_as_the_readme_shows(tmp_path: Path) -> None:
    clone = clone_to(tmp_path)
    root, programs = tmp_path / "root", tmp_path / "programs"
    programs.mkdir()
    for name, text in {"sudo": 'exec "$@"', "systemctl": 'echo "systemctl $@"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(stat.S_IRWXU)
    environ = own_environ(tmp_path)
    environ |= {
        "PATH": f"{programs}:{root}/opt/teddy-edge/venv/bin:{environ['PATH']}",
        "DESTDIR": str(root),
        "PYTHON": sys.executable,
        "TEDDY_EDGE_CONFIG": str(root / "etc/teddy-edge/teddy-edge.toml"),
    }
    printed = bash("\n".join(INSTALLING), clone, environ)
    assert "systemctl enable --now teddy-edge" in printed
    unit = (root / "etc/systemd/system/teddy-edge.service").read_text()
    (program,) = re.findall(r"^ExecStart=(\S+)", unit, re.MULTILINE)
    version = subprocess.check_output([f"{root}{program}", "--version"], text=True)
    assert version.startswith("teddy-edge ")
