"""The handlers: each finds the state that its command is about and lets the rules decide."""

from __future__ import annotations

import uuid

from teddy_edge.commands.aggregates import Aggregates
from teddy_edge.commands.bus import CommandBus, CommandContext, Decision
from teddy_edge.domain import bear, child


class RegisterChildHandler:
    """Decides on `register_child`; the result's data gives the new `child_id`."""

    command_type = child.RegisterChild

    def __init__(self, aggregates: Aggregates) -> None:
        self._aggregates = aggregates

    def handle(self, command: child.RegisterChild, context: CommandContext) -> Decision:
        """Make the child's id from the command's, so that a retry means the same child."""
        child_id = str(uuid.uuid5(context.envelope.id, "child"))
        state = self._aggregates.child_with_udid(command.udid)
        events = child.decide(state, command, child_id)
        return Decision(child.stream(child_id), events, {"child_id": child_id})


class PressButtonHandler:
    """Decides on `press_button`."""

    command_type = bear.PressButton

    def __init__(self, aggregates: Aggregates) -> None:
        self._aggregates = aggregates

    def handle(self, command: bear.PressButton, context: CommandContext) -> Decision:
        """Decide by the buttons that this bear has."""
        del context
        return Decision(bear.STREAM, bear.decide(self._aggregates.bear, command))


def register_handlers(bus: CommandBus, aggregates: Aggregates) -> None:
    """Give the bus every command that this bear knows."""
    bus.register(RegisterChildHandler(aggregates))
    bus.register(PressButtonHandler(aggregates))
