"""What a batch of records changes in the rows; nothing is seen of it before it is whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from teddy_edge.eventlog import StoredRecord
from teddy_edge.events import DataClass, decode_record
from teddy_edge.projections.row_store import Get
from teddy_edge.projections.rows import Projection, Row

PASSED_OVER = (DataClass.COMMAND, DataClass.STATE)
"""What no projection is given: retention trims it, and rows must not depend on how far it went."""


class Change:
    """The rows as the records so far leave them."""

    def __init__(self, *sources: Get) -> None:
        """`sources` give the rows as they were before; the first that has one counts."""
        self._sources = sources
        self.rows: dict[str, Row] = {}

    def get(self, key: str) -> Row | None:
        """See `Rows`."""
        if key in self.rows:
            return self.rows[key]
        for source in self._sources:
            row = source(key)
            if row is not None:
                return row
        return None

    def put(self, key: str, row: Row) -> None:
        """See `Rows`."""
        self.rows[key] = row


class Rules:
    """All projections, by the types of the events that they take."""

    def __init__(self, projections: Iterable[Projection]) -> None:
        self.versions: dict[str, int] = {}
        """Of each projection, by its name."""
        self._taking: dict[str, list[Projection]] = {}
        for projection in projections:
            self.versions[projection.name] = projection.version
            for event_type in projection.takes:
                self._taking.setdefault(event_type.type, []).append(projection)

    def apply(self, change: Change, batch: Sequence[StoredRecord]) -> None:
        """Take up records, in order."""
        for stored in batch:
            if stored.data_class in PASSED_OVER:
                continue
            record = decode_record(stored.seq, stored.data_class, stored.body)
            taking = self._taking.get(record.type)
            event = record.event if taking else None
            if taking and event is not None:
                for projection in taking:
                    projection.apply(change, record, event)
