"""Lets a start read the end of the log instead of all of it.

From time to time what decisions rest on (`WriteState`) is written to a file, as of one record. The
next start takes it from there and reads on, in a time that does not depend on the age of the bear.
It is made from the log alone, by the same code as at a start; what the daemon has in memory, and
may not be on the card yet, has no part in it.

The file holds a CRC-32 (little-endian), then msgpack: what the state is made of (the format, the
daemon's version, the limits of what is remembered), the log's epoch, and the state. It is believed
only if the log has the same chain value at that record. Any other is passed over, and all of the
log is read; so it can be deleted at any time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from typing import Any, Final, cast
from zlib import crc32

import msgpack

from teddy_edge import __version__
from teddy_edge.commands.write_state import WriteState
from teddy_edge.eventlog import EventLog
from teddy_edge.eventlog.files import Files, SystemFiles
from teddy_edge.eventlog.whole_files import read_if_possible, write_whole
from teddy_edge.settings import CommandSettings

FORMAT: Final = 1
"""Goes up when the state, or what an event makes of it, changes."""
POLL_S: Final = 10.0
"""How often to look whether the log has grown enough."""
_CRC: Final = Struct("<I")

logger = logging.getLogger("teddy_edge.commands")


class Checkpoint:
    """The file of one log, and what is made of it. Used by one task at a time."""

    def __init__(
        self,
        path: Path,
        log: EventLog,
        new_state: Callable[[], WriteState],
        *,
        limits: CommandSettings,
        room_bytes: int,
        files: Files | None = None,
    ) -> None:
        """It is written anew after `checkpoint_records` more, where `room_bytes` stay free."""
        self.seq = 0
        """The record that it stands at; 0 where there is none that can be believed."""
        self._path = path
        self._log = log
        self._new_state = new_state
        self._records = limits.checkpoint_records
        self._made_of = [FORMAT, __version__, limits.finished_max, limits.finished_bytes_max]
        self._tried_seq = 0
        self._room_bytes = room_bytes
        self._files = files or SystemFiles()

    def begin(self) -> WriteState:
        """Give the state at the end of the log. Blocks."""
        state = self._read()
        while state.follow(self._log):
            pass
        logger.info("the log is read", extra={"after_seq": self.seq, "last_seq": state.seq})
        if state.seq - self.seq >= self._records:
            self._try_to_write(state)
        return state

    async def run(self) -> None:
        """Keep the file near the end of the log, for ever."""
        while True:
            if self._log.last_seq - max(self.seq, self._tried_seq) >= self._records:
                await self.advance()
            await asyncio.sleep(POLL_S)

    async def advance(self) -> None:
        """Write it anew, as of what is durable now."""
        self._tried_seq = last_seq = self._log.last_seq
        if not await asyncio.to_thread(self._has_room, 0):
            return
        state = await asyncio.to_thread(self._read)
        while state.seq < last_seq and await asyncio.to_thread(state.follow, self._log):
            pass
        await asyncio.to_thread(self._try_to_write, state)

    def _read(self) -> WriteState:
        """Give the state in the file; one that has taken up nothing where it is of no use."""
        data = read_if_possible(self._files, self._path)
        if data is None:
            return self._new_state()
        state = self._new_state()
        reason = self._restore(state, data)
        if reason is None:
            self.seq = state.seq
            return state
        logger.warning("all of the log is read", extra={"reason": f"the checkpoint {reason}"})
        self.seq = 0
        return self._new_state()

    def _restore(self, state: WriteState, data: bytes) -> str | None:
        """Take up a file's state; gives why it must not be used."""
        content = decoded(data)
        if content is None:
            return "is damaged"
        made_of, epoch, fields = content
        if made_of != self._made_of:
            return "is of another version, or of other limits"
        if epoch != self._log.epoch.bytes:
            return "is of another log"
        state.restore(fields)
        if self._log.chain_at(state.seq) != state.chain:
            return "is of records that the log does not have"
        return None

    def _try_to_write(self, state: WriteState) -> None:
        """Write the file where the card takes it; where it does not, the next start reads more."""
        data = encoded([self._made_of, self._log.epoch.bytes, state.state()])
        if not self._has_room(len(data)):
            return
        try:
            write_whole(self._files, self._path, data)
        except OSError as error:
            facts = {"seq": state.seq, "reason": str(error)}
            logger.warning("the checkpoint is not renewed", extra=facts)
        else:
            self.seq = state.seq

    def _has_room(self, size_bytes: int) -> bool:
        return self._files.free_bytes(self._path.parent) >= size_bytes + self._room_bytes


def encoded(content: list[Any]) -> bytes:
    """Write a checkpoint's content with its checksum."""
    packed = cast(bytes, msgpack.packb(content))
    return _CRC.pack(crc32(packed)) + packed


def decoded(data: bytes) -> list[Any] | None:
    """Read what `encoded` wrote; None if it is damaged."""
    packed = data[_CRC.size :]
    if not packed or data[: _CRC.size] != _CRC.pack(crc32(packed)):
        return None
    content: list[Any] = msgpack.unpackb(packed)
    return content
