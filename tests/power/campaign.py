"""One campaign: record the disk under a process at load, then cut its power again and again.

It needs root, and namespaces of its own for mounts and processes: the kernel then takes away all
that was mounted and started, however this ends. Loop devices are bound to their mounts.

    unshare --mount --pid --fork --mount-proc --kill-child \\
        python -m tests.power.campaign DIRECTORY --cuts 250 --seed 1
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

from tests.power.checks import Found, check_damage, check_power_cut, pages_before_the_tail, spoil
from tests.power.crash_images import Crash, crashes
from tests.power.load import Paths
from tests.power.recording import Recording, command, mounted, record_lives, record_recovery
from tests.power.told import Told, write_told

DAMAGED: Final = 0.3
"""The share of cuts after which a page is damaged too, on another copy of the disk."""
CUT_AGAIN: Final = 0.04
"""The share of cuts after which recovery itself is recorded and cut."""
CUTS_OF_A_RECOVERY: Final = 5


class Campaign:
    """Power cuts, each on a disk of its own."""

    def __init__(self, directory: Path, random: Random) -> None:
        self.counts: Counter[str] = Counter()
        self._directory = directory
        self._image = directory / "crashed"
        self._paths = Paths(directory / "mounted", directory / "none", directory / "none")
        self._random = random

    def cut(self, recording: Recording, count: int, *, again: bool) -> None:
        """Cut the power that often; `again`: also while the log recovers from that."""
        told = Told()
        lines = 0
        cuts = choose_cuts(recording, count, self._random)
        for crash in crashes(recording.disk, recording.steps, cuts, self._random):
            now = recording.steps[crash.step_count - 1].end_bytes if crash.step_count else 0
            while lines < len(recording.told) and recording.told[lines][0] <= now:
                told.hear(*recording.told[lines][1:])
                lines += 1
            with self._kept_on_failure(crash, recording, lines):
                self._check(crash, told)
                if again and self._random.random() < CUT_AGAIN:
                    recovery = record_recovery(self._directory, crash.image, recording.told[:lines])
                    self.cut(recovery, CUTS_OF_A_RECOVERY, again=False)

    def _check(self, crash: Crash, told: Told) -> None:
        self.counts["power cuts"] += 1
        self.counts["writes at stake"] += crash.unflushed
        with self._crashed(crash):
            found = asyncio.run(check_power_cut(self._paths, told))
        if self._random.random() < DAMAGED:
            with self._crashed(crash):
                self._damage(found)

    @contextmanager
    def _crashed(self, crash: Crash) -> Iterator[None]:
        self._image.unlink(missing_ok=True)
        self._image.write_bytes(crash.image)
        with mounted(self._image, self._paths.disk):
            yield
        command("e2fsck", "-fn", self._image)

    def _damage(self, found: Found) -> None:
        pages = pages_before_the_tail(self._paths)
        if not pages:
            return
        page = self._random.choice(pages)
        spoil(self._paths, page, self._random)
        asyncio.run(check_damage(self._paths, found, page))
        self.counts["damaged pages"] += 1
        self.counts["records in them"] += len(page.seqs)

    @contextmanager
    def _kept_on_failure(self, crash: Crash, recording: Recording, lines: int) -> Iterator[None]:
        """Keep what shows the failure, since a recording is never made twice."""
        try:
            yield
        except BaseException as error:
            kept = self._directory.with_name(f"failed after {crash.step_count} steps")
            kept.mkdir()
            (kept / "disk").write_bytes(crash.image)
            write_told(kept / "told", recording.told[:lines])
            error.add_note(f"{crash}; the disk and what was told are kept in {kept}")
            raise


def choose_cuts(recording: Recording, count: int, random: Random) -> list[int]:
    """Choose moments, in order: half of them anywhere, half just when something was promised.

    Each kind of promise has the same share, however rare it is.
    """
    ends = {step.end_bytes: number for number, step in enumerate(recording.steps, 1)}
    promised: dict[str, list[int]] = {}
    for at, what, _ in recording.told:
        if at in ends:
            promised.setdefault(what, []).append(ends[at])
    anywhere = random.choices(range(len(recording.steps) + 1), k=count - count // 2)
    kinds = random.choices(list(promised.values()), k=count // 2)
    return sorted([*anywhere, *(random.choice(moments) for moments in kinds)])


def figures(counts: Counter[str]) -> str:
    """Put counts in words."""
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def main(arguments: Sequence[str]) -> None:
    """Run one campaign, and print its figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--cuts", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--killed", type=float, default=0.6, help="the share of lives so ended")
    options = parser.parse_args(arguments)
    directory = options.directory / "campaign"
    directory.mkdir()
    command("mount", "-t", "tmpfs", "-o", "size=512m,mode=700", "tmpfs", directory)
    random = Random(options.seed)
    recording = record_lives(directory, random, options.killed)
    promises = Counter(what for _, what, _ in recording.told)
    print(f"seed {options.seed}: {len(recording.steps)} steps, {figures(promises)}")
    campaign = Campaign(directory, random)
    campaign.cut(recording, options.cuts, again=True)
    print(figures(campaign.counts))


if __name__ == "__main__":
    main(sys.argv[1:])
