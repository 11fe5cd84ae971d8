"""A batch of records on the wire: zlib over a msgpack map.

    {"v": 1, "epoch": 16 bytes, "first_seq": int, "last_seq": int, "lost_before": int,
     "chain_before": bytes, "chain_after": bytes, "records": [[data class, body], ...]}

The records follow each other from `first_seq` on. A body is a record's body as it stands in the log
(see `events`), so that whoever has `chain_before` can compute `chain_after` and see that nothing
was changed, left out or put in.

`lost_before` says how many records right before `first_seq` the bear has no more: damage, or a full
card. The chain value before the first record is then not known (empty), and nobody can compute that
record's own: it goes alone, and the chain continues from what it says.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast
from uuid import UUID

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from teddy_edge.errors import WireError
from teddy_edge.eventlog import StoredRecord, next_chain

VERSION: Final = 1
CONTENT_TYPE: Final = "application/vnd.teddy.events+msgpack+zlib"
RECORDS_MAX: Final = 10_000
"""As many as a bear may be set to send at once."""

SequenceNumber = Annotated[int, Field(ge=1, le=2**63 - 1)]
DataClass = Annotated[int, Field(ge=0, le=255)]
Chain = Annotated[bytes, Field(min_length=16, max_length=16)]
NoChain = Annotated[bytes, Field(max_length=0)]


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
    lost_before: int = 0
    """How many records right before `first_seq` are lost."""

    @property
    def after_seq(self) -> int:
        """The sequence number that this batch continues from, losses included."""
        return self.first_seq - self.lost_before - 1

    def verify(self) -> None:
        """Recompute the chain; raises `WireError` where it does not come out."""
        if not self.chain_before:
            if self.lost_before and len(self.records) == 1:
                return
            raise WireError(f"no chain value before {self.first_seq}")
        chain = self.chain_before
        for record in self.records:
            chain = next_chain(chain, record.seq, record.data_class, record.body)
        if chain != self.chain_after:
            raise WireError(f"the chain breaks between {self.first_seq} and {self.last_seq}")


def batch_of(epoch: UUID, stored: Sequence[StoredRecord], after_seq: int) -> EventBatch:
    """Make a batch of the first records that follow each other; a hole in the log ends it.

    What lies between `after_seq`, the last number sent, and the first record is lost.
    """
    stored = [record for place, record in enumerate(stored) if record.seq == stored[0].seq + place]
    if not stored[0].chain_before:
        stored = stored[:1]
    return EventBatch(
        epoch=epoch,
        first_seq=stored[0].seq,
        last_seq=stored[-1].seq,
        chain_before=stored[0].chain_before,
        chain_after=stored[-1].chain,
        records=[WireRecord(record.seq, record.data_class, record.body) for record in stored],
        lost_before=max(stored[0].seq - after_seq - 1, int(not stored[0].chain_before)),
    )


def encode_batch(batch: EventBatch) -> bytes:
    """Make the payload."""
    content = {
        "v": VERSION,
        "epoch": batch.epoch.bytes,
        "first_seq": batch.first_seq,
        "last_seq": batch.last_seq,
        "lost_before": batch.lost_before,
        "chain_before": batch.chain_before,
        "chain_after": batch.chain_after,
        "records": [[record.data_class, record.body] for record in batch.records],
    }
    return zlib.compress(cast(bytes, msgpack.packb(content)))


class _Content(BaseModel):
    """The map, with nothing converted: text is no number and a number is no bytes."""

    model_config = ConfigDict(strict=True, extra="forbid")

    v: Annotated[int, Field(ge=VERSION, le=VERSION)]
    epoch: Annotated[bytes, Field(min_length=16, max_length=16)]
    first_seq: SequenceNumber
    last_seq: SequenceNumber
    lost_before: Annotated[int, Field(ge=0)]
    chain_before: Chain | NoChain
    chain_after: Chain
    records: Annotated[tuple[tuple[DataClass, bytes], ...], Field(min_length=1)]


def decode_batch(payload: bytes, bytes_max: int) -> EventBatch:
    """Read a payload of at most `bytes_max` once unpacked; raises `WireError` if it is not one.

    The error repeats nothing of the payload, which may hold what a child said.
    """
    try:
        content = _Content.model_validate(_unpack(payload, bytes_max))
    except ValidationError:
        raise WireError(f"not a batch of version {VERSION}") from None
    return _batch(content)


def _unpack(payload: bytes, bytes_max: int) -> Any:
    inflater = zlib.decompressobj()
    try:
        unpacked = inflater.decompress(payload, bytes_max)
    except zlib.error:
        raise WireError("not zlib") from None
    if not inflater.eof or inflater.unused_data:
        raise WireError(f"a batch that is cut off, or over {bytes_max} bytes")
    try:
        return msgpack.unpackb(
            unpacked,
            use_list=False,
            max_array_len=RECORDS_MAX,
            max_map_len=len(_Content.model_fields),  # so that none stands there twice
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException):
        raise WireError("not msgpack") from None


def _batch(content: _Content) -> EventBatch:
    last_seq = content.first_seq + len(content.records) - 1
    if content.last_seq != last_seq or content.lost_before >= content.first_seq:
        raise WireError("a batch whose records and sequence numbers do not match")
    return EventBatch(
        epoch=UUID(bytes=content.epoch),
        first_seq=content.first_seq,
        last_seq=last_seq,
        chain_before=content.chain_before,
        chain_after=content.chain_after,
        records=[
            WireRecord(seq, data_class, body)
            for seq, (data_class, body) in enumerate(content.records, start=content.first_seq)
        ],
        lost_before=content.lost_before,
    )
