"""A conversation between a child and the bear: it starts, takes turns and ends, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from teddy_edge.domain.child import Child, Label, active
from teddy_edge.domain.command import Command
from teddy_edge.errors import CommandRejected
from teddy_edge.events import (
    ConversationEnded,
    ConversationStarted,
    ConversationTurnRecorded,
    Event,
)
from teddy_edge.messages import Identifier

TURN_S_MAX = 3600.0
WORDS_CHARACTERS_MAX = 4000
SUMMARY_CHARACTERS_MAX = 1000


class StartConversation(Command):
    """A child and the bear begin to talk; the result's data gives the `conversation_id`."""

    wire_name: ClassVar[str] = "start_conversation"

    child_id: Identifier


class RecordConversationTurn(Command):
    """Somebody said something."""

    wire_name: ClassVar[str] = "record_conversation_turn"

    conversation_id: Identifier
    speaker: Literal["child", "bear"]
    topics: list[Label] = Field([], max_length=20)
    sentiment: float | None = Field(None, ge=-1, le=1)
    duration_s: float = Field(0.0, ge=0, le=TURN_S_MAX)
    words: Annotated[str, StringConstraints(max_length=WORDS_CHARACTERS_MAX)] | None = None


class EndConversation(Command):
    """A conversation is over."""

    wire_name: ClassVar[str] = "end_conversation"

    conversation_id: Identifier
    summary: Annotated[str, StringConstraints(max_length=SUMMARY_CHARACTERS_MAX)] | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the rules need to know of a conversation that goes on."""

    conversation_id: str
    child_id: str


def stream(conversation_id: str) -> str:
    """The stream of one conversation's events."""
    return f"conversation/{conversation_id}"


def start(child: Child | None, conversation_id: str) -> list[Event]:
    """Start a conversation with a child that may use the bear."""
    return [ConversationStarted(conversation_id=conversation_id, child_id=active(child).child_id)]


def decide(
    state: Conversation | None,
    command: RecordConversationTurn | EndConversation,
    *,
    keep_words: bool,
) -> list[Event]:
    """Decide on a command about a conversation; words are dropped unless `keep_words`."""
    if state is None:
        raise CommandRejected(
            "no_conversation", "no conversation with this id goes on", "data.conversation_id"
        )
    if isinstance(command, EndConversation):
        summary = command.summary if keep_words else None
        return [
            ConversationEnded(
                conversation_id=state.conversation_id, child_id=state.child_id, summary=summary
            )
        ]
    return [
        ConversationTurnRecorded(
            conversation_id=state.conversation_id,
            child_id=state.child_id,
            speaker=command.speaker,
            topics=list(command.topics),
            sentiment=command.sentiment,
            duration_s=command.duration_s,
            words=command.words if keep_words else None,
        )
    ]


def evolve(state: Conversation | None, event: Event) -> Conversation | None:
    """Apply one event; None once the conversation is over."""
    if isinstance(event, ConversationStarted):
        return Conversation(event.conversation_id, event.child_id)
    if isinstance(event, ConversationEnded):
        return None
    return state
