"""Recording a disk, with ext4 on it, while processes live on it."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from tests.power import load
from tests.power.load import Paths
from tests.power.recorded_disk import Step, read_record, recorded_disk
from tests.power.told import Line, read_told, write_told

DISK_BYTES: Final = 16 * 1024 * 1024
BLOCK_BYTES: Final = 4096
MADE_WHOLE: Final = "nodiscard,lazy_itable_init=0,lazy_journal_init=0"

LIVES: Final = 8
ROUNDS: Final = 60
AFTER_A_CUT: Final = 50_000
"""The number of a life after a power cut."""
_PROCESSES: Final = multiprocessing.get_context("fork")


class Recording(NamedTuple):
    """A disk as it was at first, all that was done to it, and what was promised meanwhile."""

    disk: bytearray
    steps: list[Step]
    told: list[Line]


def command(*words: str | Path) -> None:
    """Run a program of the system."""
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{words}: {result.stdout}{result.stderr}"


@contextmanager
def mounted(image: Path, mountpoint: Path) -> Iterator[None]:
    """Mount ext4 through a loop device of its own; the kernel replays the journal.

    After an error it stays, for the kernel to remove with the namespace.
    """
    mountpoint.mkdir(exist_ok=True)
    command("mount", "-t", "ext4", "-o", "loop,noatime", image, mountpoint)
    yield
    command("umount", mountpoint)


def record_lives(directory: Path, random: Random, killed: float) -> Recording:
    """Begin with an empty ext4; SIGKILL ends a share of the lives, and the next one recovers."""
    image = directory / "made"
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    command("mkfs.ext4", "-q", "-F", "-b", str(BLOCK_BYTES), "-E", MADE_WHOLE, image)
    disk = bytearray(image.read_bytes())
    ends_s = [random.uniform(0.1, 0.8) if random.random() < killed else None for _ in range(LIVES)]
    with _recorded(directory, disk, []) as paths:
        for life, ends_after_s in enumerate(ends_s):
            _live(paths, life, ROUNDS, ends_after_s)
    return _recording(paths, disk)


def record_recovery(directory: Path, disk: bytearray, told: Iterable[Line]) -> Recording:
    """Begin with a disk that lost its power, and live on it for a moment.

    What was told of it before counts as told from the start.
    """
    with _recorded(directory, disk, [(0, what, facts) for _, what, facts in told]) as paths:
        _live(paths, AFTER_A_CUT, 3, None)
    return _recording(paths, disk)


@contextmanager
def _recorded(directory: Path, disk: bytearray, told: Iterable[Line]) -> Iterator[Paths]:
    image, shown = directory / "image", directory / "disk"
    paths = Paths(directory / "recorded", directory / "record", directory / "told")
    image.write_bytes(disk)
    shown.touch()
    paths.record.write_bytes(b"")
    write_told(paths.told, told)
    with recorded_disk(image, paths.record, shown), mounted(shown, paths.disk):
        yield paths


def _recording(paths: Paths, disk: bytearray) -> Recording:
    return Recording(disk, list(read_record(paths.record)), read_told(paths.told))


def _live(paths: Paths, number: int, rounds: int, ends_after_s: float | None) -> None:
    process = _PROCESSES.Process(target=load.run, args=(paths, number, rounds))
    process.start()
    process.join(ends_after_s)
    process.kill()
    process.join()
    killed = -9 if ends_after_s is not None else 0
    assert process.exitcode in {0, killed}, "a life failed on a sound disk"
