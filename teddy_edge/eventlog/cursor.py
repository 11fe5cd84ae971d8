"""The confirmed position: how far the other end has stored the log.

It is a promise about another machine, so it is no part of the log: a lost cursor costs sending
again, nothing else. The file is one line: epoch, sequence number and CRC-32, in text.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID
from zlib import crc32

from teddy_edge.eventlog.files import Files, SystemFiles, read_whole, write_whole


class Cursor:
    """A sequence number in a file of its own, replaced in one step. Made by `open`."""

    def __init__(self, path: Path, epoch: UUID, files: Files, seq: int, note: str | None) -> None:
        self.seq = seq
        """The last confirmed sequence number; 0 when nothing is."""
        self.note = note
        """Why the position starts at 0 although there is a log; None when it was read."""
        self._path = path
        self._epoch = epoch
        self._files = files

    @classmethod
    def open(cls, path: Path, epoch: UUID, files: Files | None = None) -> Cursor:
        """Read the position. A missing or damaged file, or one of another epoch, counts as 0."""
        files = files or SystemFiles()
        try:
            data = read_whole(files, path)
        except FileNotFoundError:
            return cls(path, epoch, files, 0, "there is no file")
        read = _decode(data)
        if read is None:
            return cls(path, epoch, files, 0, "the file is damaged")
        if read[0] != epoch:
            return cls(path, epoch, files, 0, f"the file is of another log, {read[0]}")
        return cls(path, epoch, files, read[1], None)

    def move(self, seq: int) -> None:
        """Remember that everything up to `seq` is confirmed; never goes back. Blocks for one fsync.

        Raises `OSError` if it cannot be written; the position in memory is then unchanged.
        """
        if seq <= self.seq:
            return
        write_whole(self._files, self._path, _encode(self._epoch, seq))
        self.seq = seq


def _encode(epoch: UUID, seq: int) -> bytes:
    line = f"{epoch} {seq}"
    return f"{line} {crc32(line.encode()):08x}\n".encode()


def _decode(data: bytes) -> tuple[UUID, int] | None:
    try:
        epoch_text, seq_text, _ = data.decode("ascii").split(" ")
        epoch, seq = UUID(epoch_text), int(seq_text)
    except ValueError:
        return None
    return (epoch, seq) if _encode(epoch, seq) == data else None
