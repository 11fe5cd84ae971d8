"""Room on the card for what must be recorded when nothing else fits any more.

A file of zeros holds the room. When the card has less than that left, the file goes, and with it
the permission to append anything that is not essential. When the card has room again, it is made
again. Before it is touched, the spares go.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from teddy_edge.eventlog.files import NEW, Files, write_whole
from teddy_edge.eventlog.spares import Spares, give_up_spares

RESERVE_NAME: Final = "reserve"


class Reserve:
    """The reserve of one log, and the spares, which it gives up first."""

    def __init__(self, directory: Path, files: Files, reserve_bytes: int, spares: Spares) -> None:
        self.spares = spares
        self._path = directory / RESERVE_NAME
        self._files = files
        self._reserve_bytes = reserve_bytes
        self._is_held = RESERVE_NAME in files.names(directory)
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
            if self.spares.size_bytes and not self.has_room_beside:
                self.spares.give_up()
            if self._reserve_bytes > 0:
                self._keep()

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
    """Give room up without asking, for a recovery that finds the card full: spares, then the rest.

    False if there is nothing left to give.
    """
    if give_up_spares(directory, files):
        return True
    names = {RESERVE_NAME, RESERVE_NAME + NEW}.intersection(files.names(directory))
    for name in names:
        files.remove(directory / name)
        files.sync_directory(directory)
    return bool(names)
