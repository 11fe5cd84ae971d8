"""A batch of records on the wire: zlib over a msgpack map.

    {"v": 1, "epoch": 16 bytes, "first_seq": int, "last_seq": int,
     "chain_before": bytes, "chain_after": bytes, "records": [[data class, body], ...]}

The records follow each other from `first_seq` on. A body is a record's body as it stands in the log
(see `events`), so that whoever has `chain_before` can compute `chain_after` and see that nothing
was changed, left out or put in.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import msgpack

from teddy_edge.errors import WireError
from teddy_edge.eventlog import StoredRecord, next_chain

VERSION = 1
CONTENT_TYPE = "application/vnd.teddy.events+msgpack+zlib"
KEYS = frozenset({"v", "epoch", "first_seq", "last_seq", "chain_before", "chain_after", "records"})


@dataclass(frozen=True, slots=True)
class WireRecord:
    """One record of a batch."""

    seq: int
    data_class: int
    body: bytes


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Records that follow each other in one log."""

    epoch: UUID
    first_seq: int
    last_seq: int
    chain_before: bytes
    chain_after: bytes
    records: Sequence[WireRecord]

    def verify(self) -> None:
        """Recompute the chain; raises `WireError` where it does not come out."""
        chain = self.chain_before
        for record in self.records:
            chain = next_chain(chain, record.seq, record.data_class, record.body)
        if chain != self.chain_after:
            raise WireError(f"the chain breaks between {self.first_seq} and {self.last_seq}")


def batch_of(epoch: UUID, stored: Sequence[StoredRecord]) -> EventBatch:
    """Make a batch of the first records that follow each other; a hole in the log ends it."""
    stored = [record for place, record in enumerate(stored) if record.seq == stored[0].seq + place]
    return EventBatch(
        epoch=epoch,
        first_seq=stored[0].seq,
        last_seq=stored[-1].seq,
        chain_before=stored[0].chain_before,
        chain_after=stored[-1].chain,
        records=[WireRecord(record.seq, record.data_class, record.body) for record in stored],
    )


def encode_batch(batch: EventBatch) -> bytes:
    """Make the payload."""
    content = {
        "v": VERSION,
        "epoch": batch.epoch.bytes,
        "first_seq": batch.first_seq,
        "last_seq": batch.last_seq,
        "chain_before": batch.chain_before,
        "chain_after": batch.chain_after,
        "records": [[record.data_class, record.body] for record in batch.records],
    }
    return zlib.compress(cast(bytes, msgpack.packb(content)))


def decode_batch(payload: bytes, bytes_max: int) -> EventBatch:
    """Read a payload of at most `bytes_max` once unpacked; raises `WireError` if it is not one."""
    content = _unpack(payload, bytes_max)
    if not isinstance(content, dict) or set(content) != KEYS or content["v"] != VERSION:
        raise WireError(f"not a batch of version {VERSION}")
    try:
        return _batch(content)
    except (TypeError, ValueError, AttributeError) as error:
        raise WireError(f"a batch with a field of the wrong kind: {error}") from error


def _unpack(payload: bytes, bytes_max: int) -> Any:
    inflater = zlib.decompressobj()
    try:
        unpacked = inflater.decompress(payload, bytes_max)
    except zlib.error as error:
        raise WireError(f"not zlib: {error}") from error
    if not inflater.eof or inflater.unused_data:
        raise WireError(f"a batch that is cut off, or over {bytes_max} bytes")
    try:
        return msgpack.unpackb(unpacked)
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError("not msgpack") from error


def _batch(content: dict[str, Any]) -> EventBatch:
    first_seq, last_seq = int(content["first_seq"]), int(content["last_seq"])
    records = [
        WireRecord(seq, int(data_class), bytes(body))
        for seq, (data_class, body) in enumerate(content["records"], start=first_seq)
    ]
    if not records or last_seq != records[-1].seq or first_seq < 1:
        raise ValueError("records and sequence numbers don't match")
    return EventBatch(
        epoch=UUID(bytes=content["epoch"]),
        first_seq=first_seq,
        last_seq=last_seq,
        chain_before=bytes(content["chain_before"]),
        chain_after=bytes(content["chain_after"]),
        records=records,
    )
