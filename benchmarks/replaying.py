"""A bear's history told again to aggregates of the `eventsourcing` library, and read back.

    python -m benchmarks.replaying HISTORY DATABASE

HISTORY has an event in each line, as `benchmarks.queries` writes it. Each becomes one event of the
child that it is about. Reading them back makes of every child what the bear's rows say of it: its
profile and counts, its safety, its days and its conversations. Prints two rates, in events a
second: of reading alone, into memory, and with the children written to SQLite, as a rebuild does.
"""

from __future__ import annotations

import importlib
import json
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

BATCH = 500
SEVERITIES = ("low", "medium", "high", "critical")

domain = importlib.import_module("eventsourcing.domain")
application = importlib.import_module("eventsourcing.application")


class Child(domain.Aggregate):  # type: ignore[name-defined, misc]
    """A child with all that the bear shows of it."""

    @domain.event("Registered")
    def __init__(self, at: str, data: dict[str, Any]) -> None:
        self.profile = {**data, "registered_at": at, "last_talk_at": None, "worst": None}
        self.counts: Counter[str] = Counter()
        self.talked_s = 0.0
        self.violations: list[dict[str, Any]] = []
        self.by_severity: Counter[str] = Counter()
        self.by_type: Counter[str] = Counter()
        self.by_month: Counter[str] = Counter()
        self.days: dict[str, dict[str, Any]] = {}
        self.talks: dict[str, dict[str, Any]] = {}

    @domain.event("ViolationReported")
    def violate(self, at: str, data: dict[str, Any]) -> None:
        """Report a violation."""
        severity = data["severity"]
        self.violations.append({**data, "at": at})
        self.by_severity[severity] += 1
        self.by_type[data["violation_type"]] += 1
        self.by_month[at[:7]] += 1
        self.counts["violations"] += 1
        self._day(at)["violations"] += 1
        self.profile["worst"] = max(self.profile["worst"] or "low", severity, key=SEVERITIES.index)

    @domain.event("TalkStarted")
    def start(self, at: str, data: dict[str, Any]) -> None:
        """Start a conversation."""
        self.talks[data["conversation_id"]] = {
            "started_at": at, "ended_at": None, "turns": 0, "duration_s": 0.0,
            "topics": Counter(), "sentiment_sum": 0.0, "sentiment_count": 0, "summary": None,
        }  # fmt: skip
        self.counts["conversations"] += 1
        self.profile["last_talk_at"] = at
        self._day(at)["conversations"] += 1

    @domain.event("TurnRecorded")
    def turn(self, at: str, data: dict[str, Any]) -> None:
        """Take a turn in one."""
        day = self._day(at)
        for counted in (self.talks[data["conversation_id"]], day):
            counted["turns"] += 1
            counted["duration_s"] = round(counted["duration_s"] + data["duration_s"], 3)
            counted["topics"].update(data["topics"])
            if data["sentiment"] is not None:
                counted["sentiment_sum"] = round(counted["sentiment_sum"] + data["sentiment"], 6)
                counted["sentiment_count"] += 1
        day["hours"][at[11:13]] += 1
        self.counts["turns"] += 1
        self.talked_s = round(self.talked_s + data["duration_s"], 3)
        self.profile["last_talk_at"] = at

    @domain.event("TalkEnded")
    def end(self, at: str, data: dict[str, Any]) -> None:
        """End one."""
        self.talks[data["conversation_id"]].update(ended_at=at, summary=data["summary"])

    def _day(self, at: str) -> dict[str, Any]:
        return self.days.setdefault(at[:10], {
            "violations": 0, "conversations": 0, "turns": 0, "duration_s": 0.0,
            "topics": Counter(), "hours": Counter(), "sentiment_sum": 0.0, "sentiment_count": 0,
        })  # fmt: skip

    def row(self) -> str:
        """Write down all of it."""
        state = {key: value for key, value in vars(self).items() if not key.startswith("_")}
        return json.dumps(state, default=str)


TOLD = {
    "safety_violation_reported": Child.violate,
    "conversation_started": Child.start,
    "conversation_turn_recorded": Child.turn,
    "conversation_ended": Child.end,
}


def events(history: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give type, time and data of each event."""
    with history.open() as lines:
        for line in lines:
            yield json.loads(line)


def tell(app: Any, history: Path) -> int:
    """Store the history; gives how many events it has."""
    children: dict[str, Any] = {}
    count = 0
    for count, (kind, at, data) in enumerate(events(history), 1):  # noqa: B007 (it is given)
        child_id = data["child_id"]
        if kind == "child_registered":
            children[child_id] = Child(at, data)
        else:
            TOLD[kind](children[child_id], at, data)
    known = list(children.values())
    for start in range(0, len(known), BATCH):
        app.save(*known[start : start + BATCH])
    return count


def replay(app: Any) -> dict[Any, Any]:
    """Read everything, in order; gives the children."""
    read_seq, children = 0, {}
    while batch := app.recorder.select_notifications(start=read_seq + 1, limit=BATCH):
        for notification in batch:
            done = app.mapper.to_domain_event(notification)
            known = children.get(done.originator_id)
            children[done.originator_id] = done.mutate(known)
            read_seq = notification.id
    return children


def write(children: dict[Any, Any], database: Path) -> None:
    """Write every child, with the durability of the bear's rows."""
    with closing(sqlite3.connect(database)) as rows:
        rows.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
        rows.execute("CREATE TABLE rows (key TEXT PRIMARY KEY, value TEXT)")
        told = ((str(key), child.row()) for key, child in children.items())
        rows.executemany("INSERT INTO rows VALUES (?, ?)", told)
        rows.commit()


def main() -> None:
    """Print the rates."""
    history, database = map(Path, sys.argv[1:])
    limits = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(database)}
    app = application.Application(env=limits)
    count = tell(app, history)
    begin_s = time.perf_counter()
    children = replay(app)
    replayed_s = time.perf_counter()
    write(children, database.with_name("rows.db"))
    written_s = time.perf_counter()
    assert sum(child.version for child in children.values()) == count
    print(count / (replayed_s - begin_s), count / (written_s - begin_s))


if __name__ == "__main__":
    main()
