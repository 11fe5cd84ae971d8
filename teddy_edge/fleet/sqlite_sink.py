"""The store that the cloud's end has where nobody gives it another: one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from typing import Final
from uuid import UUID

from teddy_edge.errors import SinkUnusable
from teddy_edge.fleet.sinks import Lost, Position, SentCommand, Taken
from teddy_edge.messages import Result
from teddy_edge.sync.signals import UrgentEvent
from teddy_edge.sync.wire import TooLarge, WireRecord

STEPS: Final = (
    """
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
""",
    """
CREATE TABLE commands (
    bear TEXT NOT NULL, id BLOB NOT NULL, name TEXT NOT NULL, payload BLOB NOT NULL,
    kept_ns INTEGER NOT NULL, sent_ns INTEGER NOT NULL, status TEXT, result TEXT,
    PRIMARY KEY (bear, id)
) WITHOUT ROWID;
CREATE INDEX open_commands ON commands (bear, kept_ns) WHERE status IS NULL;
""",
    """
CREATE TABLE urgent (
    bear TEXT NOT NULL, id BLOB NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL,
    payload BLOB NOT NULL, PRIMARY KEY (bear, id)
) WITHOUT ROWID;
CREATE INDEX urgent_by_seq ON urgent (bear, epoch, seq);
CREATE TABLE too_large (
    bear TEXT NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL, data_class INTEGER NOT NULL,
    id BLOB NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (bear, epoch, seq)
) WITHOUT ROWID;
CREATE TABLE apart (
    bear TEXT NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL, data_class INTEGER NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (bear, epoch, seq, body)
) WITHOUT ROWID;
""",
    """
ALTER TABLE commands RENAME COLUMN sent_ns TO mark;
""",
)
"""What each format adds to the one before; the number of a file's format is how many it has."""
OPEN_COMMANDS_MAX: Final = 1000


