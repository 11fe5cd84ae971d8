"""A card that is really full: a small file system of its own, filled up to a point, then freed."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from teddy_edge.errors import EXIT_IO
from tests.acceptance.bear import EMMA
from tests.faults.bears import Told, bear_in, check_next_start, run

CARD_BYTES = 256 * 1024
PAGE_BYTES = 4096
FREE_PAGES = (0, 1, 2, 3)
"""How much room is left: the last write before it is gone is a short one."""
PRESSES = 40
RESERVE_BYTES = 32 * 1024


@contextmanager
def small_card(directory: Path) -> Iterator[None]:
    """Lay a small file system over a directory."""
    directory.mkdir(parents=True)
    options = f"size={CARD_BYTES},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


@cache
def why_not() -> str | None:
    """Say why no file system can be mounted here; None if one can."""
    with TemporaryDirectory() as directory:
        try:
            with small_card(Path(directory) / "card"):
                return None
        except (OSError, subprocess.CalledProcessError) as error:
            return f"no file system can be mounted: {error}"


def fill(directory: Path, free_pages: int) -> Path:
    """Leave so many pages; gives what takes up the rest."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(PAGE_BYTES)):
                pass
        except OSError:
            pass
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - free_pages * PAGE_BYTES)
    return filler


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_a_card_that_fills_up_loses_nothing_and_once_freed_goes_on(tmp_path: Path) -> None:
    codes: Counter[int] = Counter()
    for free_pages in FREE_PAGES:
        directory = tmp_path / str(free_pages)
        with (
            small_card(directory / "data" / "log"),
            bear_in(
                directory,
                TEDDY_EDGE_LOG__SEGMENT_BYTES_MAX="8192",
                TEDDY_EDGE_LOG__ALLOCATION_BYTES="6000",
                TEDDY_EDGE_LOG__RESERVE_BYTES="0",
            ) as bear,
        ):
            log = bear.data_directory / "log"
            bear.start()
            told = Told()
            told.press(bear, 2)
            before = bear.events()
            bear.kill()
            filler = fill(log, free_pages)
            told = Told()
            codes[run(bear, told, presses=PRESSES)] += 1
            filler.unlink()
            check_next_start(bear, told, before)
    print(f"{len(FREE_PAGES)} full cards, exit codes {dict(codes)}")
    assert codes[EXIT_IO] > 0
    assert set(codes) <= {0, EXIT_IO}


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_a_full_card_still_takes_what_is_essential_and_the_bear_goes_on(tmp_path: Path) -> None:
    reserve = {"TEDDY_EDGE_LOG__RESERVE_BYTES": str(RESERVE_BYTES)}
    with small_card(tmp_path / "data" / "log"), bear_in(tmp_path, **reserve) as bear:
        bear.start()
        registered = bear.client.command("register_child", {"data": EMMA})
        bear.stop()
        filler = fill(bear.data_directory / "log", 0)
        bear.start()
        assert bear.client.press("belly").status == 503
        violation = {
            "child_id": registered.body["data"]["child_id"],
            "violation_type": "stranger",
            "severity": "high",
        }
        reported = bear.client.command("report_safety_violation", {"data": violation})
        assert reported.ok, reported.body
        assert bear.client.press("belly").status == 503
        assert bear.stop() == 0
        filler.unlink()
        bear.start()
        assert bear.client.press("belly").ok
        assert len(bear.events_of("safety_violation_reported")) == 1
        assert bear.stop() == 0
