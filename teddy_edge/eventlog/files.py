"""The file system as the log needs it, and the only code that calls fsync.

`Files` and `File` are Protocols so that a fake which loses un-synced data, or fails a chosen call,
can stand in. Every method raises `OSError` as the system does; nothing here retries.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Protocol

from teddy_edge.errors import LogLocked

BLOCK_BYTES = 512
"""The least that a device reads at once."""

FILE_BYTES_MAX = 128 * 1024 * 1024
"""No setting lets a file of ours become so large; one that claims to be is not read."""

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a full card says, and a quota that is used up."""

UNREADABLE = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG})
"""What a card and its file system say of blocks and files that they cannot read."""

SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM}) | NO_ROOM
"""What the system says when it has no descriptor, memory or room left: nothing of the file."""

NOT_OF_THE_FILE = SHORT_OF | {errno.EACCES, errno.EPERM}
"""What says something of who looks, or when, and not that what is looked at is damaged."""

NEW = ".new"
"""The suffix of a file that is being made; it gets its name when it is whole and synced."""

DAMAGED = ".damaged"
"""The suffix of what is set aside as it was found."""


class File(Protocol):
    """An open file, addressed by offset."""

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Read up to `size_bytes`; fewer only at the end of the file."""

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Write all of `data`, also where the system takes it in parts."""

    def truncate(self, size_bytes: int) -> None:
        """Cut the file, or grow it with zeros."""

    def sync(self) -> None:
        """Wait until the data, and the size that is needed to read it, are on the device."""

    def size_bytes(self) -> int:
        """The size now."""

    def close(self) -> None:
        """Give the descriptor back; promises nothing about the device."""


class Lock(Protocol):
    """A lock that is held."""

    def release(self) -> None:
        """Let another process have it."""


class Files(Protocol):
    """The operations on names."""

    def make_directory(self, directory: Path) -> None:
        """Make it, mode 0700, with its parents; durable on return. Nothing if it is there."""

    def names(self, directory: Path) -> list[str]:
        """The names in it, sorted."""

    def create(self, path: Path) -> File:
        """Make an empty file, mode 0600, or empty the one that is there."""

    def open(self, path: Path, *, writable: bool = False) -> File:
        """Open a file that exists; what is no regular file is refused, and never waited for."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, replacing what had it. Durable after `sync_directory`."""

    def remove(self, path: Path) -> None:
        """Remove a name. Durable after `sync_directory`."""

    def sync_directory(self, directory: Path) -> None:
        """Wait until the names in the directory are on the device."""

    def free_bytes(self, directory: Path) -> int:
        """How much can still be written to the device under a directory."""

    def lock(self, path: Path) -> Lock:
        """Take the lock file, or raise `LogLocked` with the pid of who has it."""


class SystemFile:
    """A file of the operating system."""

    def __init__(self, path: Path, flags: int) -> None:
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO would wait for its other end
        self._descriptor = os.open(path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.close(self._descriptor)
            raise OSError(errno.EINVAL, "is no regular file", str(path))

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """See `File`."""
        parts: list[bytes] = []
        while size_bytes > 0:
            part = os.pread(self._descriptor, size_bytes, offset_bytes)
            if not part:
                break
            parts.append(part)
            offset_bytes += len(part)
            size_bytes -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset_bytes: int, data: bytes) -> None:
        """See `File`."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, offset_bytes)
            offset_bytes += written
            rest = rest[written:]

    def truncate(self, size_bytes: int) -> None:
        """See `File`."""
        os.ftruncate(self._descriptor, size_bytes)

    def sync(self) -> None:
        """See `File`."""
        os.fdatasync(self._descriptor)

    def size_bytes(self) -> int:
        """See `File`."""
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """See `File`."""
        os.close(self._descriptor)


class SystemLock:
    """An flock on a file that holds the owner's pid; the kernel releases it when we die."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._is_held = True
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(self._descriptor, 32, 0).strip()
            os.close(self._descriptor)
            raise LogLocked(path.parent, int(owner) if owner.isdigit() else None) from error
        with contextlib.suppress(OSError):  # the pid is for people; a full card must not matter
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """See `Lock`."""
        if self._is_held:
            self._is_held = False
            os.close(self._descriptor)


class SystemFiles:
    """The operating system's files."""

    def make_directory(self, directory: Path) -> None:
        """See `Files`."""
        if directory.is_dir():
            self.sync_directory(directory.parent)  # who made it may have been killed before
            return
        if not directory.parent.is_dir():
            self.make_directory(directory.parent)
        directory.mkdir(mode=0o700)
        self.sync_directory(directory.parent)

    def names(self, directory: Path) -> list[str]:
        """See `Files`."""
        return sorted(path.name for path in directory.iterdir())

    def create(self, path: Path) -> File:
        """See `Files`."""
        return SystemFile(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def open(self, path: Path, *, writable: bool = False) -> File:
        """See `Files`."""
        return SystemFile(path, os.O_RDWR if writable else os.O_RDONLY)

    def rename(self, old: Path, new: Path) -> None:
        """See `Files`."""
        old.replace(new)

    def remove(self, path: Path) -> None:
        """See `Files`."""
        path.unlink()

    def sync_directory(self, directory: Path) -> None:
        """See `Files`."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self, directory: Path) -> int:
        """See `Files`."""
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize

    def lock(self, path: Path) -> Lock:
        """See `Files`. What can be no lock is set aside; one of another user may be held."""
        try:
            return SystemLock(path)
        except OSError as error:
            if error.errno in NOT_OF_THE_FILE:
                raise
            path.replace(path.with_name(path.name + DAMAGED))
            return SystemLock(path)
