"""What is shown of the bear itself, and what its log has lost."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from teddy_edge.clock import rfc3339
from teddy_edge.events import BearStarted, ButtonPressed, Record, RecordsLost
from teddy_edge.projections.rows import EventTypes, Rows, append_item

KEY = "bear/self"
LOSSES = "losses"
"""The list of what the log has lost."""


class BearReadModel(BaseModel):
    """The bear: when it last started, what was pressed."""

    model_config = ConfigDict(frozen=True)

    version: str | None = None
    started_at: str | None = None
    button_presses: dict[str, int] = {}
    last_button: str | None = None
    last_button_at: str | None = None
    records_lost: int = 0
    """How many records the log holds no more."""
    time_trust: str = "unsynced"
    """Whether the bear knew the time at the last event shown here."""
    seq: int = 0
    """The last event that changed the row."""


class BearProjection:
    """Makes the row of the bear and the list of losses."""

    name = "bear"
    version = 2
    takes: EventTypes = (BearStarted, ButtonPressed, RecordsLost)

    def apply(self, rows: Rows, record: Record, event: Any) -> None:
        """See `Projection`."""
        model = BearReadModel(**(rows.get(KEY) or {}))
        changes = self._changes(model, event, rfc3339(record.wall_ns))
        stamp = {"time_trust": record.trust.value, "seq": record.seq}
        rows.put(KEY, {**model.model_dump(), **changes, **stamp})
        if isinstance(event, RecordsLost):
            append_item(rows, LOSSES, record.data)

    def _changes(self, model: BearReadModel, event: object, at: str) -> dict[str, Any]:
        match event:
            case BearStarted(version=version):
                return {"version": version, "started_at": at}
            case ButtonPressed(button=button):
                count = model.button_presses.get(button, 0) + 1
                presses = {**model.button_presses, button: count}
                return {"button_presses": presses, "last_button": button, "last_button_at": at}
            case RecordsLost(count=count):
                return {"records_lost": model.records_lost + count}
        return {}
