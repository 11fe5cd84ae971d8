"""The time that a report is about, and what is known not to be known of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from teddy_edge.clock import NS_PER_S, Clock, Trust, rfc3339
from teddy_edge.errors import QueryRejected
from teddy_edge.projections.bear import LOSSES
from teddy_edge.projections.rows import item_count, read_items
from teddy_edge.queries.bus import Read

DAYS_DEFAULT = 30
DAYS_MAX = 366
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)


class Period:
    """From one moment up to another, both included."""

    def __init__(self, start: datetime, end: datetime) -> None:
        """Raise `QueryRejected` where it ends before it starts, or is too long."""
        _check(start, "data.from_date")
        _check(end, "data.to_date")
        self.start = start.astimezone(UTC)
        self.end = end.astimezone(UTC)
        if self.end < self.start:
            raise QueryRejected("invalid", "the period ends before it starts", "data.to_date")
        if self.end - self.start > timedelta(days=DAYS_MAX):
            sentence = f"a period has at most {DAYS_MAX} days"
            raise QueryRejected("invalid", sentence, "data.from_date")

    @classmethod
    def asked(cls, from_date: datetime | None, to_date: datetime | None, clock: Clock) -> Period:
        """Make the period that was asked for; by default the last 30 days up to now.

        Where the bear does not know the time, it does not guess when now is: a period that was
        given no end is as long as a period may be.
        """
        if to_date is not None:
            _check(to_date, "data.to_date")
            return cls(from_date or to_date - timedelta(days=DAYS_DEFAULT), to_date)
        if clock.trust() is Trust.UNSYNCED:
            if from_date is None:
                sentence = "this bear does not know the time now: say when the period starts"
                raise QueryRejected("time_unknown", sentence, "data.from_date")
            _check(from_date, "data.from_date")
            return cls(from_date, from_date + timedelta(days=DAYS_MAX))
        now = datetime.fromtimestamp(-(-clock.wall_ns() // NS_PER_S), UTC)  # this second included
        end = max(now, from_date or now)
        return cls(from_date or end - timedelta(days=DAYS_DEFAULT), end)

    def has(self, at: str) -> bool:
        """Tell whether a moment, as RFC 3339 writes it, lies within."""
        return self.start <= datetime.fromisoformat(at) <= self.end

    def days(self) -> Iterator[str]:
        """Give its days, as in `2026-11-22`."""
        day: date = self.start.date()
        while day <= self.end.date():
            yield day.isoformat()
            day += timedelta(days=1)

    def as_data(self) -> dict[str, str]:
        """Say it in an answer."""
        return {"from": self.start.isoformat(), "to": self.end.isoformat()}


def _check(moment: datetime, field: str) -> None:
    if not EARLIEST <= moment <= LATEST:
        sentence = f"a date lies in the years {EARLIEST.year} to {LATEST.year - 1}"
        raise QueryRejected("invalid", sentence, field)


async def losses_within(read: Read, period: Period) -> list[dict[str, Any]]:
    """Give the losses of the log that may have held something of the period."""
    losses = await read_items(read, LOSSES, 0, await item_count(read, LOSSES))
    return [loss for loss in losses if _may_touch(loss, period)]


def _may_touch(loss: dict[str, Any], period: Period) -> bool:
    after_ns, before_ns = loss["after_wall_ns"], loss["before_wall_ns"]
    if after_ns is not None and before_ns is not None and after_ns > before_ns:
        return True  # the wall clock was set back meanwhile
    begins_later = after_ns is not None and rfc3339(after_ns) > _text(period.end)
    ends_earlier = before_ns is not None and rfc3339(before_ns) < _text(period.start)
    return not begins_later and not ends_earlier


def _text(moment: datetime) -> str:
    return rfc3339(round(moment.timestamp()) * NS_PER_S)
