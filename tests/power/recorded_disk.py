"""A disk that writes down what is done to it: one file of FUSE, for a loop device to lie on.

The loop device turns each write to the disk into a write of the file, and each flush of the disk's
cache into its fsync; both stand in the record, in order, before the kernel gets its answer. So
whatever somebody was told to be on the disk stands before the end that the record had by then.

The kernel is spoken to as linux/fuse.h lays it down (protocol 7.31), in the few requests that are
left where the root is itself a file: there are no names, and every request is about the root.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

PROTOCOL: Final = (7, 31)
WRITE_BYTES_MAX: Final = 128 * 1024
REQUEST_BYTES_MAX: Final = WRITE_BYTES_MAX + 4096
REGULAR_FILE: Final = 0o100600

GETATTR, READ, WRITE, FSYNC, INIT = 3, 15, 16, 20, 26
WITHOUT_ANSWER: Final = frozenset({2, 36, 42})
"""FORGET, INTERRUPT, BATCH_FORGET."""

REQUEST: Final = struct.Struct("<IIQQIIII")
ANSWER: Final = struct.Struct("<IiQ")
READ_OR_WRITE: Final = struct.Struct("<QQI20x")
INIT_ANSWER: Final = struct.Struct("<IIIIHHI40x")
ATTRIBUTES: Final = struct.Struct("<QII QQQ 24x 12x IIIIIII")
ATTRIBUTES_VALID_S: Final = 3600

STEP: Final = struct.Struct("<qI")
"""Offset and size of a write, whose bytes follow; an offset of -1 is a flush."""
FLUSH: Final = -1


class Step(NamedTuple):
    """One thing that was done to the disk."""

    offset_bytes: int
    data: bytes
    end_bytes: int
    """How long the record was when this stood in it."""

    @property
    def is_flush(self) -> bool:
        return self.offset_bytes == FLUSH


def read_record(path: Path) -> Iterator[Step]:
    """Give what was done to the disk, in order."""
    with path.open("rb") as file:
        while head := file.read(STEP.size):
            offset_bytes, size_bytes = STEP.unpack(head)
            data = file.read(size_bytes)
            yield Step(offset_bytes, data, file.tell())


@contextmanager
def recorded_disk(image: Path, record: Path, shown: Path) -> Iterator[None]:
    """Show an image as a file in the place of another, and record what is done to it.

    The process that answers has a namespace of mounts for itself. Else it could be the last one in
    that of the others, and would have to answer its own unmounting when all of them are killed.
    """
    kernel = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={kernel},rootmode={REGULAR_FILE:o},user_id=0,group_id=0"
    mount = ["mount", "-i", "-t", "fuse", "-o", options, "recorded-disk", str(shown)]
    subprocess.run(mount, pass_fds=[kernel], check=True)
    files = [str(kernel), str(image), str(record)]
    answer = ["unshare", "--mount", sys.executable, "-m", __name__, *files]
    with subprocess.Popen(answer, pass_fds=[kernel]) as answering:
        os.close(kernel)
        try:
            yield
            assert answering.poll() is None, "the disk failed"
        finally:
            answering.kill()
    subprocess.run(["umount", shown], check=True)


class RecordedDisk:
    """Answers the kernel, one request after the other."""

    def __init__(self, kernel: int, image: Path, record: Path) -> None:
        self._kernel = kernel
        self._image = os.open(image, os.O_RDWR)
        self._record = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._size_bytes = image.stat().st_size

    def serve(self) -> NoReturn:
        """Answer until killed."""
        while True:
            request = os.read(self._kernel, REQUEST_BYTES_MAX)
            _, operation, unique, *_ = REQUEST.unpack_from(request)
            if operation in WITHOUT_ANSWER:
                continue
            try:
                answer, error = self._do(operation, request[REQUEST.size :]), 0
            except OSError as failure:
                answer, error = b"", -(failure.errno or errno.EIO)
            os.write(self._kernel, ANSWER.pack(ANSWER.size + len(answer), error, unique) + answer)

    def _do(self, operation: int, arguments: bytes) -> bytes:
        if operation == WRITE:
            return self._write(arguments)
        if operation == READ:
            _, offset_bytes, size_bytes = READ_OR_WRITE.unpack_from(arguments)
            return os.pread(self._image, size_bytes, offset_bytes)
        if operation == FSYNC:
            os.write(self._record, STEP.pack(FLUSH, 0))
            return b""
        if operation == GETATTR:
            return self._attributes()
        if operation == INIT:
            return INIT_ANSWER.pack(*PROTOCOL, WRITE_BYTES_MAX, 0, 0, 0, WRITE_BYTES_MAX)
        raise OSError(errno.ENOSYS, "the disk can do without")

    def _write(self, arguments: bytes) -> bytes:
        _, offset_bytes, size_bytes = READ_OR_WRITE.unpack_from(arguments)
        data = arguments[READ_OR_WRITE.size : READ_OR_WRITE.size + size_bytes]
        os.pwrite(self._image, data, offset_bytes)
        os.write(self._record, STEP.pack(offset_bytes, len(data)) + data)
        return struct.pack("<I4x", len(data))

    def _attributes(self) -> bytes:
        blocks = self._size_bytes // 512
        return ATTRIBUTES.pack(
            ATTRIBUTES_VALID_S, 0, 0, 1, self._size_bytes, blocks, REGULAR_FILE, 1, 0, 0, 0, 4096, 0
        )  # fmt: skip


if __name__ == "__main__":
    RecordedDisk(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])).serve()
