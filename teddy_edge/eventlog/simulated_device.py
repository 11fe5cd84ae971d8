"""What a device has taken, when the power goes, of all that nobody had waited for. For tests.

A `Device` follows the journal of `SimulatedFiles`. What was synced is there. All else is decided
block by block, size by size and name by name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from teddy_edge.eventlog.files import BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the journal.

    `kind` is write, truncate, sync, lose (a sync that failed), link, unlink or sync_directory.
    """

    kind: str
    path: Path
    inode: int = 0
    offset_bytes: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a power cut does to each thing that was not synced."""

    kept: float = 0.0
    """The chance that a sector, a size or a name was taken by the device."""
    torn: float = 0.0
    """The chance that a sector which was being written holds noise."""


@dataclass(slots=True)
class Device:
    """What the device holds for certain, and what it may hold."""

    contents: dict[int, bytearray] = field(default_factory=dict)
    names: dict[Path, int] = field(default_factory=dict)
    waiting: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    waiting_names: list[Change] = field(default_factory=list)

    def take(self, change: Change) -> None:
        """Follow one step of the journal."""
        if change.kind in {"write", "truncate"}:
            self.waiting[change.inode].append(change)
        elif change.kind == "sync":
            self._apply(self.waiting.pop(change.inode, []))
        elif change.kind == "lose":
            self.waiting.pop(change.inode, None)
        elif change.kind == "sync_directory":
            settled = [c for c in self.waiting_names if c.path.parent == change.path]
            self.waiting_names = [c for c in self.waiting_names if c.path.parent != change.path]
            self._apply_names(settled)
        else:
            self.waiting_names.append(change)

    def lose_power(self, loss: Loss, random: Random) -> None:
        """Decide about everything that waits."""
        for changes in self.waiting.values():
            parts = [part for change in changes for part in _sectors(change)]
            self._apply(_surviving(parts, loss, random))
        self._apply_names(c for c in self.waiting_names if random.random() < loss.kept)

    def _apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            content = self.contents.setdefault(change.inode, bytearray())
            change_content(content, change)

    def _apply_names(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.kind == "unlink":
                self.names.pop(change.path, None)
            else:
                self.names = {p: i for p, i in self.names.items() if i != change.inode}
                self.names[change.path] = change.inode


def change_content(content: bytearray, change: Change) -> None:
    """Do to the bytes of a file what a write or a truncation does."""
    if change.kind == "truncate":
        del content[change.offset_bytes :]
        content.extend(bytes(change.offset_bytes - len(content)))
        return
    end = change.offset_bytes + len(change.data)
    content.extend(bytes(max(end - len(content), 0)))
    content[change.offset_bytes : end] = change.data


def _sectors(change: Change) -> Iterator[Change]:
    """Split a write where the device does."""
    if change.kind != "write":
        yield change
        return
    at, data = change.offset_bytes, change.data
    while data:
        size = BLOCK_BYTES - at % BLOCK_BYTES
        yield replace(change, offset_bytes=at, data=data[:size])
        at, data = at + size, data[size:]


def _surviving(parts: Iterable[Change], loss: Loss, random: Random) -> Iterator[Change]:
    for part in parts:
        if random.random() < loss.kept:
            yield part
        elif part.kind == "write" and random.random() < loss.torn:
            cut = random.randrange(len(part.data))
            noise = random.randbytes(len(part.data) - cut)
            yield replace(part, data=part.data[:cut] + noise)
