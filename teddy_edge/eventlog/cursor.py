"""The confirmed position: how far the other end has stored the log, and under which epoch.

It is a promise about another machine, so it is no part of the log: a lost cursor costs sending
again, nothing else. The file is one line of text: the log's epoch, the sequence number, the epoch
under which the log is sent where that is another one (see `Cursor.begin_series`), and a CRC-32.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

from teddy_edge.eventlog.files import Files, SystemFiles
from teddy_edge.eventlog.whole_files import read_whole, write_whole


class _Position(NamedTuple):
    log_epoch: UUID
    seq: int
    epoch: UUID


class Cursor:
    """A sequence number in a file of its own, replaced in one step. Made by `open`."""

    def __init__(self, path: Path, files: Files, position: _Position, note: str | None) -> None:
        self.note = note
        """Why the position starts at 0 although there is a log; None when it was read."""
        self._path = path
        self._files = files
        self._position = position

    @property
    def seq(self) -> int:
        """The last confirmed sequence number; 0 when nothing is."""
        return self._position.seq

    @property
    def epoch(self) -> UUID:
        """What the other end knows this log as: its own epoch, unless it began another series."""
        return self._position.epoch

    @classmethod
    def open(cls, path: Path, epoch: UUID, files: Files | None = None) -> Cursor:
        """Read the position. A missing or damaged file, or one of another epoch, counts as 0."""
        files = files or SystemFiles()
        start = _Position(epoch, 0, epoch)
        try:
            data = read_whole(files, path)
        except FileNotFoundError:
            return cls(path, files, start, "there is no file")
        except OSError as error:
            return cls(path, files, start, f"the file cannot be read: {error}")
        read = _decode(data)
        if read is None:
            return cls(path, files, start, "the file is damaged")
        if read.log_epoch != epoch:
            return cls(path, files, start, f"the file is of another log, {read.log_epoch}")
        return cls(path, files, read, None)

    def move(self, seq: int) -> None:
        """Remember that everything up to `seq` is confirmed; never goes back. Blocks for one fsync.

        Raises `OSError` if it cannot be written; the position in memory is then unchanged.
        """
        if seq > self.seq:
            moved = self._position._replace(seq=seq)
            self._write(moved)
            self._position = moved

    def begin_series(self, epoch: UUID) -> None:
        """Have all of the log sent again under another epoch: nothing of it is confirmed.

        For a log of which the other end has another history than this one. Blocks. Raises `OSError`
        if it cannot be written; in memory it is so all the same.
        """
        self._position = self._position._replace(seq=0, epoch=epoch)
        self._write(self._position)

    def _write(self, position: _Position) -> None:
        write_whole(self._files, self._path, _encode(position))


def _encode(position: _Position) -> bytes:
    line = f"{position.log_epoch} {position.seq}"
    if position.epoch != position.log_epoch:
        line += f" {position.epoch}"
    return f"{line} {crc32(line.encode()):08x}\n".encode()


def _decode(data: bytes) -> _Position | None:
    try:
        log_epoch, seq, *other, _ = data.decode("ascii").split(" ")
        epoch = UUID(other[0] if other else log_epoch)
        position = _Position(UUID(log_epoch), int(seq), epoch)
    except ValueError:
        return None
    return position if _encode(position) == data else None
