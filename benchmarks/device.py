"""The block device under a directory, and what it counts: bytes written, and flushes.

A process's own counters would not do: they leave out what the file system writes on its behalf.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

SECTOR_BYTES = 512


class Counters(NamedTuple):
    """What a device has done since the machine was started, or since something."""

    written_bytes: int
    flushes: int

    def since(self, before: Counters) -> Counters:
        """What it has done between then and now."""
        return Counters(self.written_bytes - before.written_bytes, self.flushes - before.flushes)


def device_under(directory: Path, name: str | None = None) -> Path | None:
    """Find a device in /sys: by its name there, else the one that holds a directory.

    None where it has none of its own, as on overlayfs, tmpfs and btrfs.
    """
    if name is not None:
        return _whole(Path("/sys/block") / name)
    number = directory.stat().st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    return _whole(device) if device.exists() else None


def _whole(device: Path) -> Path:
    """Give the disk of a partition, and what lies under a mapped device: they count flushes."""
    device = device.resolve(strict=True)
    if (device / "partition").exists():
        return _whole(device.parent)
    below = list(device.glob("slaves/*"))
    return _whole(below[0]) if len(below) == 1 else device


def counters(device: Path) -> Counters:
    """Read what it counted so far: fields 7 and 16 of the kernel's Documentation/block/stat.rst."""
    fields = (device / "stat").read_text().split()
    return Counters(int(fields[6]) * SECTOR_BYTES, int(fields[15]))
