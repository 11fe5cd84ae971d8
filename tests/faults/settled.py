"""What must be true of the bear's log and of the cloud's when every fault is over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from teddy_edge.eventlog import EventLog, StoredRecord, next_chain
from teddy_edge.eventlog.frame import CHAIN_START
from teddy_edge.events import Record, decode_record
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.messages import Result
from teddy_edge.settings import LogSettings
from tests.faults.command_sender import contradictions

READ_RECORDS = 5000
READ_BYTES = 16 * 1024**2
ENDS = {"command_done": "done", "command_refused": "rejected or expired"}


@dataclass(frozen=True)
class BearLog:
    """All that a stopped bear has."""

    epoch: UUID
    stored: Sequence[StoredRecord]

    @classmethod
    async def read(cls, directory: Path) -> BearLog:
        """Read the log, from its first record."""
        log = EventLog.open(directory, LogSettings())
        assert log.report.gaps == []
        stored: list[StoredRecord] = []
        while more := log.read(len(stored) + 1, READ_RECORDS, READ_BYTES):
            stored += more
        await log.close()
        return cls(log.epoch, stored)

    def records(self) -> list[Record]:
        """Decode them."""
        return [decode_record(each.seq, each.data_class, each.body) for each in self.stored]


def check_commands(
    records: Sequence[Record], names: Mapping[UUID, str], results: Mapping[UUID, list[Result]]
) -> None:
    """Every command that was sent has one end, the effect that belongs to it, and one result."""
    caused: dict[UUID, list[Record]] = defaultdict(list)
    for record in records:
        if record.cause.command_id is not None:
            caused[record.cause.command_id].append(record)
    wrong = {
        command_id: f"{names.get(command_id, 'a press')}: {found}"
        for command_id in {*caused, *names}
        if (found := _wrong_with(caused[command_id], results.get(command_id, [])))
    }
    assert not wrong, f"{len(wrong)} commands, as {list(wrong.items())[:5]}"
    assert not set(names) - set(results), "commands without a result"


def _wrong_with(caused: Sequence[Record], results: list[Result]) -> list[str]:
    types = [record.type for record in caused]
    ends = [record for record in caused if record.type in ENDS]
    if len(ends) != 1 or ends[0] is not caused[-1]:
        return [f"{types} in the log, told {results[:2]}"]
    effects = 1 if ends[0].type == "command_done" else 0
    wrong = [] if len(types) == effects + 1 else [f"{types} in the log"]
    wrong += contradictions(results)
    for result in results[:1]:
        if (result.seq, result.status in ENDS[ends[0].type]) != (ends[0].seq, True):
            wrong.append(f"told {result.status} at {result.seq}, it is {types} at {ends[0].seq}")
    return wrong


def check_presses(records: Sequence[Record], acknowledged: Mapping[int, str]) -> None:
    """Every press that was acknowledged is there, where the answer said."""
    for seq, button in acknowledged.items():
        pressed, end = records[seq - 2 : seq]
        found = (pressed.data, end.type)
        assert found == ({"button": button}, "command_done"), f"a press at {seq} is {found}"


def check_receiver(database: Path, log: BearLog) -> None:
    """The cloud has every event once, in order, byte for byte, and the chain comes out."""
    with closing(SqliteSink(database)) as sink:
        ((bear, position),) = sink.current()
        received = list(sink.records(bear, log.epoch))
        assert (lost := sink.lost(bear, log.epoch)) == [], f"lost at the cloud: {lost[:5]}"
        assert (apart := sink.apart(bear, log.epoch)) == [], f"others at the cloud: {apart[:5]}"
        assert (urgent := sink.urgent(bear)) == [], f"urgent, and not in order: {urgent[:5]}"
    assert position.epoch == log.epoch
    seqs = [record.seq for record in received]
    assert seqs == list(range(1, len(log.stored) + 1)), _first_break(seqs)
    chain = CHAIN_START
    for record, original in zip(received, log.stored, strict=True):
        assert (record.data_class, record.body) == (original.data_class, original.body)
        chain = next_chain(chain, record.seq, record.data_class, record.body)
    assert (position.seq, position.chain) == (len(received), chain)
    ids = {decode_record(each.seq, each.data_class, each.body).id for each in received}
    assert len(ids) == len(received), "an event id was given twice"


def _first_break(seqs: Sequence[int]) -> str:
    found = next((at for at, seq in enumerate(seqs, start=1) if seq != at), len(seqs))
    return f"{len(seqs)} events at the cloud, the first that is out of order after {found - 1}"
