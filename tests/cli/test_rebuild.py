"""`teddy-edge rebuild` asks the daemon, shows how far it is, and waits for the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.inputs.served import Served, serving
from tests.mqtt_link.linking import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def bear(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(Served(tmp_path)) as bear:
        yield bear


async def rebuild(
    bear: Served, *arguments: str, stderr: int = asyncio.subprocess.PIPE
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "teddy_edge.cli", "rebuild", *arguments),
        *("--socket", str(bear.client.path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
    )


async def outcome(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), (err or b"").decode()


def finish(bear: Served, failed_because: str | None = None) -> None:
    bear.view.rebuild |= {
        "is_running": False,
        "position": 4000,
        "last_seq": 4000,
        "took_s": 1.5,
        "failed_because": failed_because,
    }


async def test_it_waits_until_the_daemon_has_built_them(bear: Served) -> None:
    process = await rebuild(bear)
    await until(lambda: bool(bear.view.rebuild["is_running"]))
    assert process.returncode is None
    finish(bear)
    said = "the read models were built anew from 4000 events, 1.5 s\n"
    assert await outcome(process) == (0, said, "")  # no bar where no terminal is


async def test_a_program_reads_the_end_as_json(bear: Served) -> None:
    process = await rebuild(bear, "--json")
    await until(lambda: bool(bear.view.rebuild["is_running"]))
    finish(bear)
    code, out, err = await outcome(process)
    assert (code, err) == (0, "")
    assert json.loads(out) == {"position": 4000, "took_s": 1.5, "failed_because": None}


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
async def test_a_rebuild_that_failed_says_why_and_fails(
    bear: Served, options: tuple[str, ...]
) -> None:
    process = await rebuild(bear, *options)
    await until(lambda: bool(bear.view.rebuild["is_running"]))
    finish(bear, "sqlite: database or disk is full")
    code, out, err = await outcome(process)
    assert code == 1
    assert "database or disk is full" in (out if options else err)


async def test_a_second_one_is_told_that_one_is_running(bear: Served) -> None:
    bear.view.rebuild["is_running"] = True
    code, out, err = await outcome(await rebuild(bear))
    assert (code, out) == (1, "")
    assert "a rebuild is running already" in err
    assert "[rebuild_running]" in err
    code, out, _ = await outcome(await rebuild(bear, "--json"))
    assert code == 1
    assert json.loads(out)["error"]["code"] == "rebuild_running"


async def test_a_daemon_that_ends_meanwhile_is_said(tmp_path: Path) -> None:
    async with serving(Served(tmp_path)) as bear:
        process = await rebuild(bear)
        await until(lambda: bool(bear.view.rebuild["is_running"]))
    code, out, err = await outcome(process)
    assert (code, out) == (69, "")
    assert "no teddy-edge daemon answers" in err


async def test_a_terminal_shows_how_far_it_is_and_is_left_clean(bear: Served) -> None:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = await rebuild(bear, stderr=theirs)
    os.close(theirs)
    bear.view.rebuild |= {"position": 1200, "last_seq": 4000}
    shown = bytearray()

    def has_shown(text: bytes) -> bool:
        with contextlib.suppress(OSError):  # nothing to read, or nobody writes any more
            shown.extend(os.read(ours, 4096))
        return text in shown

    await until(lambda: has_shown(b" 30 %"))
    assert b"[#########                     ]" in shown
    finish(bear)
    await outcome(process)
    await until(lambda: has_shown(b"\r\x1b[K"))
    assert shown.endswith(b"\r\x1b[K")
    os.close(ours)


async def test_the_status_says_how_far_a_rebuild_is(bear: Served) -> None:
    bear.view.rebuild |= {"is_running": True, "position": 1200, "last_seq": 4000}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "teddy_edge.cli", "status", "--socket", str(bear.client.path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    code, out, _ = await outcome(process)
    assert code == 0
    assert "rebuild 1200 of 4000 events" in out
