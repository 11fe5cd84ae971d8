"""`teddy-edge log`, as a process, on whole, live, copied and damaged logs."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import pty
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from teddy_edge import progress
from teddy_edge.clock import SystemClock
from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.eventlog.segment import HEADER_BYTES, file_name
from teddy_edge.events import ButtonPressed, Cause, ChildRegistered, encode_event
from teddy_edge.settings import LogSettings
from tests.cli.test_cli import HEAVY, end, python, teddy

CANARY = "Zofia Canary"
SETTINGS = LogSettings(segment_bytes_max=4096, allocation_bytes=1000)
EVENTS = 60
UNREADABLE = EVENTS + 1


def entry(number: int) -> Entry:
    clock = SystemClock()
    if number % 3:
        event = ButtonPressed(button=f"paw-{number}")
        return Entry(5, encode_event(event, "bear/bear-7", Cause(), clock))
    child = ChildRegistered(f"c-{number}", "p", "d", CANARY, 7, "u")
    return Entry(2, encode_event(child, f"child/c-{number}", Cause(), clock))


async def write(directory: Path) -> EventLog:
    """Write a log whose last record is no event; leave it open."""
    log = EventLog.open(directory, SETTINGS)
    log.start()
    for number in range(1, EVENTS + 1):
        await log.append([entry(number)])
    await log.append([Entry(77, b"no event")])
    return log


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """A log that was closed."""
    await (await write(tmp_path / "log")).close()
    return tmp_path / "log"


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.log"))


def overwrite(path: Path, offset_bytes: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[offset_bytes : offset_bytes + len(data)] = data
    path.write_bytes(bytes(content))


async def log(action: str, *arguments: str | Path) -> tuple[int, str, str]:
    outcome = await teddy("log", action, *map(str, arguments))
    return outcome.code, outcome.out, outcome.err


async def log_json(action: str, *arguments: str | Path) -> tuple[int, Any]:
    code, out, _ = await log(action, "--json", *arguments)
    return code, json.loads(out)


async def test_a_whole_log_is_called_whole(directory: Path) -> None:
    code, out, err = await log("verify", directory)
    assert (code, err) == (0, "")
    assert out.endswith("\nwhole\n")
    code, found = await log_json("verify", directory)
    assert code == 0
    assert found == {
        "directory": str(directory),
        "epoch": found["epoch"],
        "whole": True,
        "segments": len(segments(directory)),
        "records": UNREADABLE,
        "removed": 0,
        "first_seq": 1,
        "last_seq": UNREADABLE,
        "defects": [],
        "unfinished": None,
        "kept_aside": [],
    }


async def test_damage_is_named_by_segment_and_offset_with_what_is_lost(directory: Path) -> None:
    damaged = segments(directory)[1]
    overwrite(damaged, HEADER_BYTES + 30, b"damage")
    first_lost = int(damaged.stem)
    code, found = await log_json("verify", directory)
    assert code == 1
    (defect,) = found["defects"]
    assert (found["whole"], found["records"]) == (False, UNREADABLE - 1)
    assert defect["bytes"] > 0
    assert defect == {
        "kind": "bytes",
        "segment": damaged.name,
        "offset": HEADER_BYTES,
        "bytes": defect["bytes"],
        "first_seq": first_lost,
        "last_seq": first_lost,
    }
    code, out, _ = await log("verify", directory)
    assert code == 1
    place = f"{damaged.name} at byte {HEADER_BYTES}"
    told = f"damaged   {place}: {defect['bytes']} bytes are no record; lost: {first_lost}\n"
    assert told in out
    assert out.endswith("\nnot whole\n")
    for action in ("dump", "stats"):
        code, _, err = await log(action, directory)
        assert code == 1
        assert f"{place}: " in err


async def test_a_damaged_origin_file_is_named_and_so_is_what_is_missing_before_the_rest(
    directory: Path,
) -> None:
    (directory / "origin").write_bytes(b"garbage")
    first, after = segments(directory)[:2]
    first.unlink()
    code, out, _ = await log("verify", directory)
    assert code == 1
    assert "damaged   origin at byte 0: the file is missing or damaged" in out
    assert f"there is no such segment; lost: 1 to {int(after.stem) - 1}\n" in out
    for action in ("dump", "stats"):
        code, _, err = await log(action, directory)
        assert code == 1
        assert "origin at byte 0: " in err


def make_huge(path: Path) -> None:
    """More than any memory holds, and nothing of it on the card."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


