"""The rules about conversations."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from teddy_edge.domain.child import Child
from teddy_edge.domain.conversation import (
    Conversation,
    EndConversation,
    RecordConversationTurn,
    decide,
    evolve,
    start,
)
from teddy_edge.errors import CommandRejected
from teddy_edge.events import (
    BearStarted,
    ConversationEnded,
    ConversationStarted,
    ConversationTurnRecorded,
)

EMMA = Child(child_id="child-1", parent_id="parent-123", udid="udid-1")
GONE = Child(child_id="child-1", parent_id="parent-123", udid="udid-1", is_active=False)
TALK = Conversation("talk-1", "child-1")
TURN = RecordConversationTurn(
    conversation_id="talk-1",
    speaker="child",
    topics=["dragons"],
    sentiment=0.5,
    duration_s=3.0,
    words="I like dragons",
)
END = EndConversation(conversation_id="talk-1", summary="about dragons")


@pytest.mark.parametrize("child", [None, GONE])
def test_only_a_child_that_uses_the_bear_starts_a_conversation(child: Child | None) -> None:
    with pytest.raises(CommandRejected) as caught:
        start(child, "talk-1")
    assert caught.value.code == "unknown_child"


def test_a_conversation_starts_with_its_child() -> None:
    (event,) = start(EMMA, "talk-1")
    assert event == ConversationStarted("talk-1", "child-1")
    assert evolve(None, event) == TALK


@pytest.mark.parametrize("command", [TURN, END], ids=lambda command: command.wire_name)
def test_a_conversation_that_does_not_go_on_takes_nothing(command: Any) -> None:
    with pytest.raises(CommandRejected) as caught:
        decide(None, command, keep_words=True)
    assert (caught.value.code, caught.value.field) == ("no_conversation", "data.conversation_id")


@pytest.mark.parametrize(("keep_words", "words"), [(True, "I like dragons"), (False, None)])
def test_words_are_kept_only_where_settings_say_so(keep_words: bool, words: str | None) -> None:
    assert decide(TALK, TURN, keep_words=keep_words) == [
        ConversationTurnRecorded("talk-1", "child-1", "child", ["dragons"], 0.5, 3.0, words)
    ]


@pytest.mark.parametrize(("keep_words", "summary"), [(True, "about dragons"), (False, None)])
def test_a_summary_is_words_too(keep_words: bool, summary: str | None) -> None:
    (event,) = decide(TALK, END, keep_words=keep_words)
    assert event == ConversationEnded("talk-1", "child-1", summary)


def test_an_ended_conversation_is_none_that_goes_on() -> None:
    assert evolve(TALK, ConversationEnded("talk-1", "child-1", None)) is None


def test_an_event_of_something_else_changes_no_conversation() -> None:
    assert evolve(TALK, BearStarted(version="1")) is TALK


@pytest.mark.parametrize(
    "change",
    [
        {"speaker": "parent"},
        {"sentiment": 1.1},
        {"sentiment": -1.1},
        {"sentiment": float("nan")},
        {"duration_s": -1.0},
        {"duration_s": 3601.0},
        {"duration_s": float("inf")},
        {"topics": ["t"] * 21},
        {"topics": [""]},
        {"topics": ["t" * 65]},
        {"words": "w" * 4001},
        {"language": "en"},
    ],
)
def test_a_turn_is_within_its_limits(change: dict[str, Any]) -> None:
    turn = {**TURN.model_dump(), **change}
    with pytest.raises(ValidationError):
        RecordConversationTurn.model_validate(turn)


def test_a_summary_is_within_its_limit() -> None:
    with pytest.raises(ValidationError):
        EndConversation(conversation_id="talk-1", summary="s" * 1001)
