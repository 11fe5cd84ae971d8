"""What is kept aside to be looked at: ends that were torn, and files that were damaged. Bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from teddy_edge.eventlog.files import Files, size_of, write_whole
from teddy_edge.settings import LogSettings

TORN: Final = ".torn"
DAMAGED: Final = ".damaged"


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

    def keep_damaged(self, path: Path, data: bytes) -> Path:
        """Keep what a file held before it is written again; gives the path of the copy."""
        aside = path.with_name(path.name + DAMAGED)
        write_whole(self._files, aside, data)
        return aside

    def keep_torn(self, next_seq: int, torn: bytes) -> Path:
        """Keep what is cut from the end, up to a limit; gives the path."""
        path = self._directory / f"{next_seq:020d}{TORN}"
        write_whole(self._files, path, torn[: self._settings.torn_bytes_max])
        return path

    def bound(self) -> None:
        """Remove what is over the limit, the oldest first."""
        names = [n for n in self._files.names(self._directory) if n.endswith((TORN, DAMAGED))]
        left_bytes = self._settings.quarantine_bytes_max
        for name in reversed(names):
            left_bytes -= size_of(self._files, self._directory / name)
            if left_bytes < 0:
                self._files.remove(self._directory / name)
                self._files.sync_directory(self._directory)
