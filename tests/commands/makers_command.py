"""A maker's own command, its event, and a step that every command passes, in one file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from teddy_edge.commands import CommandContext, Decision
from teddy_edge.commands.bus import CallNext
from teddy_edge.cqrs_service import CQRSService
from teddy_edge.domain.command import Command
from teddy_edge.errors import CommandRejected
from teddy_edge.events import DataClass
from teddy_edge.messages import Result


class TellStory(Command):
    """Tell a story."""

    wire_name: ClassVar[str] = "tell_story"

    title: str


@dataclass(frozen=True, slots=True)
class StoryTold:
    """The bear told a story."""

    type: ClassVar[str] = "story_told"
    type_version: ClassVar[int] = 1
    data_class: ClassVar[DataClass] = DataClass.ACTIVITY

    title: str


class TellStoryHandler:
    """Decides on `tell_story`."""

    command_type = TellStory

    def handle(self, command: TellStory, context: CommandContext) -> Decision:
        """Tell it, unless it is a scary one."""
        if "ghost" in command.title:
            raise CommandRejected("too_scary", "this bear tells no scary stories", "data.title")
        return Decision("stories", [StoryTold(command.title)], {"pages": 12})


class CountCommands:
    """Counts what is sent to the bear, by name."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    async def __call__(self, call_next: CallNext, context: CommandContext) -> Result:
        """Count, and let the command through."""
        name = context.envelope.name
        self.counts[name] = self.counts.get(name, 0) + 1
        return await call_next(context)


def extend(cqrs: CQRSService) -> CountCommands:
    """Give an open service the command and the step."""
    count = CountCommands()
    cqrs.commands.register(TellStoryHandler())
    cqrs.commands.wrap(count)
    return count
