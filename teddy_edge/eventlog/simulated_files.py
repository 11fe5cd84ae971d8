"""Files in memory that lose what was not synced, and fail when told to. For tests.

Every change is kept in a journal, from which `after_crash` makes what a machine finds that lost its
power at some point of it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

from teddy_edge.errors import LogLocked
from teddy_edge.eventlog.files import BLOCK_BYTES, File, Lock
from teddy_edge.eventlog.simulated_device import Change, Device, Loss, change_content


class SimulatedFiles:
    """`Files` in memory. One directory level is enough for a log."""

    def __init__(self) -> None:
        self.journal: list[Change] = []
        self.fault: Callable[[str, Path], OSError | None] = _no_fault
        """Called before each operation with its name and path; what it gives is raised."""
        self.capacity_bytes = 1 << 40
        """A write that would need more fails with ENOSPC."""
        self._contents: dict[int, bytearray] = {}
        self._names: dict[Path, int] = {}
        self._locked: set[Path] = set()
        self._unreadable: set[tuple[int, int]] = set()

    def after_crash(self, at: int, loss: Loss, random: Random) -> SimulatedFiles:
        """What a machine finds that lost its power when `at` changes were done."""
        device = Device()
        for change in self.journal[:at]:
            device.take(change)
        device.lose_power(loss, random)
        return self._restarted(device.contents, device.names)

    def copy(self) -> SimulatedFiles:
        """What another process would find now, as files of its own: everything durable."""
        contents = {inode: bytearray(content) for inode, content in self._contents.items()}
        return self._restarted(contents, self._names)

    def reopened(self) -> SimulatedFiles:
        """The same files for the next process: the page cache is there, nothing more is synced."""
        self._locked.clear()
        self.fault = _no_fault
        return self

    def content(self, path: Path) -> bytes:
        """What a file holds now."""
        return bytes(self._contents[self._inode(path)])

    def damage(self, path: Path, content: bytes) -> None:
        """Put other bytes in the place of a file, as if the device had always held them."""
        inode = self._names.get(path)
        if inode is None:
            inode = self._new_inode(path)
        self._contents[inode] = bytearray(content)
        self._record(Change("truncate", path, inode, 0))
        self._record(Change("write", path, inode, 0, content))
        self._record(Change("sync", path, inode))
        self._record(Change("sync_directory", path.parent))

    def make_unreadable(self, path: Path, block: int) -> None:
        """Let each reading of a block (`BLOCK_BYTES`) fail with EIO."""
        self._unreadable.add((self._inode(path), block))

    def make_directory(self, directory: Path) -> None:
        """See `Files`."""
        self._check("make_directory", directory)

    def names(self, directory: Path) -> list[str]:
        """See `Files`."""
        self._check("names", directory)
        return sorted(path.name for path in self._names if path.parent == directory)

    def create(self, path: Path) -> File:
        """See `Files`."""
        self._check("create", path)
        inode = self._names.get(path)
        if inode is None:
            inode = self._new_inode(path)
        self._contents[inode].clear()
        self._record(Change("truncate", path, inode, 0))
        return SimulatedFile(self, path, inode)

    def open(self, path: Path, *, writable: bool = False) -> File:
        """See `Files`."""
        del writable
        self._check("open", path)
        return SimulatedFile(self, path, self._inode(path))

    def rename(self, old: Path, new: Path) -> None:
        """See `Files`."""
        self._check("rename", new)
        inode = self._inode(old)
        del self._names[old]
        self._names[new] = inode
        self._record(Change("link", new, inode))

    def remove(self, path: Path) -> None:
        """See `Files`."""
        self._check("remove", path)
        self._inode(path)
        del self._names[path]
        self._record(Change("unlink", path))

    def sync_directory(self, directory: Path) -> None:
        """See `Files`."""
        self._check("sync_directory", directory)
        self._record(Change("sync_directory", directory))

    def free_bytes(self, directory: Path) -> int:
        """See `Files`; what no name leads to any more is free."""
        del directory
        return self.capacity_bytes - sum(len(self._contents[i]) for i in self._names.values())

    def lock(self, path: Path) -> Lock:
        """See `Files`."""
        self._check("lock", path)
        if path in self._locked:
            raise LogLocked(path.parent, os.getpid())
        self._locked.add(path)
        return SimulatedLock(self._locked, path)

    def _restarted(self, contents: dict[int, bytearray], names: dict[Path, int]) -> SimulatedFiles:
        restarted = SimulatedFiles()
        for path, inode in names.items():
            restarted.damage(path, bytes(contents.get(inode, b"")))
        return restarted

    def _inode(self, path: Path) -> int:
        if path not in self._names:
            raise FileNotFoundError(2, "no such file", str(path))
        return self._names[path]

    def _new_inode(self, path: Path) -> int:
        inode = len(self._contents) + 1
        self._names[path] = inode
        self._contents[inode] = bytearray()
        self._record(Change("link", path, inode))
        return inode

    def _check(self, operation: str, path: Path) -> None:
        fault = self.fault(operation, path)
        if fault is not None:
            raise fault

    def _record(self, change: Change) -> None:
        self.journal.append(change)


class FailAt:
    """A fault: the Nth of some operations fails (0 is the first), and if asked all after it."""

    def __init__(self, number: int, code: int, operations: str = "", *, onwards: bool = False):
        self.fired = False
        self._number = number
        self._code = code
        self._operations = operations.split()
        self._onwards = onwards

    def __call__(self, operation: str, path: Path) -> OSError | None:
        """See `SimulatedFiles.fault`."""
        if self._operations and operation not in self._operations:
            return None
        self._number -= 1
        if self._number == -1 or (self._onwards and self._number < 0):
            self.fired = True
            return OSError(self._code, os.strerror(self._code), str(path))
        return None


def _no_fault(operation: str, path: Path) -> OSError | None:
    del operation, path
    return None


class SimulatedLock:
    """A lock among those who share the same `SimulatedFiles`."""

    def __init__(self, locked: set[Path], path: Path) -> None:
        self._locked = locked
        self._path = path

    def release(self) -> None:
        """See `Lock`."""
        self._locked.remove(self._path)


class SimulatedFile:
    """An open file of `SimulatedFiles`."""

    def __init__(self, files: SimulatedFiles, path: Path, inode: int) -> None:
        self._files = files
        self._path = path
        self._inode = inode

    @property
    def _content(self) -> bytearray:
        return self._files._contents[self._inode]

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """See `File`."""
        self._check("read")
        last = (offset_bytes + size_bytes - 1) // BLOCK_BYTES
        for block in range(offset_bytes // BLOCK_BYTES, last + 1):
            if (self._inode, block) in self._files._unreadable:
                raise OSError(errno.EIO, "cannot be read", str(self._path))
        return bytes(self._content[offset_bytes : offset_bytes + size_bytes])

    def write(self, offset_bytes: int, data: bytes) -> None:
        """See `File`."""
        self._check("write")
        growth_bytes = offset_bytes + len(data) - len(self._content)
        if growth_bytes > self._files.free_bytes(self._path.parent):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._do(Change("write", self._path, self._inode, offset_bytes, data))

    def truncate(self, size_bytes: int) -> None:
        """See `File`."""
        self._check("truncate")
        self._do(Change("truncate", self._path, self._inode, size_bytes))

    def sync(self) -> None:
        """See `File`; what was written before one that fails never gets to the device."""
        fault = self._files.fault("sync", self._path)
        kind = "sync" if fault is None else "lose"
        self._files.journal.append(Change(kind, self._path, self._inode))
        if fault is not None:
            raise fault

    def size_bytes(self) -> int:
        """See `File`."""
        return len(self._content)

    def close(self) -> None:
        """See `File`."""

    def _do(self, change: Change) -> None:
        change_content(self._content, change)
        self._files.journal.append(change)

    def _check(self, operation: str) -> None:
        fault = self._files.fault(operation, self._path)
        if fault is not None:
            raise fault
