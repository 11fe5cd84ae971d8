"""What is done with a file as a whole: find it, read it around bad blocks, replace or remove it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable
from pathlib import Path

from teddy_edge.eventlog.files import (
    BLOCK_BYTES,
    FILE_BYTES_MAX,
    NEW,
    SHORT_OF,
    UNREADABLE,
    File,
    Files,
)


def refuse_shortage(error: OSError) -> None:
    """Raise again what is not the file's doing: the next start finds it as it was."""
    if error.errno in SHORT_OF:
        raise error


def open_to_read(files: Files, path: Path) -> File:
    """Open a file; once more where the card could not, since a file is given up for good."""
    try:
        return files.open(path)
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
    return files.open(path)


def is_file(files: Files, path: Path) -> bool:
    """Tell whether there is a regular file that can be opened."""
    try:
        open_to_read(files, path).close()
    except OSError as error:
        refuse_shortage(error)
        return False
    return True


def give_up(directory: Path, files: Files, names: Iterable[str]) -> bool:
    """Remove those of some names that are there; says whether there was one."""
    found = sorted(set(names).intersection(files.names(directory)))
    for name in found:
        with contextlib.suppress(FileNotFoundError):  # another thread was faster
            files.remove(directory / name)
    if found:
        files.sync_directory(directory)
    return bool(found)


def size_of(files: Files, path: Path) -> int:
    """Give the size of a file in bytes."""
    file = open_to_read(files, path)
    try:
        return file.size_bytes()
    finally:
        file.close()


def read_whole(files: Files, path: Path) -> bytes:
    """Read a file from end to end, with zeros where the device cannot read it.

    Raises `OSError` where it cannot be opened, or is larger than any file of ours.
    """
    file = open_to_read(files, path)
    try:
        size_bytes = file.size_bytes()
        if size_bytes > FILE_BYTES_MAX:
            what = f"has {size_bytes} bytes, more than any file of ours"
            raise OSError(errno.EFBIG, what, str(path))
        return _read_what_can_be(file, 0, size_bytes)
    finally:
        file.close()


def read_if_possible(files: Files, path: Path) -> bytes | None:
    """As `read_whole`; None where it is not there or cannot be opened at all."""
    try:
        return read_whole(files, path)
    except OSError as error:
        refuse_shortage(error)
        return None


def read_bytes(files: Files, path: Path, offset_bytes: int, size_bytes: int) -> bytes:
    """Read a part of a file, with zeros where the device cannot read it."""
    file = open_to_read(files, path)
    try:
        return _read_what_can_be(file, offset_bytes, size_bytes)
    finally:
        file.close()


def _read_what_can_be(file: File, offset_bytes: int, size_bytes: int) -> bytes:
    """Read in one go; where that fails, block by block, so that one bad block costs only itself."""
    data = _read_unless_bad(file, offset_bytes, size_bytes)
    if data is not None:
        return data
    if size_bytes <= BLOCK_BYTES:  # once more, since what it holds would be lost
        data = _read_unless_bad(file, offset_bytes, size_bytes)
        return bytes(size_bytes) if data is None else data
    first_bytes = max(size_bytes // 2 // BLOCK_BYTES, 1) * BLOCK_BYTES
    return _read_what_can_be(file, offset_bytes, first_bytes) + _read_what_can_be(
        file, offset_bytes + first_bytes, size_bytes - first_bytes
    )


def _read_unless_bad(file: File, offset_bytes: int, size_bytes: int) -> bytes | None:
    try:
        return file.read(offset_bytes, size_bytes)
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        return None


def write_unfinished(files: Files, path: Path, data: bytes) -> Path:
    """Write and sync what a file shall hold, under the name it has until it is whole."""
    unfinished = path.with_name(path.name + NEW)
    file = files.create(unfinished)
    try:
        file.write(0, data)
        file.sync()
    finally:
        file.close()
    return unfinished


def write_whole(files: Files, path: Path, data: bytes) -> None:
    """Make a file, or replace it in one step: after a crash it is the old one or the new one."""
    unfinished = write_unfinished(files, path, data)
    files.rename(unfinished, path)
    files.sync_directory(path.parent)
