"""No log line and no error repeats what a child is called, says, or what was reported of it."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from teddy_edge.messages import Answer, Result
from tests.commands.box import EMMA, PARENT
from tests.projections.histories import NAME, WORDS, Player, histories
from tests.queries.asking import STRANGER, open_asker

CANARIES = ("canary", "zwitscherfink", "treehouse")
TOO_LONG = NAME * 10
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("register_child", {**EMMA, "name": TOO_LONG}),
    ("register_child", {**EMMA, "name": NAME, "age": WORDS}),
    ("register_child", {**EMMA, NAME: NAME}),
    ("register_child", {**EMMA, CANARIES[1]: NAME}),
    ("register_child", {**EMMA, "name": [NAME]}),
    ("update_child_profile", {"child_id": NAME, "changes": {"name": NAME}}),
    ("update_child_profile", {"child_id": NAME, "changes": {NAME: NAME}}),
    ("update_child_profile", {"child_id": NAME, "changes": {"preferences": {NAME: [WORDS]}}}),
    ("report_safety_violation", {"child_id": NAME, "violation_type": WORDS, "severity": WORDS}),
    (
        "report_safety_violation",
        {"child_id": NAME, "violation_type": "x", "severity": "low", "details": {NAME: 2**70}},
    ),
    ("record_conversation_turn", {"conversation_id": NAME, "speaker": WORDS}),
    ("end_conversation", {"conversation_id": NAME, "summary": WORDS * 100}),
    ("press_button", {"button": NAME}),
]
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("get_child_profile", {"child_id": NAME}),
    ("search_children", {"search_term": NAME, "cursor": WORDS}),
    ("search_children", {"search_term": TOO_LONG}),
    ("search_children", {NAME: NAME}),
    ("search_children", {CANARIES[1]: NAME}),
    ("get_children_by_parent", {"parent_id": NAME}),
    ("get_child_safety_report", {"child_id": NAME, "from_date": WORDS}),
]


class Lines(logging.Handler):
    """Keeps all that a line holds: text, fields, stack trace."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = {key: value for key, value in vars(record).items() if key != "exc_info"}
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        self.texts.append(f"{record.getMessage()} {fields} {trace}")


@contextmanager
def listening() -> Iterator[Lines]:
    root, lines = logging.getLogger(), Lines()
    level = root.level
    root.addHandler(lines)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(lines)
        root.setLevel(level)


def has_canary(text: object) -> bool:
    return any(canary in str(text).lower() for canary in CANARIES)


async def play(directory: Path, steps: Sequence[tuple[str, int, Any]]) -> None:
    answers: list[Result | Answer] = []
    with listening() as lines:
        async with open_asker(directory) as asker:
            player = Player(asker.box)
            for step in steps:
                await player.play(step)
            for name, data in WRONG:
                await player.send(name, data)
            for actor in (PARENT, STRANGER):
                answers += [await asker.ask(name, data, actor) for name, data in ASKED]
            await asker.read_models.rebuild()
            refused = [each.data for each in asker.box.records() if each.type == "command_refused"]
    answers += player.results
    errors = [each.error for each in answers if each.error is not None]
    assert len(errors) >= len(WRONG)
    assert len(lines.texts) > len(WRONG)
    assert not [each for each in (*errors, *refused, *lines.texts) if has_canary(each)]


@given(steps=histories)
@settings(max_examples=10, deadline=None)
def test_no_log_line_and_no_error_repeats_what_was_said(
    steps: Sequence[tuple[str, int, Any]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play(Path(directory), [("register", 1, 7), *steps]))


@given(st.sampled_from(CANARIES))
def test_the_search_for_canaries_would_find_one(canary: str) -> None:
    assert has_canary(f"child {canary.upper()} is unknown")
    assert has_canary(NAME)
    assert has_canary(WORDS)
