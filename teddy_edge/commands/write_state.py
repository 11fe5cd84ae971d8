"""All that decisions rest on, as of one record: a fold over the log, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from teddy_edge.clock import Clock
from teddy_edge.commands.aggregates import Aggregates
from teddy_edge.commands.ends import Ends
from teddy_edge.eventlog import READ_BYTES_MAX, READ_RECORDS_MAX, EventLog, StoredRecord
from teddy_edge.events import ClockSynced, RecordsLost, decode_record
from teddy_edge.settings import CommandSettings


class WriteState:
    """The aggregates, the ends of commands, and what the log says of itself. One thread uses it."""

    def __init__(self, clock: Clock, limits: CommandSettings) -> None:
        self.aggregates = Aggregates()
        self.ends = Ends(clock, limits)
        self.clock_synced: ClockSynced | None = None
        """The newest of its kind: what is known of the time, if it is of this boot."""
        self.losses: list[RecordsLost] = []
        """What the log tells to be lost, in order."""
        self.seq = 0
        """The last record taken up; 0 when there is none."""
        self.chain = b""
        """The chain value of that record."""

    def take(self, stored: StoredRecord) -> None:
        """Take up the next record of the log."""
        record = decode_record(stored.seq, stored.data_class, stored.body)
        event = record.event
        if event is not None:
            self.aggregates.apply(event)
            self.ends.take(record, event)
        if isinstance(event, ClockSynced):
            self.clock_synced = event
        elif isinstance(event, RecordsLost):
            self.losses.append(event)
        self.seq, self.chain = stored.seq, stored.chain

    def follow(self, log: EventLog) -> bool:
        """Take up some of what comes next; False where there is no more. Blocks."""
        batch = log.read(self.seq + 1, READ_RECORDS_MAX, READ_BYTES_MAX)
        for stored in batch:
            self.take(stored)
        return bool(batch)

    def state(self) -> list[Any]:
        """Give all of it in types that msgpack knows."""
        synced = None if self.clock_synced is None else astuple(self.clock_synced)
        losses = [astuple(lost) for lost in self.losses]
        return [
            self.seq, self.chain, self.aggregates.state(), self.ends.state(), synced, losses,
        ]  # fmt: skip

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave."""
        self.seq, self.chain, aggregates, ends, synced, losses = state
        self.aggregates.restore(aggregates)
        self.ends.restore(ends)
        self.clock_synced = None if synced is None else ClockSynced(*synced)
        self.losses = [RecordsLost(*fields) for fields in losses]
