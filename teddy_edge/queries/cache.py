"""Answers kept for a while: bounded, each with its time to live, dropped when a row of it changes.

They are kept as JSON: what an asker does to an answer must not show in the next one.

An entry knows every row that its answer was made of. A record that changes one of them drops the
entry and no other, so that the next answer shows it. Keys cannot be guessed, and hold who asked.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from teddy_edge.clock import NS_PER_S, Clock
from teddy_edge.messages import QueryEnvelope

ENTRY_BYTES_MAX = 64 * 1024
"""A longer answer is made anew each time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer's data, the rows it was made of, and when it is too old (monotonic)."""

    data: str
    rows: frozenset[str]
    expires_ns: int


class QueryCache:
    """The least recently used goes first."""

    def __init__(self, clock: Clock, entries_max: int) -> None:
        self._clock = clock
        self._entries_max = entries_max
        self._secret = secrets.token_bytes(32)
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._keys_of_row: dict[str, set[bytes]] = {}
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self.changes = 0
        """How often rows changed; an answer that was begun before a change is not to be kept."""

    def __len__(self) -> int:
        return len(self._entries)

    def key(self, envelope: QueryEnvelope) -> bytes:
        """Make the key of a query and of who asks it."""
        asked = [envelope.name, envelope.actor.role, envelope.actor.id, envelope.data]
        text = json.dumps(asked, sort_keys=True, default=str).encode()
        return hashlib.blake2b(text, key=self._secret, digest_size=16).digest()

    def get(self, key: bytes) -> dict[str, Any] | None:
        """Give an answer's data if it is there and young enough."""
        entry = self._entries.get(key)
        if entry is not None and entry.expires_ns <= self._clock.monotonic_ns():
            self._drop(key)
            entry = None
        if entry is None:
            self.misses += 1
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        data: dict[str, Any] = json.loads(entry.data)
        return data

    def put(self, key: bytes, data: str, rows: Iterable[str], ttl_s: float) -> None:
        """Keep an answer's data, given as JSON in ASCII."""
        self._drop(key)
        if len(data) > ENTRY_BYTES_MAX:
            return
        expires_ns = self._clock.monotonic_ns() + round(ttl_s * NS_PER_S)
        entry = self._entries[key] = Entry(data, frozenset(rows), expires_ns)
        for row in entry.rows:
            self._keys_of_row.setdefault(row, set()).add(key)
        while len(self._entries) > self._entries_max:
            self._drop(next(iter(self._entries)))
            self.evictions += 1

    def invalidate(self, rows: Iterable[str]) -> None:
        """Drop every answer that was made of one of these rows."""
        self.changes += 1
        for row in rows:
            for key in list(self._keys_of_row.get(row, ())):
                self._drop(key)

    def hit_rate(self) -> float:
        """Which part of the look-ups hit, from 0 to 1."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else 0.0

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        for row in entry.rows:
            keys = self._keys_of_row[row]
            keys.discard(key)
            if not keys:
                del self._keys_of_row[row]
