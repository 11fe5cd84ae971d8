"""How the daemon ends, and how it says why: its exit codes, its last line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from teddy_edge.errors import (
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
