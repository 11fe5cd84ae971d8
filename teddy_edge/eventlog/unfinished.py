"""What a crash left under another name than it should have, and what a newer version left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from teddy_edge.eventlog.files import NEW, Files
from teddy_edge.eventlog.segment import first_seq_of, read_header
from teddy_edge.eventlog.whole_files import is_file, read_whole, write_unfinished


def refuse_newer(directory: Path, files: Files) -> None:
    """Raise `LogFormatUnsupported` if a newer version was writing a segment."""
    for name in files.names(directory):
        if name.endswith(NEW) and first_seq_of(name.removesuffix(NEW)) is not None:
            read_header(files, directory / name)


def finish_renames(directory: Path, files: Files, set_aside: Callable[[str], None]) -> None:
    """Give a segment the name that a crash kept from it; remove what was not finished.

    What is no file cannot be removed, and is given to `set_aside`.
    """
    names = files.names(directory)
    for name in reversed(names):
        target = name.removesuffix(NEW)
        if target == name:
            continue
        if not is_file(files, directory / name):
            set_aside(name)
            continue
        is_segment = first_seq_of(target) is not None
        if is_segment and target not in names and read_header(files, directory / name) is not None:
            _write_again(files, directory / name, directory / target)
        files.remove(directory / name)
        files.sync_directory(directory)


def _write_again(files: Files, path: Path, target: Path) -> None:
    """Put under a name what can be read of a file; after a failed fsync no other will do."""
    fresh = write_unfinished(files, path, read_whole(files, path))
    files.rename(fresh, target)
    files.sync_directory(target.parent)