NO_FILES: dict[str, Callable[[Path], None]] = {
    "directory": lambda path: path.mkdir(),
    "FIFO": os.mkfifo,
    "link that leads nowhere": lambda path: path.symlink_to("/nonexistent"),
    "larger than any memory": make_huge,
}


@pytest.mark.parametrize("what", NO_FILES)
async def test_what_is_no_file_is_named_and_the_rest_is_read(directory: Path, what: str) -> None:
    name = file_name(UNREADABLE + 100)
    NO_FILES[what](directory / name)
    told = f"{name} at byte 0: this cannot be read; expected is a regular file of at most 128 MiB"
    code, out, err = await log("verify", directory)
    assert (code, err) == (1, "")
    assert f"damaged   {told}\n" in out
    assert f"events    {UNREADABLE}, the last is {UNREADABLE}\n" in out
    for action in ("dump", "stats"):
        code, out, err = await log(action, directory)
        assert (code, err) == (1, f"teddy-edge: {told}\n")
        assert out


async def test_a_link_that_leads_nowhere_among_what_was_put_aside_is_named(
    directory: Path,
) -> None:
    (directory / "1.torn").symlink_to("/nonexistent")
    for action in ("verify", "dump", "stats"):
        code, out, err = await log(action, directory)
        assert code == 1
        assert "1.torn at byte 0: this cannot be read" in out + err


async def test_a_torn_tail_is_no_damage_and_told_apart(directory: Path) -> None:
    last = segments(directory)[-1]
    size_bytes = last.stat().st_size
    last.write_bytes(last.read_bytes() + b"torn")
    code, found = await log_json("verify", directory)
    assert (code, found["whole"]) == (0, True)
    assert found["unfinished"] == {"segment": last.name, "offset": size_bytes, "bytes": 4}
    _, out, _ = await log("verify", directory)
    assert f"{last.name} at byte {size_bytes}" in out


async def test_what_was_put_aside_is_listed(directory: Path) -> None:
    last = segments(directory)[-1]
    last.write_bytes(last.read_bytes() + b"torn")
    await close_again(directory)
    code, found = await log_json("verify", directory)
    assert code == 0
    assert found["kept_aside"] == [{"file": f"{UNREADABLE + 1:020}.torn", "bytes": 4}]
    _, out, _ = await log("verify", directory)
    assert f"{UNREADABLE + 1:020}.torn, 4 bytes" in out


async def close_again(directory: Path) -> None:
    log = EventLog.open(directory, SETTINGS)
    await log.close()


@pytest.mark.parametrize("action", ["dump", "verify", "stats"])
async def test_what_is_no_log_and_what_is_newer_have_their_own_exit_codes(
    directory: Path, action: str
) -> None:
    for no_log, why in (
        (directory.parent, "it holds no segment, such as 00000000000000000001.log"),
        (directory / "missing", "there is nothing of this name"),
        (segments(directory)[0], "it is no directory"),
    ):
        code, out, err = await log(action, no_log)
        assert (code, out) == (2, "")
        assert f"{no_log} is not an event log: {why}" in err
        is_hinted = f"the log of a bear's data is in {directory.parent}/log" in err
        assert is_hinted == (no_log / "log" == directory)
    first = segments(directory)[0]
    version = first.read_bytes()[:8] + (9).to_bytes(4, "little")
    overwrite(first, 0, version + zlib.crc32(version).to_bytes(4, "little"))
    code, out, err = await log(action, directory)
    assert (code, out) == (76, "")
    assert "version 9" in err


async def test_the_directory_is_that_of_the_settings_if_none_is_given(directory: Path) -> None:
    config = directory.parent / "teddy-edge.toml"
    config.write_text(f'bear = "bear-7"\ndata_directory = "{directory.parent}"\n')
    code, found = await log_json("stats", "--config", config)
    assert (code, found["directory"]) == (0, str(directory))
    _, out, _ = await log("dump", "--json", "--config", config, "--to", "1")
    assert json.loads(out)["source"] == "teddy/bear-7"


