"""The states that commands are decided on, in memory, rebuilt from the log at each start."""

from __future__ import annotations

from collections.abc import Iterable

from teddy_edge.domain import child
from teddy_edge.domain.bear import Bear
from teddy_edge.domain.child import Child
from teddy_edge.events import ChildRegistered, Event


class Aggregates:
    """Every aggregate of this bear. One thread, the event loop's, reads and changes them."""

    def __init__(self, buttons: Iterable[str]) -> None:
        self.bear = Bear(buttons=tuple(buttons))
        self._children: dict[str, Child] = {}
        self._child_id_of_udid: dict[str, str] = {}

    def child_with_udid(self, udid: str) -> Child | None:
        """Give the child registered under a udid."""
        child_id = self._child_id_of_udid.get(udid)
        return None if child_id is None else self._children[child_id]

    def apply(self, event: Event) -> None:
        """Move the aggregate that an event belongs to."""
        if isinstance(event, ChildRegistered):
            self._child_id_of_udid[event.udid] = event.child_id
            state = child.evolve(self._children.get(event.child_id), event)
            if state is not None:
                self._children[event.child_id] = state
