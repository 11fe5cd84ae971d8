"""What is shown of the bear itself."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from teddy_edge.clock import rfc3339
from teddy_edge.events import BearStarted, ButtonPressed, Record

KEY = "bear/self"


class BearReadModel(BaseModel):
    """The bear: when it last started, what was pressed."""

    model_config = ConfigDict(frozen=True)

    version: str | None = None
    started_at: str | None = None
    button_presses: dict[str, int] = {}
    last_button: str | None = None
    last_button_at: str | None = None
    time_trust: str = "unsynced"
    """Whether the bear knew the time at the last event shown here."""
    seq: int = 0
    """The last event that changed the row."""


class BearProjection:
    """Makes the one row `bear/self`."""

    name = "bear"
    version = 1

    def key(self, record: Record) -> str | None:
        """Only the bear's own stream counts."""
        return KEY if record.stream == "bear" else None

    def apply(self, row: dict[str, Any] | None, record: Record) -> dict[str, Any] | None:
        """Give the row after a record."""
        model = BearReadModel(**(row or {}))
        changes = self._changes(model, record)
        if not changes:
            return row
        stamp = {"time_trust": record.trust.value, "seq": record.seq}
        return model.model_copy(update={**changes, **stamp}).model_dump()

    def _changes(self, model: BearReadModel, record: Record) -> dict[str, Any]:
        event = record.event
        at = rfc3339(record.wall_ns)
        if isinstance(event, BearStarted):
            return {"version": event.version, "started_at": at}
        if isinstance(event, ButtonPressed):
            count = model.button_presses.get(event.button, 0) + 1
            presses = {**model.button_presses, event.button: count}
            return {"button_presses": presses, "last_button": event.button, "last_button_at": at}
        return {}
