"""What is kept aside to be looked at: ends that were torn, and files that were damaged. Bounded."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from teddy_edge.eventlog.files import DAMAGED, NEW, NO_ROOM, Files
from teddy_edge.eventlog.whole_files import give_up, is_file, size_of, write_whole
from teddy_edge.settings import LogSettings

TORN: Final = ".torn"


class Quarantine:
    """The files of one log that are kept aside."""

    def __init__(self, directory: Path, files: Files, settings: LogSettings) -> None:
        self._directory = directory
        self._files = files
        self._settings = settings

    def set_aside(self, path: Path) -> Path:
        """Take a file out of the log as it is; gives its new path."""
        aside = path.with_name(path.name + DAMAGED)
        self._files.rename(path, aside)
        return aside

    def keep_damaged(self, path: Path, data: bytes) -> Path | None:
        """Keep what a file held before it is written again; gives the path of the copy."""
        return self._keep(path.with_name(path.name + DAMAGED), data)

    def keep_torn(self, next_seq: int, torn: bytes) -> Path | None:
        """Keep what is cut from the end, up to a limit; gives the path."""
        path = self._directory / f"{next_seq:020d}{TORN}"
        return self._keep(path, torn[: self._settings.torn_bytes_max])

    def bound(self) -> None:
        """Remove what is over the limit, the oldest first."""
        left_bytes = self._settings.quarantine_bytes_max
        for name in reversed(kept_aside(self._directory, self._files)):
            with contextlib.suppress(FileNotFoundError):  # given up meanwhile, for want of room
                left_bytes -= size_of(self._files, self._directory / name)
                if left_bytes < 0:
                    self._files.remove(self._directory / name)
                    self._files.sync_directory(self._directory)

    def _keep(self, path: Path, data: bytes) -> Path | None:
        """Write a file; None, and nothing left behind, where the card has no room for it."""
        try:
            write_whole(self._files, path, data)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            give_up(self._directory, self._files, [path.name + NEW])
            return None
        return path


def kept_aside(directory: Path, files: Files) -> list[str]:
    """Name the files of a log that are kept aside; not what is no file, which takes no room."""
    names = [name for name in files.names(directory) if name.endswith((TORN, DAMAGED))]
    return [name for name in names if is_file(files, directory / name)]


def give_up_kept_aside(directory: Path, files: Files) -> bool:
    """Remove all that is kept aside; says whether there was something."""
    return give_up(directory, files, kept_aside(directory, files))
