"""What a link gives, and is given: messages, connections, and who handles what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it arrived; a topic that is not UTF-8 has U+FFFD where it is not."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    response_topic: str | None
    correlation_data: bytes | None
    content_type: str | None


class Connection(Protocol):
    """One connection to the broker; it never becomes another one."""

    session_present: bool
    """Whether the broker still had our session."""

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        correlation_data: bytes | None = None,
        content_type: str | None = None,
    ) -> None:
        """Return once the broker has acknowledged it, or raise a `LinkError`."""


Handler = Callable[[Connection, Incoming], Awaitable[None]]
"""Takes a message; its normal return is the acknowledgement. Cancelled when the connection ends."""

Session = Callable[[Connection], Awaitable[None]]
"""Lives with a connection and is cancelled when it ends; it may return earlier."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which messages go to which handler.

    `ordered`: one at a time, in the order of arrival. Else up to `receive_maximum` at once, or
    `at_once_max` where that is less, started in that order. A topic that several filters match goes
    to the first of them. `retained_once`: what the broker has retained comes when it does not know
    us any more, and not at each connect. `no_local`: what we publish ourselves does not come.
    `may_be_refused`: we can do without it.
    """

    topic_filter: str
    handler: Handler
    qos: int = 1
    ordered: bool = False
    at_once_max: int | None = None
    retained_once: bool = False
    no_local: bool = False
    may_be_refused: bool = False

    def matches(self, topic: str) -> bool:
        """Tell whether the filter takes this topic."""
        levels, wanted = topic.split("/"), self.topic_filter.split("/")
        if wanted[-1] == "#":
            wanted = wanted[:-1]
            levels = levels[: len(wanted)]
        return len(levels) == len(wanted) and all(
            want in ("+", level) for want, level in zip(wanted, levels, strict=True)
        )
