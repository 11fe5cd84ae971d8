"""Reads what an older version wrote, and tells what only a newer one knows.

An upcaster takes the data of one version of an event type and gives the data of the next. They are
applied one after another, so that the rest of the daemon knows the newest version alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from teddy_edge.events.types import EVENT_TYPES, Event

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


def _without_issue(data: dict[str, Any]) -> dict[str, Any]:
    """An end that says nothing of when commands were issued; what is not given is not known."""
    return data


UPCASTERS: Mapping[tuple[str, int], Upcaster] = {
    ("command_done", 1): _without_issue,
    ("command_refused", 1): _without_issue,
}
"""From (type, version) to the version after it."""


def current_event(
    type_name: str,
    version: int,
    data: dict[str, Any],
    event_types: Mapping[str, type[Event]] = EVENT_TYPES,
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
) -> Event | None:
    """Make the typed event; None where its type or its version is newer than this program."""
    event_type = event_types.get(type_name)
    if event_type is None or version > event_type.type_version:
        return None
    for old in range(version, event_type.type_version):
        data = upcasters[type_name, old](data)
    return event_type(**data)
