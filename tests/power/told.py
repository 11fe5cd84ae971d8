"""What the process on the disk was promised, written down beside the disk, with the time.

The time is how long the disk's record was: what the log had promised by then must be on a disk that
has gone through that much of the record.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from hashlib import shake_128
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from teddy_edge.eventlog import Entry, LostRange, Policy, StoredRecord

SAFETY, CONSENT, COMMAND, STATE, ACTIVITY, DIAGNOSTICS = range(1, 7)
CLASSES: Final = (ACTIVITY, DIAGNOSTICS, ACTIVITY, COMMAND, DIAGNOSTICS, SAFETY, ACTIVITY, STATE)
POLICY: Final = Policy(
    removable=frozenset({ACTIVITY, DIAGNOSTICS}),
    bounded={COMMAND: 20_000, STATE: 20_000},
    droppable=(DIAGNOSTICS, ACTIVITY, STATE, COMMAND),
)
ESSENTIAL: Final = (SAFETY, CONSENT)
BODY_BYTES: Final = (1, 40, 150, 400, 900, 6000)
_HEAD: Final = struct.Struct("<HHIH")


class Place(NamedTuple):
    """One entry: of which run and producer, in which of its appends, and where in that."""

    run: int
    producer: int
    number: int
    entry: int = 0

    @property
    def append(self) -> Place:
        """The append, told by its first entry."""
        return self._replace(entry=0)

    @property
    def size(self) -> int:
        """How many entries the append has."""
        return self.number % 3 + 1

    @property
    def data_class(self) -> int:
        """The same for the whole append, so that retention takes or leaves it whole."""
        return CLASSES[(self.run + self.producer + self.number) % len(CLASSES)]

    def whole(self) -> list[Place]:
        """All entries of the append."""
        return [self._replace(entry=entry) for entry in range(self.size)]

    def entries(self) -> list[Entry]:
        """What is appended."""
        return [Entry(place.data_class, body_of(place)) for place in self.whole()]


@cache
def body_of(place: Place) -> bytes:
    """Make noise that only this entry has; now and then more than a page of it."""
    head = _HEAD.pack(*place)
    size_bytes = BODY_BYTES[shake_128(head).digest(1)[0] % len(BODY_BYTES)]
    return head + shake_128(head).digest(size_bytes)


def place_of(record: StoredRecord) -> Place:
    """Read back which entry a record is, and see that it is that one to the last byte."""
    place = Place(*_HEAD.unpack_from(record.body))
    assert (record.data_class, record.body) == (place.data_class, body_of(place))
    return place


class Teller:
    """Writes down, one line for each promise; a line that was written survives the writer."""

    def __init__(self, path: Path, record: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._record = record

    def tell(self, what: str, *facts: Any) -> None:
        """Say it, at the time that it is now."""
        line = json.dumps([self._record.stat().st_size, what, *facts])
        os.write(self._descriptor, line.encode() + b"\n")


@dataclass
class Told:
    """All that was promised up to some time."""

    epoch: str | None = None
    whole_from_seq: int = 0
    acknowledged: dict[int, Place] = field(default_factory=dict)
    confirming_seq: int = 0
    confirmed_seq: int = 0
    dropped_seqs: set[int] = field(default_factory=set)
    dropping: LostRange | None = None

    def hear(self, what: str, facts: list[Any]) -> None:
        """Take up one line."""
        if what == "opened":
            self.epoch = facts[0]
        elif what == "acknowledged":
            self._acknowledge(facts[0], Place(*facts[1]))
        elif what == "confirming":
            self.confirming_seq = facts[0]
        elif what == "confirmed":
            self.confirmed_seq = facts[0]
        elif what == "reduced":
            self.whole_from_seq = facts[0]
        elif what == "dropping":
            self.dropping = LostRange(*facts)
        elif what == "dropped":
            self.dropped_seqs |= self.dropping_seqs
            self.dropping = None

    def _acknowledge(self, last_seq: int, append: Place) -> None:
        for seq, place in enumerate(append.whole(), last_seq - append.size + 1):
            assert self.acknowledged.setdefault(seq, place) == place, "a number was given twice"

    @property
    def dropping_seqs(self) -> set[int]:
        """What a drop takes that was told and may have been done or not."""
        if self.dropping is None:
            return set()
        within = range(self.dropping.first_seq, self.dropping.last_seq + 1)
        return {s for s in within if self._class_of(s) == self.dropping.data_class}

    def may_be_removed(self, seq: int) -> bool:
        """Whether the other end has it and its class may leave then."""
        data_class = self._class_of(seq)
        leaves = data_class in POLICY.removable or data_class in POLICY.bounded
        return leaves and seq <= self.confirming_seq

    def _class_of(self, seq: int) -> int | None:
        place = self.acknowledged.get(seq)
        return None if place is None else place.data_class


Line = tuple[int, str, list[Any]]
"""When, what, and the facts of it."""


def read_told(path: Path) -> list[Line]:
    """Give all lines in the order of their times."""
    lines = path.read_text().splitlines() if path.exists() else []
    read = [json.loads(line) for line in lines]
    return sorted(((at, what, facts) for at, what, *facts in read), key=itemgetter(0))


def write_told(path: Path, lines: Iterable[Line]) -> None:
    """Write lines that a later process goes on from."""
    path.write_text("".join(json.dumps([at, what, *facts]) + "\n" for at, what, facts in lines))


def told_by(lines: Iterable[Line]) -> Told:
    """Give all that was promised."""
    told = Told()
    for _, what, facts in lines:
        told.hear(what, facts)
    return told
