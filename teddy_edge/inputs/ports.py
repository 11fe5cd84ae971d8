"""What the inputs call, as Protocols; `app.py` hands in the real parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from teddy_edge.errors import CommandRejected
from teddy_edge.messages import Answer, CommandEnvelope, Origin, QueryEnvelope, Refusal, Result


class Commands(Protocol):
    """The command bus."""

    async def execute(
        self, envelope: CommandEnvelope, origin: Origin, received_ns: int | None = None
    ) -> Result:
        """Bring a command to its end; the result is on the card when this returns.

        `received_ns` is when it came, on the monotonic clock; by default now.
        """

    async def refuse(self, refusal: Refusal) -> Result:
        """Record the rejection of something that never became an envelope."""

    async def refuse_command(
        self, envelope: CommandEnvelope, origin: Origin, rejection: CommandRejected
    ) -> Result:
        """Record the rejection of a command, unless it ended before: then that end is given."""


class Queries(Protocol):
    """The query bus."""

    async def ask(self, envelope: QueryEnvelope, origin: Origin) -> Answer:
        """Answer a query; a refused one has its error in the answer."""


class Pins(Protocol):
    """The buttons, where a program may press them: only simulated pins can be pressed."""

    async def press(self, button: str) -> int:
        """Press and release a button; gives the sequence number of the recorded event.

        Raises `CommandRejected`: `unknown_button` lists the known ones, `bounced` came too soon
        after the last edge.
        """


class BearView(Protocol):
    """What the local API shows of the daemon as a whole."""

    def status(self) -> dict[str, Any]:
        """Give what `teddy-edge status` shows: bear, version, broker, log, clock and so on."""

    def health(self) -> dict[str, Any]:
        """Give what is measured now: what the query `get_health` gives, and `sync`."""

    def begin_rebuild(self) -> bool:
        """Build the read models anew, in the background; False where that goes on already."""

    def events(self, first_seq: int) -> AsyncIterator[dict[str, Any]]:
        """Give every event from `first_seq` on, CloudEvents as dicts, then live ones."""