async def test_a_dump_has_a_line_for_each_record_and_nothing_of_a_child(directory: Path) -> None:
    code, out, err = await log("dump", directory)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(1, UNREADABLE + 1))
    assert lines[0].split()[1] == "activity"
    assert lines[0].split()[-2:] == ["button_pressed", "bear/bear-7"]
    assert lines[-1].endswith("a body that this version cannot read")
    assert CANARY not in out


async def test_a_dump_of_a_range_begins_and_ends_there(directory: Path) -> None:
    for first, last in ((1, 1), (20, 40), (EVENTS, 500), (300, 400)):
        code, out, _ = await log("dump", directory, "--from", str(first), "--to", str(last))
        seqs = [int(line.split()[0]) for line in out.splitlines()]
        assert code == 0
        assert seqs == list(range(first, min(last, UNREADABLE) + 1))


async def test_a_dump_as_json_shows_data_only_when_asked(directory: Path) -> None:
    _, out, _ = await log("dump", "--json", directory)
    without = [json.loads(line) for line in out.splitlines()]
    assert CANARY not in out
    _, out, _ = await log("dump", "--data", directory)
    events = [json.loads(line) for line in out.splitlines()]
    assert events[2]["data"]["name"] == CANARY
    assert without == [{k: v for k, v in event.items() if k != "data"} for event in events]
    assert events[-1] == {"seq": UNREADABLE, "dataclass": "class-77", "unreadable": 8}
    epoch = (await log_json("verify", directory))[1]["epoch"]
    assert events[0]["source"] == f"teddy/log-{epoch}"


