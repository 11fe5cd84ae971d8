"""How much of the history the log still holds: what leaves it leaves the rows at the next rebuild.

Retention removes what the cloud has confirmed, drops what there is no room for, and damage takes
what it takes. The rows that were made before are then more than the log makes. `mark` changes with
each of these, so that rows which stand under another mark are known to be older.

What retention trims (ends of commands, settings) changes no mark, and no projection takes it.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from teddy_edge.clock import NS_PER_S, Trust, rfc3339
from teddy_edge.eventlog import EventLog
from teddy_edge.events import decode_record
from teddy_edge.projections.rows import Row

LOST = "a part of the log is lost"
LOOKED_AT_MAX = 500
"""Records in which the first one with a true time is looked for."""
LOOKED_AT_BYTES = 1024 * 1024


class History:
    """What the log holds no more, and of which time."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._looked_at_seq = 1
        self._whole_from_ns: int | None = None

    def mark(self) -> Row:
        """Tell one state of the history from another."""
        return {"whole_from": self._log.whole_from_seq, "missing": self._log.report.missing_count}

    def lost(self) -> str | None:
        """Why the log lacks what the cloud may not have either; None where it does not."""
        return None if self._log.report.complete else LOST

    def removed(self, since: datetime | None) -> str | None:
        """Why the log lacks what only the cloud has from a moment on, or (None) ever."""
        if self._log.whole_from_seq <= 1:
            return None
        whole_from_ns = self._whole_from_ns if self._is_known() else None
        if whole_from_ns is None:
            return "what is older than some time is with the cloud alone"
        if since is not None and since.timestamp() * NS_PER_S >= whole_from_ns:
            return None
        return f"what is older than {rfc3339(whole_from_ns)} is with the cloud alone"

    async def look(self) -> None:
        """Learn when the oldest record was written from which on nothing was removed."""
        if not self._is_known():
            seq = self._log.whole_from_seq
            self._whole_from_ns = await asyncio.to_thread(self._dated_from, seq)
            self._looked_at_seq = seq

    def _is_known(self) -> bool:
        return self._looked_at_seq == self._log.whole_from_seq

    def _dated_from(self, seq: int) -> int | None:
        """Give the time of the first record from a number on that was written by a true clock."""
        for stored in self._log.read(seq, LOOKED_AT_MAX, LOOKED_AT_BYTES):
            record = decode_record(stored.seq, stored.data_class, stored.body)
            if record.trust is not Trust.UNSYNCED:
                return record.wall_ns
        return None
