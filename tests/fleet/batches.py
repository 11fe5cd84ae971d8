"""Logs and batches as bears make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from teddy_edge.eventlog import next_chain
from teddy_edge.sync.wire import EventBatch, TooLarge, WireRecord


@dataclass
class SmallLog:
    """A bear's log in memory, as far as the wire shows it."""

    count: int
    epoch: UUID = field(default_factory=uuid4)
    content: str = "event"

    def __post_init__(self) -> None:
        self.records = [
            WireRecord(seq, 1 + seq % 6, self.body(seq)) for seq in range(1, self.count + 1)
        ]
        self._chains = [self.epoch.bytes]
        for record in self.records:
            last = self._chains[-1]
            self._chains.append(next_chain(last, record.seq, record.data_class, record.body))

    def body(self, seq: int) -> bytes:
        """What stands in a record."""
        return f"{self.content} {seq}".encode()

    def batch(self, first_seq: int, last_seq: int) -> EventBatch:
        """A batch from one number to another."""
        return EventBatch(
            epoch=self.epoch,
            first_seq=first_seq,
            last_seq=last_seq,
            chain_before=self._chains[first_seq - 1],
            chain_after=self._chains[last_seq],
            records=self.slice(first_seq, last_seq),
        )

    def too_large(self, seq: int, event_id: UUID) -> EventBatch:
        """Say that a record stays with the bear."""
        record = self.records[seq - 1]
        told = TooLarge(record.data_class, event_id, len(record.body))
        return replace(self.batch(seq, seq), records=(), too_large=told)

    def slice(self, first_seq: int, last_seq: int) -> Sequence[WireRecord]:
        """The records from one number to another."""
        return self.records[first_seq - 1 : last_seq]