async def test_statistics_add_up(directory: Path) -> None:
    code, found = await log_json("stats", directory)
    assert code == 0
    size_bytes = sum(path.stat().st_size for path in segments(directory))
    assert found["bytes"] == size_bytes
    assert found["bytes_per_record"] == round(size_bytes / UNREADABLE, 1)
    assert (found["first_seq"], found["last_seq"]) == (1, UNREADABLE)
    assert found["first_time"].endswith("Z")
    assert found["last_time"] is None
    counts = {name: held["records"] for name, held in found["classes"].items()}
    assert counts == {"consent": EVENTS // 3, "activity": EVENTS - EVENTS // 3, "class-77": 1}
    assert found["classes"]["class-77"]["bytes"] == 8
    _, out, _ = await log("stats", directory)
    assert f"{UNREADABLE}, {found['bytes_per_record']} bytes each" in out


async def test_an_empty_log_has_no_statistics_and_is_whole(tmp_path: Path) -> None:
    await close_again(tmp_path)
    code, found = await log_json("stats", tmp_path)
    assert (code, found["records"], found["first_time"], found["classes"]) == (0, 0, None, {})
    assert (await log("stats", tmp_path))[0] == 0
    assert (await log("verify", tmp_path))[0] == 0
    assert (await log("dump", tmp_path))[1] == ""


async def test_a_log_that_is_being_written_is_whole_and_so_is_its_copy(tmp_path: Path) -> None:
    """Each look is at another moment; none may see half a record."""
    directory = tmp_path / "log"
    live = await write(directory)
    stopping = asyncio.Event()

    async def produce() -> None:
        number = EVENTS
        while not stopping.is_set():
            number += 1
            await live.append([entry(number)] * (number % 3 + 1))
            await asyncio.sleep(0.002)  # so that a slow machine has not much more to look at

    producing = [asyncio.create_task(produce()) for _ in range(4)]
    for look in range(4):
        for action in ("verify", "stats", "dump"):
            code, out, err = await log(action, directory)
            assert (code, err) == (0, ""), (look, action, out)
    stopping.set()
    await asyncio.gather(*producing)
    copied = shutil.copytree(directory, tmp_path / "copy")
    last_seq = live.last_seq
    await live.close()
    code, found = await log_json("verify", copied)
    assert (code, found["last_seq"]) == (0, last_seq)


def state_of(directory: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}


async def test_looking_takes_no_lock_and_changes_nothing(directory: Path) -> None:
    live = EventLog.open(directory, SETTINGS)
    before = state_of(directory)
    for action in ("dump", "verify", "stats"):
        assert (await log(action, directory))[0] == 0
    assert state_of(directory) == before
    await live.close()


async def test_a_dump_ends_when_its_reader_has_enough(directory: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = await python(["-m", "teddy_edge.cli", "log", "dump", str(directory)], stdout=writing)
    os.close(writing)
    outcome = await end(process)
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_files_that_may_not_be_read_are_not_called_damaged(directory: Path) -> None:
    segments(directory)[0].chmod(0)
    code, _, err = await log("verify", directory)
    assert code == 74
    assert "cannot be read: Permission denied" in err


@pytest.mark.parametrize("action", ["dump", "verify", "stats"])
async def test_help_documents_the_exit_codes_and_the_json(action: str) -> None:
    _, out, _ = await log("--help")
    for line in ("  0 ", "  1 ", "  2 ", "  74 ", "  76 "):
        assert f"\n{line}" in out
    _, out, _ = await log(action, "--help")
    for words in ("--json", "--config", "exit codes"):
        assert words in out


async def test_help_names_every_key_of_the_json(directory: Path) -> None:
    overwrite(segments(directory)[0], HEADER_BYTES + 30, b"damage")
    (directory / "1.torn").touch()
    segments(directory)[-1].write_bytes(segments(directory)[-1].read_bytes() + b"torn")
    for action in ("verify", "stats", "dump"):
        _, helped, _ = await log(action, "--help")
        _, out, _ = await log(action, "--data" if action == "dump" else "--json", directory)
        found = json.loads(out.splitlines()[0])
        inner = found.get("defects", []) + found.get("kept_aside", [])
        for key in [*found, *(name for part in inner for name in part)]:
            assert key in helped


async def test_the_log_commands_import_nothing_of_the_daemons() -> None:
    unneeded = [name for name in HEAVY if name not in {"pydantic", "msgpack", "asyncio"}]
    for arguments in (["log", "verify", "/nowhere"], ["log", "--help"]):
        code = (
            "import sys\n"
            "from teddy_edge.cli import main\n"
            "try:\n"
            f"    main({arguments!r})\n"
            "except SystemExit:\n"
            "    pass\n"
            f"print([name for name in {unneeded!r} if name in sys.modules])\n"
        )
        assert (await end(await python(["-c", code]))).out.endswith("[]\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_only_where_it_takes_long_and_goes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(progress, "AFTER_S", 3600.0)
    assert list(progress.with_progress("abcd", 4, terminal)) == list("abcd")
    assert terminal.getvalue() == ""
    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    assert list(progress.with_progress("abcd", 4, terminal)) == list("abcd")
    assert "\r[" + "#" * 15 + " " * 15 + "]  50 %" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def read_to_the_end(terminal: int) -> bytes:
    """Read what was written to a terminal that nobody has open any more."""
    shown = b""
    with contextlib.suppress(OSError):  # EIO is its end
        while piece := os.read(terminal, 10_000):
            shown += piece
    return shown


def test_a_terminal_sees_the_bar_and_a_pipe_does_not(directory: Path) -> None:
    """The real command, whose every segment takes long."""
    slow = (
        "import sys, time\n"
        "from teddy_edge import cli, progress\n"
        "progress.AFTER_S = progress.EVERY_S = 0.0\n"
        f"sys.exit(cli.main(['log', 'verify', {str(directory)!r}]))\n"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", slow], stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=60
    )
    os.close(theirs)
    shown = read_to_the_end(ours)
    os.close(ours)
    assert b"%" in shown
    assert b"%" not in done.stdout
    done = subprocess.run([sys.executable, "-c", slow], capture_output=True, check=True, timeout=60)
    assert done.stderr == b""


async def test_a_missing_segment_is_named(directory: Path) -> None:
    gone, after = segments(directory)[1:3]
    gone.unlink()
    code, found = await log_json("verify", directory)
    assert code == 1
    (defect,) = found["defects"]
    assert defect["kind"] == "missing"
    assert defect["segment"] == file_name(int(gone.stem)) == gone.name
    assert (defect["first_seq"], defect["last_seq"]) == (int(gone.stem), int(after.stem) - 1)
