"""Where the cloud's end keeps what the bears sent, and the commands that it sent to them.

A series is what one bear's log of one epoch sent: records that follow each other, from the first
that ever came. Series are never mixed: after a factory reset a bear has a new epoch and counts from
1 again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from teddy_edge.messages import Result
from teddy_edge.sync.signals import UrgentEvent
from teddy_edge.sync.wire import TooLarge, WireRecord


@dataclass(frozen=True, slots=True)
class Position:
    """How far a series is stored, and the chain value there."""

    epoch: UUID
    seq: int
    chain: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """Records that a bear has no more, as it says; none where `last_seq` is below `first_seq`."""

    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What is new of a batch: records that end at `position`, and what lacks before or of them."""

    position: Position
    records: Sequence[WireRecord]
    lost: Lost
    too_large: TooLarge | None = None
    """Stands in place of the records."""


@dataclass(frozen=True, slots=True)
class SentCommand:
    """A command as it was published: its payload is sent again as it is."""

    bear: str
    id: UUID
    name: str
    payload: bytes


class EventSink(Protocol):
    """A store of series. Its calls block, and come from one thread."""

    def position(self, bear: str, epoch: UUID) -> Position | None:
        """How far this series is stored; None if nothing of it came yet."""

    def current(self) -> Sequence[tuple[str, Position]]:
        """Each bear with the series that it sent to last."""

    def newest(self, bear: str) -> Position | None:
        """The series that this bear sent to last."""

    def stored(self, bear: str, epoch: UUID, first_seq: int, last_seq: int) -> Sequence[WireRecord]:
        """Read back what is stored between two numbers, both included, in order."""

    def store(self, bear: str, taken: Taken) -> None:
        """Keep what was taken; it is durable when this returns, or nothing of it is kept.

        An urgent event that is now stored in order is no longer kept twice.
        """

    def keep_apart(self, bear: str, epoch: UUID, records: Sequence[WireRecord]) -> None:
        """Keep events that came under numbers which stand for other events; durable at return."""

    def keep_urgent(self, bear: str, event: UrgentEvent, payload: bytes) -> bool:
        """Keep an event that came ahead of its place; it is durable when this returns.

        False where it is known by its id, as urgent or in order.
        """


class CommandSink(Protocol):
    """A store of commands, from before they are sent until they have ended. Its calls block."""

    def keep_command(self, command: SentCommand, at_ns: int) -> None:
        """Keep a command that is about to be sent; it is durable when this returns."""

    def newest_mark(self) -> int:
        """The highest mark that a command has; 0 where none has one."""

    def mark(self, commands: Sequence[SentCommand], mark: int) -> None:
        """Mark commands that are sent again. No clock is in it: a later pass has a higher mark."""

    def open_commands(self, bear: str, below_mark: int) -> Sequence[SentCommand]:
        """Give a bear's commands without a result, the oldest first, up to a limit of the store.

        Those that have this mark or a higher one are left out; a new command has 0.
        """

    def end_command(self, bear: str, result: Result) -> bool:
        """Keep a result; false where no such command waits for one."""


class Sink(EventSink, CommandSink, Protocol):
    """All that the cloud's end keeps."""
