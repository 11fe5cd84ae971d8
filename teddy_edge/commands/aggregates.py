"""The states that commands are decided on, in memory, rebuilt from the log at each start."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from teddy_edge.domain import child, conversation
from teddy_edge.domain.child import Child
from teddy_edge.domain.conversation import Conversation
from teddy_edge.events import (
    ChildDeactivated,
    ChildRegistered,
    ConversationEnded,
    ConversationStarted,
    Event,
)

CONVERSATIONS_MAX = 1000
"""Conversations that go on at once; one that a power cut left open goes first."""


class Aggregates:
    """Every aggregate of this bear. One thread, the event loop's, reads and changes them."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}
        self._child_id_of_udid: dict[str, str] = {}
        self._conversations: OrderedDict[str, Conversation] = OrderedDict()

    def child(self, child_id: str) -> Child | None:
        """Give a child, also a deactivated one."""
        return self._children.get(child_id)

    @property
    def child_count(self) -> int:
        """How many children were ever registered."""
        return len(self._children)

    def child_with_udid(self, udid: str) -> Child | None:
        """Give the child registered under a udid."""
        child_id = self._child_id_of_udid.get(udid)
        return None if child_id is None else self._children[child_id]

    def conversation(self, conversation_id: str) -> Conversation | None:
        """Give a conversation that goes on with a child that may still use the bear."""
        state = self._conversations.get(conversation_id)
        owner = None if state is None else self._children.get(state.child_id)
        return state if owner is not None and owner.is_active else None

    def apply(self, event: Event) -> None:
        """Move the aggregate that an event belongs to."""
        if isinstance(event, ChildRegistered | ChildDeactivated):
            self._apply_to_child(event)
        elif isinstance(event, ConversationStarted | ConversationEnded):
            self._apply_to_conversation(event)

    def state(self) -> list[Any]:
        """Give all that events made, in types that msgpack knows, for a checkpoint."""
        return [
            [astuple(state) for state in self._children.values()],
            [astuple(state) for state in self._conversations.values()],
        ]

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave."""
        children, conversations = state
        for fields in children:
            self._know(Child(*fields))
        for fields in conversations:
            going_on = Conversation(*fields)
            self._conversations[going_on.conversation_id] = going_on

    def _apply_to_child(self, event: ChildRegistered | ChildDeactivated) -> None:
        state = child.evolve(self._children.get(event.child_id), event)
        if state is not None:
            self._know(state)

    def _know(self, state: Child) -> None:
        self._children[state.child_id] = state
        self._child_id_of_udid[state.udid] = state.child_id

    def _apply_to_conversation(self, event: ConversationStarted | ConversationEnded) -> None:
        state = conversation.evolve(self._conversations.get(event.conversation_id), event)
        if state is None:
            self._conversations.pop(event.conversation_id, None)
            return
        self._conversations[event.conversation_id] = state
        if len(self._conversations) > CONVERSATIONS_MAX:
            self._conversations.popitem(last=False)
