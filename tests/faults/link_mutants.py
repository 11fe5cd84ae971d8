"""Bears and receivers with a mistake in them, which the checks after a campaign must see.

python -m tests.faults.link_mutants MISTAKE MODULE [ARGUMENT...]
"""

from __future__ import annotations

import asyncio
import dataclasses
import runpy
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from teddy_edge.commands.journal import Journal
from teddy_edge.eventlog import Entry, EventLog
from teddy_edge.eventlog.writer import SegmentWriter
from teddy_edge.fleet.intake import EventIntake
from teddy_edge.messages import CommandEnvelope, Result
from teddy_edge.sync.wire import EventBatch

SLOW_CARD_S = 0.02


def put(owner: object, name: str, mistaken: object) -> None:
    """Put a mistake in the place of what is right."""
    setattr(owner, name, mistaken)


def tell_before_it_is_durable() -> None:
    """A bear whose log says at once that a record is on the card."""
    append, write = EventLog.append, SegmentWriter.write

    def too_early(log: EventLog, entries: Sequence[Entry]) -> asyncio.Future[int]:
        durable = append(log, entries)
        durable.add_done_callback(lambda future: future.exception())
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        told.set_result(log._next_seq - 1)
        return told

    def slowly(writer: SegmentWriter, batch: Any) -> None:
        time.sleep(SLOW_CARD_S)
        write(writer, batch)

    put(EventLog, "append", too_early)
    put(SegmentWriter, "write", slowly)


def forget_what_ended() -> None:
    """A bear that knows a duplicate only while the first is on its way to the card."""
    earlier_result = Journal.earlier_result

    async def only_in_flight(journal: Journal, envelope: CommandEnvelope) -> Result | None:
        is_in_flight = envelope.id in journal._in_flight
        return await earlier_result(journal, envelope) if is_in_flight else None

    put(Journal, "earlier_result", only_in_flight)


def take_what_leaves_a_gap() -> None:
    """A receiver that takes it that all before a batch was stored."""
    take = EventIntake._take

    def without_looking(intake: EventIntake, bear: str, batch: EventBatch) -> object:
        stored = intake._sink.position(bear, batch.epoch)
        missing = 0 if stored is None else max(0, batch.first_seq - 1 - stored.seq)
        return take(intake, bear, dataclasses.replace(batch, lost_before=missing))

    put(EventIntake, "_take", without_looking)


MISTAKES: dict[str, Callable[[], None]] = {
    mistake.__name__: mistake
    for mistake in (
        tell_before_it_is_durable,
        forget_what_ended,
        take_what_leaves_a_gap,
    )
}


if __name__ == "__main__":
    MISTAKES[sys.argv[1]]()
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
