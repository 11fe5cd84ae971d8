"""The examples say what a newcomer should see."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SCENARIOS = [
    "Child Registration",
    "Profile Queries",
    "Profile Updates",
    "Safety Violations",
    "Parent Dashboard",
    "Search and Analytics",
    "Health Monitoring",
    "Error Handling",
]
SAID = """\
   Emma is registered: done, event 2 is on the card
   the same command comes again: the same result, marked as a duplicate: True
   the same udid under a new command: refused, .* [already_registered, field data.udid]
   a child of 70: refused, .* [invalid, field data.age]
   Emma is 7, of the group school
   she talked 13 s in 1 conversation
   her safety status: nothing_reported
   asked again: 1 answer came from the cache
   a birthday: done
   the very next answer: 8 years, .*'dragons', 'princesses'.*
   another parent in the profile: refused, .* [invalid, field data.changes]
   low: rude_words
   critical: stranger_contact, {'asked_for': 'the address'}
   score 59 of 100, from the 2 violations above
   her safety status: critical
   a page of 4 children: Emma (8), Noah (5)
   a page of 4 children: Emil (3), Mia (11)
   a stranger asks: refused, .* [not_allowed, field data.parent_id]
   'em', 6 to 8 years old: ['Emma']
   Emma this month: 2 turns, 13 s of talk
   what she talked about: {'dragons': 2, 'sleep': 1}
   her conversations: 1, of 2 turns
   command_throughput: .* commands a second
   query_response_time: .* ms, the median
   cache_hit_rate: .* % of the answers came from the cache
   error_rate: .* of all commands and queries, from 0 to 1
   read_model_freshness: .* s behind the events
   rebuilt from 25 events, the answers are the same: True
   a child that is not there: refused, .* [unknown_child, field data.child_id]
   a severity that is not known: refused, .* [invalid, field data.severity]
   a turn in a conversation that ended: refused, .* [no_conversation, field data.conversation_id]
   a conversation with a child that left: refused, .* [unknown_child, field data.child_id]
   a question after the end: the service is not open: .*
"""


def test_the_examples_run_the_guides_eight_scenarios_and_say_what_happens(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "teddy_edge.examples"],
        cwd=PROJECT,
        env={"TMPDIR": str(tmp_path), "TEDDY_EDGE_QUERIES__CATCH_UP_S_MAX": "30"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    titles = [line for line in lines if re.match(r"\d", line)]
    assert titles == [f"{number}. {name}" for number, name in enumerate(SCENARIOS, 1)]
    said = [line for line in lines if line.startswith("   ")]
    for line, expected in zip(said, SAID.splitlines(), strict=True):
        assert re.fullmatch(re.escape(expected).replace(r"\.\*", ".*"), line), line
    assert list(tmp_path.iterdir()) == []  # the temporary folder is gone


def test_the_scenarios_are_the_guides() -> None:
    guide = (PROJECT / "docs" / "cqrs-guide.md").read_text()
    _, _, scenarios = guide.partition("### Test Scenarios Covered\n")
    scenarios, _, _ = scenarios.partition("\n\n")
    assert re.findall(r"\*\*(.+?)\*\*", scenarios) == SCENARIOS
