"""The handlers: each finds the state that its command is about and lets the rules decide."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

from teddy_edge.clock import NS_PER_US, Clock, Trust, microseconds
from teddy_edge.commands.aggregates import Aggregates
from teddy_edge.commands.bus import CommandBus, CommandContext
from teddy_edge.commands.journal import Decision
from teddy_edge.domain import bear, child, conversation
from teddy_edge.domain.command import Command
from teddy_edge.errors import CommandRejected
from teddy_edge.events import ClockSynced


class RegisterChildHandler:
    """Decides on `register_child`; the result's data gives the new `child_id`."""

    command_type = child.RegisterChild

    def __init__(self, aggregates: Aggregates, children_max: int) -> None:
        self._aggregates = aggregates
        self._children_max = children_max

    def handle(self, command: child.RegisterChild, context: CommandContext) -> Decision:
        """Make the child's id from the command's, so that a retry means the same child."""
        if self._aggregates.child_count >= self._children_max:
            sentence = f"this bear knows {self._children_max} children already"
            raise CommandRejected("too_many_children", sentence)
        child_id = _id_made_by(context, "child")
        state = self._aggregates.child_with_udid(command.udid)
        events = child.register(state, command, child_id)
        return Decision(child.stream(child_id), events, {"child_id": child_id})


class ChildHandler:
    """Decides on a command about a child that is registered."""

    def __init__(self, command_type: type[Command], aggregates: Aggregates) -> None:
        self.command_type = command_type
        self._aggregates = aggregates

    def handle(self, command: Any, context: CommandContext) -> Decision:
        """Decide by the state of the child."""
        del context
        events = child.decide(self._aggregates.child(command.child_id), command)
        return Decision(child.stream(command.child_id), events, {"child_id": command.child_id})


class StartConversationHandler:
    """Decides on `start_conversation`; the result's data gives the new `conversation_id`."""

    command_type = conversation.StartConversation

    def __init__(self, aggregates: Aggregates) -> None:
        self._aggregates = aggregates

    def handle(self, command: conversation.StartConversation, context: CommandContext) -> Decision:
        """Make the conversation's id from the command's, so that a retry means the same one."""
        conversation_id = _id_made_by(context, "conversation")
        events = conversation.start(self._aggregates.child(command.child_id), conversation_id)
        stream = conversation.stream(conversation_id)
        return Decision(stream, events, {"conversation_id": conversation_id})


class ConversationHandler:
    """Decides on a command about a conversation that goes on."""

    def __init__(
        self, command_type: type[Command], aggregates: Aggregates, *, keep_words: bool
    ) -> None:
        self.command_type = command_type
        self._aggregates = aggregates
        self._keep_words = keep_words

    def handle(self, command: Any, context: CommandContext) -> Decision:
        """Decide by the state of the conversation."""
        del context
        state = self._aggregates.conversation(command.conversation_id)
        events = conversation.decide(state, command, keep_words=self._keep_words)
        return Decision(conversation.stream(command.conversation_id), events)


class PressButtonHandler:
    """Decides on `press_button`."""

    command_type = bear.PressButton

    def __init__(self, buttons: Collection[str]) -> None:
        self._buttons = buttons

    def handle(self, command: bear.PressButton, context: CommandContext) -> Decision:
        """Decide by the buttons that this bear has."""
        del context
        return Decision(bear.STREAM, bear.decide(self._buttons, command))


class SetClockHandler:
    """Decides on `set_clock`."""

    command_type = bear.SetClock

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def handle(self, command: bear.SetClock, context: CommandContext) -> Decision:
        """Take a parent's word for it, unless a network has told the time in this boot."""
        if context.envelope.actor.role not in {"parent", "guardian"}:
            sentence = "only a parent or a guardian sets the clock"
            raise CommandRejected("wrong_role", sentence, "actor.role")
        if self._clock.trust() is Trust.SYNCED:
            raise CommandRejected("time_known", "this bear has the time from a network")
        now_ns = microseconds(command.now) * NS_PER_US
        boot_id = str(self._clock.boot_id)
        event = ClockSynced(boot_id, context.received_ns, now_ns, Trust.SET.value)
        return Decision(bear.STREAM, [event])


def register_handlers(
    bus: CommandBus,
    aggregates: Aggregates,
    clock: Clock,
    *,
    buttons: Collection[str],
    keep_words: bool,
    children_max: int,
) -> None:
    """Give the bus every command that this bear knows."""
    bus.register(RegisterChildHandler(aggregates, children_max))
    for about_child in (
        child.UpdateChildProfile,
        child.ReportSafetyViolation,
        child.DeactivateChild,
    ):
        bus.register(ChildHandler(about_child, aggregates))
    bus.register(StartConversationHandler(aggregates))
    for about_conversation in (conversation.RecordConversationTurn, conversation.EndConversation):
        bus.register(ConversationHandler(about_conversation, aggregates, keep_words=keep_words))
    bus.register(PressButtonHandler(buttons))
    bus.register(SetClockHandler(clock))


def _id_made_by(context: CommandContext, kind: str) -> str:
    return str(uuid.uuid5(context.envelope.id, kind))
