"""Files of removed segments, kept for the next ones.

To write in a file that is there in full costs the card less than to make one longer. So what
retention frees is kept as a spare, and the next segment takes it over: first the new header is made
durable in the spare, then the spare gets the segment's name. In between, and at any time before, it
is no segment, since only names make segments. No file ever has two names.

A spare is named by the last number that was ever written in it, and given only to a segment that
begins behind it. So whatever still stands in a segment's file from before has a lower number than
every record of the segment itself.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from teddy_edge.eventlog.files import Files
from teddy_edge.eventlog.frame import SEAL_BYTES
from teddy_edge.eventlog.segment import Header, Segment, encode_header, file_name
from teddy_edge.eventlog.whole_files import give_up, is_file, size_of
from teddy_edge.settings import LogSettings

_NAME: Final = re.compile(r"([0-9]{20})\.spare")


def spare_name(last_seq: int) -> str:
    """Name the spare in which no number after this one was ever written."""
    return f"{last_seq:020d}.spare"


def last_seq_of(name: str) -> int | None:
    """Read the number out of a spare's name; None for any other name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


class Spares:
    """The spares of one log. Any thread may call; each call but a property blocks.

    Nobody waits for another's card: the lock is held only to say which files are whose.
    """

    def __init__(
        self, directory: Path, files: Files, settings: LogSettings, last_seq: int
    ) -> None:  # fmt: skip
        """Find the spares. Those that are too many, or not older than `last_seq`, are removed."""
        self._directory = directory
        self._files = files
        self.segment_bytes_max = settings.segment_bytes_max
        self._count_max = settings.spare_segments_max
        self._sizes_bytes: dict[str, int] = {}
        self._in_hand: set[str] = set()
        """Those whose file is being made a spare, a segment or room: no other may touch it."""
        self._one_at_a_time = threading.Lock()
        for name in files.names(directory):
            number = last_seq_of(name)
            if number is None:
                continue
            if not is_file(files, directory / name):
                continue
            size_bytes = size_of(files, directory / name)
            if number <= last_seq and self._fits(size_bytes):
                self._sizes_bytes[name] = size_bytes
            else:
                files.remove(directory / name)
                files.sync_directory(directory)

    @property
    def size_bytes(self) -> int:
        """What the spares take on the card."""
        with self._one_at_a_time:
            return sum(self._sizes_bytes.values())

    def claim(self, path: Path, last_seq: int) -> Path | None:
        """Say under which name a segment's file is kept, in which nothing later was ever written.

        The caller renames the file, then calls `keep`. None if there are enough, if a spare has
        the name, or if the file is not about as large as a segment.
        """
        size_bytes = size_of(self._files, path)
        name = spare_name(last_seq)
        with self._one_at_a_time:
            if name in self._sizes_bytes or not self._fits(size_bytes):
                return None
            self._sizes_bytes[name] = size_bytes
            self._in_hand.add(name)
        return self._directory / name

    def keep(self, spare: Path) -> None:
        """Let `begin` have a file that was renamed as `claim` said.

        Durable once the directory is synced, which `begin` does before it writes into the file:
        until then a power cut may bring back the old name.
        """
        with self._one_at_a_time:
            self._in_hand.remove(spare.name)

    def begin(self, header: Header) -> Segment | None:
        """Make a segment without records of the oldest spare; durable on return. None without."""
        names = self._take(1)
        if not names:
            return None
        spare, path = self._directory / names[0], self._directory / file_name(header.first_seq)
        self._files.sync_directory(self._directory)  # else its old name may come back
        file = self._files.open(spare, writable=True)
        try:
            file.write(0, encode_header(header))
            file.sync()
        finally:
            file.close()
        self._files.rename(spare, path)
        self._files.sync_directory(self._directory)
        self._forget(names)
        return Segment.empty(path, header)

    def give_up(self) -> None:
        """Give their room back to the card."""
        names = self._take(self._count_max)
        give_up(self._directory, self._files, names)
        self._forget(names)

    def _take(self, count_max: int) -> list[str]:
        """Take the oldest in hand: until they are forgotten, their names are not given again."""
        with self._one_at_a_time:
            names = sorted(self._sizes_bytes.keys() - self._in_hand)[:count_max]
            self._in_hand.update(names)
        return names

    def _forget(self, names: Iterable[str]) -> None:
        with self._one_at_a_time:
            for name in names:
                del self._sizes_bytes[name]
                self._in_hand.remove(name)

    def _fits(self, size_bytes: int) -> bool:
        is_wanted = len(self._sizes_bytes) < self._count_max
        full_bytes = self.segment_bytes_max + SEAL_BYTES
        return is_wanted and full_bytes // 2 <= size_bytes <= full_bytes


def give_up_spares(directory: Path, files: Files) -> bool:
    """Remove every spare of a log; says whether there was one."""
    spares = (name for name in files.names(directory) if last_seq_of(name) is not None)
    return give_up(directory, files, [name for name in spares if is_file(files, directory / name)])
