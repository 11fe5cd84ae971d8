"""The rows on the card: diskcache, holding msgpack with a checksum and nothing else.

diskcache pickles by default, and unpickles what somebody put into its file (CVE-2025-69872), evicts
by default, and binds its connections to a thread. So: a Disk that refuses every row which is not
text to raw bytes, eviction off, and one thread that does all of it. A file that is not ours is told
apart before diskcache opens it; a row that a bad card changed is, when it is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import Struct
from typing import Any, TypeVar
from zlib import crc32

import diskcache
import msgpack

from teddy_edge.errors import ReadModelError
from teddy_edge.projections.row_store import Get, RowStore
from teddy_edge.projections.rows import Row

T = TypeVar("T")

logger = logging.getLogger("teddy_edge.projections")

POSITION_KEY = "@position"
DATABASE = "cache.db"
CRC = Struct("<I")
MODE_RAW = 1
"""How diskcache marks a value that stands in its row as it is."""
FOREIGN_ROWS = """
    SELECT count(*) FROM Cache WHERE mode IS NOT 1 OR raw IS NOT 1 OR filename IS NOT NULL
        OR expire_time IS NOT NULL OR typeof(key) != 'text' OR typeof(value) != 'blob'
"""
SETTINGS = {
    **diskcache.DEFAULT_SETTINGS,
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": 2**40,
    "sqlite_mmap_size": 0,
    "sqlite_cache_size": 512,
}


def encode_row(key: str, row: Row) -> bytes:
    """Write a row: the CRC-32 of key and content (little-endian), then the content in msgpack."""
    content: bytes = msgpack.packb(row)
    return CRC.pack(_crc(key, content)) + content


def decode_row(key: str, value: bytes) -> Row:
    """Read what `encode_row` wrote under this key; raises `ValueError` for anything else."""
    content = value[CRC.size :]
    if value[: CRC.size] != CRC.pack(_crc(key, content)):
        raise ValueError("its checksum is wrong")
    row: Row = msgpack.unpackb(content)
    return row


def _crc(key: str, content: bytes) -> int:
    return crc32(content, crc32(key.encode()))


class MsgpackDisk(diskcache.Disk):  # type: ignore[misc]
    """Stores bytes under text keys inside the database; refuses everything else."""

    def put(self, key: object) -> tuple[str, bool]:
        """Take a text key as it is."""
        if not isinstance(key, str):
            raise self._refusal(f"a key of type {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        """Give a key back, if it is text."""
        if not isinstance(key, str) or not raw:
            raise self._refusal("a row whose key is not text")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, bytes]:
        """Take bytes; of any size, since side files would never be synced."""
        del key
        if not isinstance(value, bytes) or read:
            raise self._refusal(f"a value of type {type(value).__name__}")
        return 0, MODE_RAW, None, value

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        """Give bytes back; never a file, text or pickle."""
        del read
        if mode != MODE_RAW or filename is not None or not isinstance(value, bytes):
            raise self._refusal(f"a row of mode {mode}, which is not ours")
        return value

    def _refusal(self, what: str) -> ReadModelError:
        return ReadModelError(Path(self._directory), what)


class ReadModelStore:
    """Rows by key, and the position they stand at, written together or not at all."""

    def __init__(self, directory: Path, row_bytes_max: int) -> None:
        self._directory = directory
        self._row_bytes_max = row_bytes_max
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-models")
        self._cache: Any = None
        self._is_closed = False

    async def open(self) -> None:
        """Open or create the files, mode 0700. Raises `ReadModelError` where they are not ours."""
        await self._guarded(self._open)

    def reopened(self) -> RowStore:
        """See `RowStore`."""
        return ReadModelStore(self._directory, self._row_bytes_max)

    def sibling(self) -> RowStore:
        """Give a store beside this one, for rows that are built anew."""
        return ReadModelStore(self._sibling_directory, self._row_bytes_max)

    async def replace_with_sibling(self) -> None:
        """Take the rows of the sibling, which must be closed, instead of these."""
        await self._guarded(self._replace_with_sibling)

    async def discard(self) -> None:
        """Delete all rows and start afresh."""
        await self._guarded(self._discard)

    async def position(self) -> Row:
        """Give what the last `write` said of its position; empty where nothing was written."""
        return await self.get(POSITION_KEY) or {}

    async def get(self, key: str) -> Row | None:
        """Give a row."""
        return await self._guarded(self._get, key)

    async def run(self, work: Callable[[Get], T]) -> T:
        """See `RowStore`. What `work` itself raises is passed on as it is."""
        return await self._in_thread(work, functools.partial(self._guard, self._get))

    async def keys(self) -> list[str]:
        """Give the keys of all rows."""
        return await self._guarded(self._keys)

    async def write(self, rows: Mapping[str, Row], position: Row) -> None:
        """Write rows and their position in one transaction."""
        await self._guarded(self._write, rows, position)

    async def close(self) -> None:
        """Close the files and end the thread."""
        try:
            await self._guarded(self._close)
        except ReadModelError as error:
            logger.warning("read models are not closed", extra={"reason": error.what})
        self._is_closed = True
        self._thread.shutdown(wait=False)

    async def _guarded(self, work: Callable[..., T], *arguments: Any) -> T:
        return await self._in_thread(self._guard, work, *arguments)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        if self._is_closed:
            raise ReadModelError(self._directory, "they are closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, *arguments)

    def _guard(self, work: Callable[..., T], *arguments: Any) -> T:
        try:
            return work(*arguments)
        except (sqlite3.Error, diskcache.Timeout, OSError) as error:
            raise ReadModelError(self._directory, f"{type(error).__name__}: {error}") from error
        except (ValueError, msgpack.UnpackException) as error:
            raise ReadModelError(self._directory, f"a row that is not ours: {error}") from error

    def _open(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        if (self._directory / DATABASE).exists():
            self._refuse_foreign()
        self._cache = diskcache.Cache(
            str(self._directory), timeout=10, disk=MsgpackDisk, **SETTINGS
        )

    def _refuse_foreign(self) -> None:
        uri = f"{(self._directory / DATABASE).absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
            known = {*SETTINGS, *diskcache.core.METADATA}
            settings = {key for (key,) in database.execute("SELECT key FROM Settings")}
            if not settings <= known:
                raise ReadModelError(self._directory, "settings that are not diskcache's")
            ((foreign,),) = database.execute(FOREIGN_ROWS)
            if foreign:
                raise ReadModelError(self._directory, f"{foreign} rows that are not ours")

    @property
    def _sibling_directory(self) -> Path:
        return self._directory.with_name(self._directory.name + ".new")

    def _replace_with_sibling(self) -> None:
        self._close()
        shutil.rmtree(self._directory)
        self._sibling_directory.rename(self._directory)
        self._open()

    def _discard(self) -> None:
        self._close()
        if self._directory.exists():
            shutil.rmtree(self._directory)
        self._open()

    def _opened(self) -> Any:
        if self._cache is None:
            raise ReadModelError(self._directory, "they are closed")
        return self._cache

    def _close(self) -> None:
        if self._cache is not None:
            self._cache.close()
            self._cache = None

    def _get(self, key: str) -> Row | None:
        value = self._opened().get(key)
        return None if value is None else decode_row(key, value)

    def _keys(self) -> list[str]:
        return [key for key in self._opened() if key != POSITION_KEY]

    def _write(self, rows: Mapping[str, Row], position: Row) -> None:
        with self._opened().transact():
            for key, row in rows.items():
                self._cache.set(key, self._pack(key, row))
            self._cache.set(POSITION_KEY, encode_row(POSITION_KEY, position))

    def _pack(self, key: str, row: Row) -> bytes:
        value = encode_row(key, row)
        if len(value) > self._row_bytes_max:
            raise ReadModelError(
                self._directory,
                f"a row {key.partition('/')[0]} of {len(value)} bytes, over {self._row_bytes_max}",
            )
        return value
