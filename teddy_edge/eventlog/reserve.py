"""Room on the card for what must be recorded when nothing else fits any more.

A file of zeros holds the room. When the card has less than that left, the file goes, and with it
the permission to append anything that is not essential. When the card has room again, it is made
again. Before it is touched, the spares go, and what is kept aside to be looked at.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from teddy_edge.eventlog.files import NEW, Files
from teddy_edge.eventlog.quarantine import give_up_kept_aside
from teddy_edge.eventlog.spares import Spares, give_up_spares
from teddy_edge.eventlog.whole_files import give_up, is_file, size_of, write_whole

RESERVE_NAME: Final = "reserve"


class Reserve:
    """The reserve of one log, and the spares, which it gives up first."""

    def __init__(self, directory: Path, files: Files, reserve_bytes: int, spares: Spares) -> None:
        self.spares = spares
        self._path = directory / RESERVE_NAME
        self._files = files
        self._reserve_bytes = reserve_bytes
        self._is_held = is_file(files, self._path) and size_of(files, self._path) == reserve_bytes
        self._is_closed = False
        self._one_at_a_time = threading.Lock()

    @property
    def is_spent(self) -> bool:
        """Whether only what is essential may be appended."""
        return self._reserve_bytes > 0 and not self._is_held

    @property
    def wanted_bytes(self) -> int:
        """What must be free on the card so that the reserve stays, or is made again."""
        return self._reserve_bytes if self._is_held else 3 * self._reserve_bytes

    @property
    def has_room_beside(self) -> bool:
        """Whether one more segment finds room on the card, and the reserve as well."""
        segment_bytes = self.spares.segment_bytes_max
        return self._free_bytes() >= self.wanted_bytes + segment_bytes

    def keep(self) -> None:
        """Give the room up if the card is nearly full; take it again if the card has room."""
        with self._one_at_a_time:
            if self._is_closed:
                return
            if self.spares.size_bytes and not self.has_room_beside:
                self.spares.give_up()
            if not self.has_room_beside:
                give_up_kept_aside(self._path.parent, self._files)
            if self._reserve_bytes > 0:
                self._keep()

    def close(self) -> None:
        """Change nothing any more; returns when nobody does."""
        with self._one_at_a_time:
            self._is_closed = True

    def _free_bytes(self) -> int:
        return self._files.free_bytes(self._path.parent)

    def _keep(self) -> None:
        free_bytes = self._free_bytes()
        if self._is_held and free_bytes < self._reserve_bytes:
            self._files.remove(self._path)
            self._files.sync_directory(self._path.parent)
            self._is_held = False
        elif not self._is_held and free_bytes >= 3 * self._reserve_bytes:
            write_whole(self._files, self._path, bytes(self._reserve_bytes))
            self._is_held = True


def free_up(directory: Path, files: Files) -> bool:
    """Give room up without asking, for a recovery that finds the card full.

    First the spares, then what is kept aside, then the reserve. False if nothing is left to give.
    """
    return (
        give_up_spares(directory, files)
        or give_up_kept_aside(directory, files)
        or give_up(directory, files, [RESERVE_NAME, RESERVE_NAME + NEW])
    )
