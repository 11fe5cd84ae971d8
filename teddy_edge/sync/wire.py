"""A batch of records on the wire: zlib over a msgpack map.

    {"v": 1, "epoch": 16 bytes, "first_seq": int, "last_seq": int, "lost_before": int,
     "chain_before": bytes, "chain_after": bytes, "replayed": bool,
     "records": [[data class, body], ...], "too_large": nil or [data class, event id, bytes]}

The records follow each other from `first_seq` on. A body is a record's body as it stands in the log
(see `events`), so that whoever has `chain_before` can compute `chain_after` and see that nothing
was changed, left out or put in.

`lost_before` says how many records right before `first_seq` the bear has no more: damage, a full
card, or in a replay what was removed after it had been confirmed. Where the chain value before the
first record is then not known (empty), nobody can compute that record's own: it goes alone, and the
chain continues from what it says.

`replayed` says that this is no news: it was recorded before the bear connected, or was sent before.

`too_large` stands in place of the records where one alone is larger than the broker takes: the
record stays in the bear's log, and the chain continues from what is said.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, NamedTuple, cast
from uuid import UUID

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from teddy_edge.errors import WireError
from teddy_edge.eventlog import StoredRecord, next_chain
from teddy_edge.events import decode_record

VERSION: Final = 1
CONTENT_TYPE: Final = "application/vnd.teddy.events+msgpack+zlib"
RECORDS_MAX: Final = 10_000
"""As many as a bear may be set to send at once."""

COMPRESSION_LEVEL: Final = 3
"""Higher levels cost twice the time and save a twentieth (see docs/decisions/0008)."""

ByteCount = Annotated[int, Field(ge=1, le=2**63 - 1)]
BatchNumber = Annotated[int, Field(ge=1, le=2**62)]
"""No log gets so far; and the number behind it can still be asked for."""
DataClass = Annotated[int, Field(ge=0, le=255)]
Chain = Annotated[bytes, Field(min_length=16, max_length=16)]
NoChain = Annotated[bytes, Field(max_length=0)]
Uuid = Annotated[bytes, Field(min_length=16, max_length=16)]


class WireRecord(NamedTuple):
    """One record of a batch."""

    seq: int
    data_class: int
    body: bytes


@dataclass(frozen=True, slots=True)
class TooLarge:
    """What is known of a record that stayed with the bear."""

    data_class: int
    event_id: UUID
    body_bytes: int


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
    replayed: bool = False
    too_large: TooLarge | None = None

    @property
    def after_seq(self) -> int:
        """The sequence number that this batch continues from, losses included."""
        return self.first_seq - self.lost_before - 1

    @property
    def body_bytes(self) -> int:
        """What its records hold, before they are packed."""
        return sum(len(record.body) for record in self.records)

    def verify(self) -> None:
        """Recompute the chain; raises `WireError` where it does not come out."""
        if self.too_large is not None:
            return
        if not self.chain_before:
            if self.lost_before and len(self.records) == 1:
                return
            raise WireError(f"no chain value before {self.first_seq}")
        if self.chain_at(self.last_seq) != self.chain_after:
            raise WireError(f"the chain breaks between {self.first_seq} and {self.last_seq}")

    def chain_at(self, seq: int) -> bytes:
        """Compute the chain value at a number from `first_seq - 1` on."""
        chain = self.chain_before
        for record in self.records[: seq + 1 - self.first_seq]:
            chain = next_chain(chain, record.seq, record.data_class, record.body)
        return chain

    def smaller(self) -> EventBatch:
        """Make what may go where this batch cannot: its first half, or that one is too large."""
        if len(self.records) > 1:
            half = self.records[: len(self.records) // 2]
            last_seq = half[-1].seq
            chain_after = self.chain_at(last_seq)
            return replace(self, records=half, last_seq=last_seq, chain_after=chain_after)
        (record,) = self.records
        event_id = decode_record(record.seq, record.data_class, record.body).id
        too_large = TooLarge(record.data_class, event_id, len(record.body))
        return replace(self, records=(), too_large=too_large)


def batch_of(
    epoch: UUID, stored: Sequence[StoredRecord], after_seq: int, *, replayed: bool = False
) -> EventBatch:
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
        replayed=replayed,
    )


def encode_batch(batch: EventBatch) -> bytes:
    """Make the payload."""
    too_large = batch.too_large
    content = {
        "v": VERSION,
        "epoch": batch.epoch.bytes,
        "first_seq": batch.first_seq,
        "last_seq": batch.last_seq,
        "lost_before": batch.lost_before,
        "chain_before": batch.chain_before,
        "chain_after": batch.chain_after,
        "replayed": batch.replayed,
        "records": [[record.data_class, record.body] for record in batch.records],
        "too_large": too_large
        and [too_large.data_class, too_large.event_id.bytes, too_large.body_bytes],
    }
    return zlib.compress(cast(bytes, msgpack.packb(content)), COMPRESSION_LEVEL)


class BatchContent(BaseModel):
    """`events`, from the bear: records that follow each other, zlib over this map as msgpack.

    Nothing is converted: text is no number and a number is no bytes.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    v: Annotated[int, Field(ge=VERSION, le=VERSION)]
    epoch: Uuid
    first_seq: BatchNumber
    last_seq: BatchNumber
    lost_before: Annotated[int, Field(ge=0)]
    chain_before: Chain | NoChain
    chain_after: Chain
    replayed: bool
    records: tuple[tuple[DataClass, bytes], ...]
    too_large: tuple[DataClass, Uuid, ByteCount] | None


def decode_batch(payload: bytes, bytes_max: int) -> EventBatch:
    """Read a payload of at most `bytes_max` once unpacked; raises `WireError` if it is not one.

    The error repeats nothing of the payload, which may hold what a child said.
    """
    try:
        content = BatchContent.model_validate(_unpack(payload, bytes_max))
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
            max_map_len=len(BatchContent.model_fields),  # so that none stands there twice
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException):
        raise WireError("not msgpack") from None


def _batch(content: BatchContent) -> EventBatch:
    too_large = content.too_large
    if (too_large is None) is (not content.records):
        raise WireError("a batch of nothing, or of a record beside one that is too large")
    last_seq = content.first_seq + max(len(content.records), 1) - 1
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
        replayed=content.replayed,
        too_large=too_large and TooLarge(too_large[0], UUID(bytes=too_large[1]), too_large[2]),
    )