class SqliteSink:
    """One SQLite file. A transaction is on the disk when it ends (WAL, synchronous=FULL).

    Several programs may use one file; a call waits for another's transaction for 5 s at most.
    """

    def __init__(self, file: Path) -> None:
        """Open or create the file; raises `SinkUnusable` where it is none, or a newer one."""
        self._file = file
        try:
            self._connection = sqlite3.connect(file, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._bring_up_to_date()
        except sqlite3.Error as error:
            raise SinkUnusable(f"{file} cannot be used: {error}") from error

    def _bring_up_to_date(self) -> None:
        with self._connection as transaction:
            transaction.execute("BEGIN IMMEDIATE")  # of two programs, one makes the tables
            (found,) = transaction.execute("PRAGMA user_version").fetchone()
            for step in STEPS[found:]:
                for statement in filter(str.strip, step.split(";")):
                    transaction.execute(statement)
            transaction.execute(f"PRAGMA user_version={max(found, len(STEPS))}")
        if found > len(STEPS):
            self.close()
            known = f"this program knows {len(STEPS)}"
            raise SinkUnusable(f"{self._file} has format {found}; {known}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def position(self, bear: str, epoch: UUID) -> Position | None:
        """See `EventSink`."""
        query = "SELECT epoch, last_seq, chain FROM series WHERE bear = ? AND epoch = ?"
        row = self._connection.execute(query, (bear, epoch.bytes)).fetchone()
        return None if row is None else Position(UUID(bytes=row[0]), row[1], row[2])

    def newest(self, bear: str) -> Position | None:
        """See `EventSink`."""
        query = "SELECT epoch, last_seq, chain FROM series WHERE bear = ? AND is_current"
        row = self._connection.execute(query, (bear,)).fetchone()
        return None if row is None else Position(UUID(bytes=row[0]), row[1], row[2])

    def current(self) -> Sequence[tuple[str, Position]]:
        """See `EventSink`."""
        query = "SELECT bear, epoch, last_seq, chain FROM series WHERE is_current ORDER BY bear"
        rows = self._connection.execute(query).fetchall()
        return [(bear, Position(UUID(bytes=epoch), seq, chain)) for bear, epoch, seq, chain in rows]

    def store(self, bear: str, taken: Taken) -> None:
        """See `EventSink`."""
        epoch = taken.position.epoch.bytes
        with self._connection as transaction:
            for record in taken.records:
                row = (bear, epoch, record.seq, record.data_class, record.body)
                transaction.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?)", row)
            transaction.execute(
                "DELETE FROM urgent WHERE bear = ? AND seq BETWEEN ? AND ? AND EXISTS"
                " (SELECT 1 FROM records AS it WHERE it.bear = urgent.bear AND"
                " it.epoch = ? AND it.seq = urgent.seq AND instr(it.body, urgent.id))",
                (bear, taken.lost.last_seq + 1, taken.position.seq, epoch),
            )
            self._store_what_lacks(transaction, bear, taken)
            self._move(transaction, bear, taken)

    def _store_what_lacks(self, transaction: Connection, bear: str, taken: Taken) -> None:
        epoch, lost, too_large = taken.position.epoch.bytes, taken.lost, taken.too_large
        if lost.first_seq <= lost.last_seq:
            gap = (bear, epoch, lost.first_seq, lost.last_seq)
            transaction.execute("INSERT INTO lost VALUES (?, ?, ?, ?)", gap)
        if too_large is not None:
            id_and_size = (too_large.event_id.bytes, too_large.body_bytes)
            row = (bear, epoch, taken.position.seq, too_large.data_class, *id_and_size)
            transaction.execute("INSERT INTO too_large VALUES (?, ?, ?, ?, ?, ?)", row)

    def _move(self, transaction: Connection, bear: str, taken: Taken) -> None:
        position = taken.position
        first_seq = taken.records[0].seq if taken.records else position.seq
        series = (bear, position.epoch.bytes, first_seq, position.seq, position.chain)
        transaction.execute("UPDATE series SET is_current = 0 WHERE bear = ?", (bear,))
        transaction.execute(
            "INSERT INTO series VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET"
            " last_seq = excluded.last_seq, chain = excluded.chain, is_current = 1",
            series,
        )

    def keep_urgent(self, bear: str, event: UrgentEvent, payload: bytes) -> bool:
        """See `EventSink`."""
        row = (bear, event.id.bytes, event.epoch.bytes, event.seq, payload)
        with self._connection as transaction:
            changed = transaction.execute(
                "INSERT OR IGNORE INTO urgent SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS"
                " (SELECT 1 FROM series JOIN records USING (bear, epoch)"
                " WHERE bear = ?1 AND seq = ?4 AND instr(body, ?2))",
                row,
            )
        return changed.rowcount == 1

    def keep_apart(self, bear: str, epoch: UUID, records: Sequence[WireRecord]) -> None:
        """See `EventSink`."""
        rows = [(bear, epoch.bytes, each.seq, each.data_class, each.body) for each in records]
        with self._connection as transaction:
            transaction.executemany("INSERT OR IGNORE INTO apart VALUES (?, ?, ?, ?, ?)", rows)

    def apart(self, bear: str, epoch: UUID) -> Sequence[WireRecord]:
        """Read what was kept apart, in order."""
        query = "SELECT seq, data_class, body FROM apart WHERE bear = ? AND epoch = ? ORDER BY seq"
        return [WireRecord(*row) for row in self._connection.execute(query, (bear, epoch.bytes))]

    def urgent(self, bear: str) -> Sequence[bytes]:
        """Read the urgent events that did not come in order yet, as they were sent."""
        query = "SELECT payload FROM urgent WHERE bear = ? ORDER BY epoch, seq"
        return [payload for (payload,) in self._connection.execute(query, (bear,))]

    def too_large(self, bear: str, epoch: UUID) -> Sequence[tuple[int, TooLarge]]:
        """Read which records stayed with the bear, in order."""
        query = (
            "SELECT seq, data_class, id, bytes FROM too_large WHERE bear = ? AND epoch = ?"
            " ORDER BY seq"
        )
        rows = self._connection.execute(query, (bear, epoch.bytes))
        return [(seq, TooLarge(kind, UUID(bytes=key), size)) for seq, kind, key, size in rows]

    def stored(self, bear: str, epoch: UUID, first_seq: int, last_seq: int) -> Sequence[WireRecord]:
        """See `EventSink`."""
        query = (
            "SELECT seq, data_class, body FROM records"
            " WHERE bear = ? AND epoch = ? AND seq BETWEEN ? AND ? ORDER BY seq"
        )
        rows = self._connection.execute(query, (bear, epoch.bytes, first_seq, last_seq))
        return [WireRecord(*row) for row in rows]

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

    def keep_command(self, command: SentCommand, at_ns: int) -> None:
        """See `CommandSink`. The same id again changes nothing."""
        row = (command.bear, command.id.bytes, command.name, command.payload, at_ns)
        with self._connection as transaction:
            transaction.execute(
                "INSERT OR IGNORE INTO commands VALUES (?, ?, ?, ?, ?, 0, NULL, NULL)", row
            )

    def newest_mark(self) -> int:
        """See `CommandSink`."""
        query = "SELECT max(mark) FROM commands WHERE status IS NULL"
        mark: int | None = self._connection.execute(query).fetchone()[0]
        return mark or 0

    def mark(self, commands: Sequence[SentCommand], mark: int) -> None:
        """See `CommandSink`."""
        rows = [(mark, command.bear, command.id.bytes) for command in commands]
        with self._connection as transaction:
            transaction.executemany("UPDATE commands SET mark = ? WHERE bear = ? AND id = ?", rows)

    def open_commands(self, bear: str, below_mark: int) -> Sequence[SentCommand]:
        """See `CommandSink`."""
        query = (
            "SELECT bear, id, name, payload FROM commands"
            " WHERE bear = ? AND status IS NULL AND mark < ? ORDER BY kept_ns LIMIT ?"
        )
        rows = self._connection.execute(query, (bear, below_mark, OPEN_COMMANDS_MAX)).fetchall()
        return [SentCommand(name_of, UUID(bytes=key), *rest) for name_of, key, *rest in rows]

    def end_command(self, bear: str, result: Result) -> bool:
        """See `CommandSink`. The first end stays."""
        assert result.command_id is not None
        row = (result.status, result.model_dump_json(), bear, result.command_id.bytes)
        with self._connection as transaction:
            changed = transaction.execute(
                "UPDATE commands SET status = ?, result = ?"
                " WHERE bear = ? AND id = ? AND status IS NULL",
                row,
            )
        return changed.rowcount == 1

    def result(self, bear: str, command_id: UUID) -> Result | None:
        """Read how a command ended; None where it has not."""
        query = "SELECT result FROM commands WHERE bear = ? AND id = ?"
        row = self._connection.execute(query, (bear, command_id.bytes)).fetchone()
        return None if row is None or row[0] is None else Result.model_validate_json(row[0])
