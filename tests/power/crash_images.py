"""What a disk holds when the power goes: all that was flushed, and some of what was not.

Each write that no flush had followed is there, or not, or torn: some of its sectors are there. So a
later write can be there without an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Final, NamedTuple

from tests.power.recorded_disk import Step

SECTOR_BYTES: Final = 512
SUPERBLOCK_BYTES: Final = 2048
"""ext4's own first block ends here. Its checksum is in another sector than its content, so ext4
itself does not survive tearing it, whoever writes to it."""


class Loss(NamedTuple):
    """The chances of a write that was not flushed."""

    kept: float
    torn: float


LOSSES: Final = (
    Loss(0, 0), Loss(1, 0), Loss(0.5, 0), Loss(0.5, 1), Loss(0.9, 1), Loss(0.1, 1), Loss(0, 1),
)  # fmt: skip


class Crash(NamedTuple):
    """The disk after a power cut."""

    step_count: int
    """How many steps had been done."""
    loss: Loss
    unflushed: int
    """How many writes were decided about."""
    image: bytearray

    def __str__(self) -> str:
        return f"after {self.step_count} steps, with {self.unflushed} writes at stake, {self.loss}"


def crashes(
    disk: bytearray, steps: Sequence[Step], cuts: Iterable[int], random: Random
) -> Iterator[Crash]:
    """Cut the power after so many steps, for each of the rising numbers in `cuts`.

    `disk` is what it held before; it follows what becomes durable.
    """
    waiting: list[Step] = []
    done = 0
    for cut in cuts:
        for step in steps[done:cut]:
            waiting.append(step)
            if step.is_flush:
                _apply(disk, waiting[:-1])
                waiting.clear()
        done = cut
        loss = random.choice(LOSSES)
        image = disk.copy()
        for step in waiting:
            _apply(image, _surviving(step, loss, random))
        yield Crash(cut, loss, len(waiting), image)


def _apply(image: bytearray, steps: Iterable[Step]) -> None:
    for step in steps:
        image[step.offset_bytes : step.offset_bytes + len(step.data)] = step.data


def _surviving(step: Step, loss: Loss, random: Random) -> Iterator[Step]:
    if random.random() < loss.kept:
        yield step
    elif random.random() < loss.torn and step.offset_bytes >= SUPERBLOCK_BYTES:
        for at in range(0, len(step.data), SECTOR_BYTES):
            if random.random() < 0.5:
                sector = step.data[at : at + SECTOR_BYTES]
                yield step._replace(offset_bytes=step.offset_bytes + at, data=sector)
