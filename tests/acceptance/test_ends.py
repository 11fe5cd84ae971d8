"""How the daemon ends, and how it says why: its exit codes, its last line, systemd's socket."""

from __future__ import annotations

import json
import os
import socket
import zlib
from pathlib import Path
from typing import Any

from teddy_edge.errors import (
    EXIT_CONFIG,
    EXIT_FORMAT,
    EXIT_IO,
    EXIT_LOCKED,
    EXIT_OK,
    EXIT_SOFTWARE,
)
from tests.acceptance.bear import Bear

NO_BROKER = 1
"""A port where nothing listens: the daemon runs without."""


def death(bear: Bear) -> tuple[int, dict[str, Any]]:
    """Start a daemon that cannot run; gives its exit code and its last line, all being JSON."""
    bear.launch()
    code = bear.wait_for_death()
    lines = [json.loads(line) for line in bear.log_file.read_text().splitlines()]
    assert lines[-1]["level"] == "CRITICAL"
    return code, lines[-1]


def test_a_second_daemon_on_the_same_data_is_refused_and_told_which_process_has_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "second").mkdir()
    with Bear(tmp_path, NO_BROKER) as first:
        first.start()
        same_data = {"TEDDY_EDGE_DATA_DIRECTORY": str(first.data_directory)}
        with Bear(tmp_path / "second", NO_BROKER, **same_data) as second:
            code, line = death(second)
        assert code == EXIT_LOCKED
        assert first._process is not None
        assert line["message"].endswith(f"by process {first._process.pid}")
        assert "error" not in line
        assert first.client.status().ok


def test_a_second_daemon_on_the_same_socket_is_refused_and_leaves_it_to_the_first(
    tmp_path: Path,
) -> None:
    (tmp_path / "second").mkdir()
    with Bear(tmp_path, NO_BROKER) as first:
        first.start()
        same_socket = {"TEDDY_EDGE_SOCKET": str(first.socket)}
        with Bear(tmp_path / "second", NO_BROKER, **same_socket) as second:
            code, line = death(second)
        assert code == EXIT_CONFIG
        assert str(first.socket) in line["message"]
        assert "error" not in line
        assert first.client.status().ok


def test_a_log_of_a_newer_version_is_refused_by_name_and_left_as_it_is(tmp_path: Path) -> None:
    with Bear(tmp_path, NO_BROKER) as bear:
        bear.start()
        assert bear.stop() == EXIT_OK
        (segment,) = (bear.data_directory / "log").glob("*.log")
        start = b"TEDDYLOG" + (99).to_bytes(4, "little")
        content = start + zlib.crc32(start).to_bytes(4, "little") + b"\xff" * 100
        segment.write_bytes(content)
        bear.log_file.unlink()
        code, line = death(bear)
        assert code == EXIT_FORMAT
        assert "format version 99" in line["message"]
        assert "error" not in line
        assert segment.read_bytes() == content


def test_a_defect_ends_with_one_line_that_holds_its_stack_trace(tmp_path: Path) -> None:
    with Bear(tmp_path, NO_BROKER, WATCHDOG_USEC="soon") as bear:
        code, line = death(bear)
    assert code == EXIT_SOFTWARE
    assert "Traceback" in line["error"]


def test_a_card_that_cannot_be_used_ends_with_its_own_code_and_a_stack_trace(
    tmp_path: Path,
) -> None:
    with Bear(tmp_path, NO_BROKER) as bear:
        bear.data_directory.write_text("a file in place of the folder")
        code, line = death(bear)
    assert code == EXIT_IO
    assert "Traceback" in line["error"]


def test_systemd_hears_that_the_daemon_is_ready_lives_and_stops(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        with Bear(tmp_path, NO_BROKER, **environ) as bear:
            bear.launch()
            heard = [systemd.recv(100)]
            while heard.count(b"WATCHDOG=1") < 2:
                heard.append(systemd.recv(100))
            assert bear.client.status().ok, "ready means that the socket answers"
            assert bear.stop() == EXIT_OK
            while heard[-1] != b"STOPPING=1":
                heard.append(systemd.recv(100))
    ready_at = heard.index(b"READY=1")
    assert ready_at > 0
    assert all(each.startswith(b"EXTEND_TIMEOUT_USEC=") for each in heard[:ready_at])
    assert set(heard[ready_at + 1 : -1]) == {b"WATCHDOG=1"}


def test_what_the_daemon_keeps_is_for_its_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Bear(tmp_path, NO_BROKER) as bear:
            bear.start()
            open_to_others = [
                path for path in bear.data_directory.rglob("*") if path.stat().st_mode & 0o077
            ]
            assert bear.stop() == EXIT_OK
    finally:
        os.umask(before)
    assert open_to_others == []
