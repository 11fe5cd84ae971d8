"""Where the cloud's end keeps what the bears sent.

A series is what one bear's log of one epoch sent: records that follow each other, from the first
that ever came. Series are never mixed: after a factory reset a bear has a new epoch and counts from
1 again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

from teddy_edge.errors import SinkUnusable
from teddy_edge.sync.wire import WireRecord

FORMAT: Final = 1
SCHEMA: Final = """
CREATE TABLE series (
    bear TEXT NOT NULL, epoch BLOB NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    chain BLOB NOT NULL, is_current INTEGER NOT NULL, PRIMARY KEY (bear, epoch)
) WITHOUT ROWID;
CREATE TABLE records (
    bear TEXT NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL, data_class INTEGER NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (bear, epoch, seq)
) WITHOUT ROWID;
CREATE TABLE lost (
    bear TEXT NOT NULL, epoch BLOB NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    PRIMARY KEY (bear, epoch, first_seq)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a series is stored, and the chain value there."""

    epoch: UUID
    seq: int
    chain: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """Records that a bear has no more, as it says; none where `last_seq` is below `first_seq`."""

    first_seq: int
    last_seq: int


class Sink(Protocol):
    """A store of series. Its calls block, and come from one thread."""

    def position(self, bear: str, epoch: UUID) -> Position | None:
        """How far this series is stored; None if nothing of it came yet."""

    def current(self) -> Sequence[tuple[str, Position]]:
        """Each bear with the series that it sent to last."""

    def store(
        self, bear: str, position: Position, records: Sequence[WireRecord], lost: Lost
    ) -> None:
        """Keep records that end at `position`, what was lost before them, and the position.

        All of it is durable when it returns, or nothing is kept.
        """


class SqliteSink:
    """One SQLite file. A transaction is on the disk when it ends (WAL, synchronous=FULL)."""

    def __init__(self, file: Path) -> None:
        """Open or create the file; raises `SinkUnusable` where a newer program wrote it."""
        self._connection = sqlite3.connect(file, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        if found == 0:
            self._connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={FORMAT}; COMMIT;")
        elif found != FORMAT:
            self._connection.close()
            raise SinkUnusable(f"{file} has format {found}; this program knows {FORMAT}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def position(self, bear: str, epoch: UUID) -> Position | None:
        """See `Sink`."""
        query = "SELECT epoch, last_seq, chain FROM series WHERE bear = ? AND epoch = ?"
        row = self._connection.execute(query, (bear, epoch.bytes)).fetchone()
        return None if row is None else Position(UUID(bytes=row[0]), row[1], row[2])

    def current(self) -> Sequence[tuple[str, Position]]:
        """See `Sink`."""
        query = "SELECT bear, epoch, last_seq, chain FROM series WHERE is_current ORDER BY bear"
        rows = self._connection.execute(query).fetchall()
        return [(bear, Position(UUID(bytes=epoch), seq, chain)) for bear, epoch, seq, chain in rows]

    def store(
        self, bear: str, position: Position, records: Sequence[WireRecord], lost: Lost
    ) -> None:
        """See `Sink`."""
        epoch = position.epoch.bytes
        rows = [(bear, epoch, record.seq, record.data_class, record.body) for record in records]
        first_seq = records[0].seq if records else position.seq
        series = (bear, epoch, first_seq, position.seq, position.chain)
        with self._connection as transaction:
            transaction.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
            if lost.first_seq <= lost.last_seq:
                gap = (bear, epoch, lost.first_seq, lost.last_seq)
                transaction.execute("INSERT INTO lost VALUES (?, ?, ?, ?)", gap)
            transaction.execute("UPDATE series SET is_current = 0 WHERE bear = ?", (bear,))
            transaction.execute(
                "INSERT INTO series VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET"
                " last_seq = excluded.last_seq, chain = excluded.chain, is_current = 1",
                series,
            )

    def lost(self, bear: str, epoch: UUID) -> Sequence[Lost]:
        """Read what a bear said it lost, in order."""
        query = "SELECT first_seq, last_seq FROM lost WHERE bear = ? AND epoch = ? ORDER BY 1"
        return [Lost(*row) for row in self._connection.execute(query, (bear, epoch.bytes))]

    def records(self, bear: str, epoch: UUID) -> Iterator[WireRecord]:
        """Read a series back, in order."""
        query = (
            "SELECT seq, data_class, body FROM records WHERE bear = ? AND epoch = ? ORDER BY seq"
        )
        with closing(self._connection.execute(query, (bear, epoch.bytes))) as rows:
            for seq, data_class, body in rows:
                yield WireRecord(seq, data_class, body)
