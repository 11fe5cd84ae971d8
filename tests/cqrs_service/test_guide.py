"""The guide's own usage examples run as they are written there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cqrs_service import guide

PRINTED = re.compile(
    r"""Child registered: [0-9a-f-]{36}
Child name: Emma
Safety status: nothing_recorded
Conversations: 0
Before: 7 \{\}
After: 8 \['dragons', 'princesses'\]
Report: nothing_recorded \[\]
Integration test: passed
"""
)
UTCNOW = "ignore:datetime.datetime.utcnow:DeprecationWarning"
"""Python 3.12 warns of the guide's own `datetime.utcnow()`."""


@pytest.mark.parametrize("options", [(), ("-W", "error", "-W", UTCNOW)], ids=["plain", "strict"])
def test_the_guides_examples_print_what_they_say_and_end_by_themselves(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = guide.run(tmp_path, *(options or ("-W", UTCNOW)), "-c", guide.program())
    assert (done.returncode, done.stderr) == (0, "")
    assert PRINTED.fullmatch(done.stdout), done.stdout


def test_the_guides_examples_can_be_typed_at_a_prompt(tmp_path: Path) -> None:
    """`python -m asyncio` awaits as the guide does, and leaves without closing anything."""
    code = guide.block("Basic Command Usage") + guide.block("Basic Query Usage")
    done = guide.run(tmp_path, "-m", "asyncio", stdin=guide.typed(code))
    assert done.returncode == 0, done.stderr
    assert "Child registered: " in done.stdout
    assert "Child name: Emma" in done.stdout
    assert "Traceback" not in done.stderr
    assert "was destroyed" not in done.stderr


def test_what_the_examples_recorded_is_there_for_the_next_process(tmp_path: Path) -> None:
    first = guide.run(tmp_path, "-W", UTCNOW, "-c", guide.program())
    assert first.returncode == 0, first.stderr
    again = guide.run(tmp_path, "-c", SEARCH)
    assert (again.returncode, again.stdout) == (0, "['Emma', 'Noah']\n")


SEARCH = """
import asyncio
from teddy_edge.cqrs_service import get_cqrs_service
async def search():
    cqrs = get_cqrs_service()
    await cqrs.initialize()
    found = await cqrs.search_children()
    print([child["name"] for child in found.data["children"]])
asyncio.run(search())
"""
