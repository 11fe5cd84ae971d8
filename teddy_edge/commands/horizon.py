"""Tells a new command from one that was done so long ago that its end is not known any more.

The journal knows the newest ends alone, and the log does not keep all of them. So a second mark
stands beside the ids: the horizon, the latest issue among all commands that were done and are not
known any more. A command that was not issued after it may be one of them and is never executed;
one that was issued later is new. All of it is in the senders' time (`issued_at`), so that it holds
whatever the bear's own clock says, and only of what came over MQTT, where the broker may deliver
again at any later time. What the bear stamps itself is made once.

Each end says how many commands were done before it, and when the latest of these was issued. Where
fewer are read from the log, the rest was removed or is damaged, and lies behind the horizon too.

A sender whose clock is ahead would draw the horizon with it, over everybody else's commands. What
is issued further ahead than settings allow is therefore refused; while no network has told the
time, ahead of the latest command that was done, since senders together know it better than the
bear, and than a parent who may have set it wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from teddy_edge.clock import NS_PER_US, Clock, Trust
from teddy_edge.errors import CommandExpired, CommandRejected
from teddy_edge.events import CommandDone, CommandRefused, Event
from teddy_edge.settings import CommandSettings

US_PER_S = 1_000_000


class Horizon:
    """What is known of the commands whose ends are not. One thread uses it."""

    def __init__(self, clock: Clock, limits: CommandSettings) -> None:
        self._clock = clock
        self._skew_us = limits.skew_s_max * US_PER_S
        self._unsynced_skew_us = limits.unsynced_skew_s_max * US_PER_S
        self._forgotten_us: int | None = None
        self.done_count = 0
        """How many commands were ever done."""
        self.latest_us: int | None = None
        """When the latest of them was issued; None where none of them says it."""

    def apply(self, event: Event) -> None:
        """Take up an end, in the order of the log: one that is read, or one that is new."""
        if not isinstance(event, CommandDone | CommandRefused):
            return
        if event.done_before is not None and event.done_before > self.done_count:
            self.done_count = event.done_before
            self.latest_us = _later(self.latest_us, event.latest_us)
            self.forget(event.latest_us)
        if isinstance(event, CommandDone):
            self.done_count += 1
            self.latest_us = _later(self.latest_us, event.issued_us)

    def forget(self, issued_us: int | None) -> None:
        """Take note that the end of a command that was done is not known any more."""
        self._forgotten_us = _later(self._forgotten_us, issued_us)

    def state(self) -> list[int | None]:
        """Give all that it knows, for a checkpoint."""
        return [self._forgotten_us, self.done_count, self.latest_us]

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave."""
        self._forgotten_us, self.done_count, self.latest_us = state

    def check(self, issued_us: int | None) -> None:
        """Let a command through whose id is not known; None is one that the bear stamped itself.

        Raises `CommandExpired` where it may have been done before, `CommandRejected` where it was
        issued too far ahead.
        """
        if issued_us is None:
            return
        if self._forgotten_us is not None and issued_us <= self._forgotten_us:
            sentence = "it is so old that the bear would not know whether it was done before"
            raise CommandExpired("forgotten", sentence, "issued_at")
        ceiling_us = self._ceiling_us()
        if ceiling_us is not None and issued_us > ceiling_us:
            sentence = "it was issued in the future: the sender's clock is ahead"
            raise CommandRejected("issued_ahead", sentence, "issued_at")

    def _ceiling_us(self) -> int | None:
        now_us = self._clock.wall_ns() // NS_PER_US
        if self._clock.trust() is Trust.SYNCED:
            return now_us + self._skew_us
        if self.latest_us is None:
            return None
        return max(now_us, self.latest_us) + self._unsynced_skew_us


def _later(one_us: int | None, other_us: int | None) -> int | None:
    known_us = [us for us in (one_us, other_us) if us is not None]
    return max(known_us, default=None)
