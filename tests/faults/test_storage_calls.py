"""Every storage call of the real daemon, failing: nothing that was acknowledged is ever missing."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from teddy_edge.errors import EXIT_IO
from teddy_edge.eventlog.segment import Segment, decode_header
from teddy_edge.eventlog.survey import survey
from tests.faults.bears import PRESSES, Told, bear_in, check_next_start, put_card, run
from tests.faults.strace import Fault, Trace, daemon_under_strace, needs_strace, read_trace

pytestmark = needs_strace()

POINTS_MAX = int(os.environ.get("FAULT_POINTS", "36"))
TIME_S_MAX = float(os.environ.get("FAULT_TIME_S", "60"))
"""After this no further point is begun, so that a slow machine tries fewer."""
AT_ONCE = 2

NOT_TRIED, NOT_REACHED, WRONG = "not tried", "not reached", "wrong exit code"

EFFECTS = {
    "openat": ("error=EIO", "error=ENOSPC"),
    "pread64": ("error=EIO",),
    "pwrite64": ("error=EIO", "error=ENOSPC", "retval=0"),
    "fdatasync": ("error=EIO", "error=ENOSPC"),
    "fsync": ("error=EIO",),
    "ftruncate": ("error=EIO", "error=ENOSPC"),
    "rename": ("error=EIO", "error=ENOSPC"),
}
"""A write that takes nothing is the shortest there is; longer ones need a card that is full."""


@dataclass(frozen=True)
class Card:
    """What is on the card before the daemon starts."""

    name: str
    directory: Path
    events: Sequence[dict[str, Any]] = ()


def new_card(directory: Path) -> Card:
    return Card("new", directory / "none")


def killed_card(directory: Path) -> Card:
    """A log that recovery must copy: the daemon was killed, and the last write is torn."""
    with bear_in(directory) as bear:
        bear.start()
        Told().press(bear, 3)
        events = bear.events()
        bear.kill()
    tear(max((bear.data_directory / "log").glob("*.log")))
    return Card("killed", bear.data_directory, events)


def tear(path: Path) -> None:
    """Put half a write behind the last record of a segment."""
    data = path.read_bytes()
    header = decode_header(path, data)
    assert header is not None
    found = survey(data, Segment.empty(path, header).salt, header.first_seq)
    path.write_bytes(data[: found.end_bytes] + b"torn")


def run_with(directory: Path, card: Card, *faults: Fault) -> tuple[int, Told, Trace]:
    """Run with the faults, and then as usual."""
    put_card(card.directory, directory)
    trace, told = directory / "trace", Told()
    with bear_in(directory) as bear:
        program = daemon_under_strace(bear.data_directory / "log", trace, *faults)
        code = run(bear, told, program)
        check_next_start(bear, told, card.events)
    return code, told, read_trace(trace, code)


def chosen(points: list[tuple[Card, Fault]]) -> list[tuple[Card, Fault]]:
    """Take of each kind of fault in turn, so that a bounded run sees all kinds."""
    kinds: dict[tuple[str, str, str], list[tuple[Card, Fault]]] = defaultdict(list)
    for card, fault in points:
        kinds[card.name, fault.call, fault.effect].append((card, fault))
    for kind in kinds.values():
        kind.sort(key=lambda point: point[1].number * 7 % 11)
    turns = [point for turn in zip_longest(*kinds.values()) for point in turn if point]
    return turns[:POINTS_MAX]


def expected_codes(fault: Fault) -> tuple[int, ...]:
    """Where the card is full, recovery may free its reserve; what cannot be read is read again."""
    if fault.effect == "error=ENOSPC" or fault.call in {"openat", "pread64"}:
        return (0, EXIT_IO)
    return (EXIT_IO,) if fault.effect.startswith("error") else (0,)


def try_point(directory: Path, card: Card, fault: Fault, deadline: float) -> str:
    """Let one call fail; says how it went."""
    if time.monotonic() > deadline:
        return NOT_TRIED
    directory.mkdir()
    code, _, trace = run_with(directory, card, fault)
    if not trace.injected:
        return NOT_REACHED
    is_expected = code in expected_codes(fault)
    return f"exit {code}" if is_expected else f"{WRONG} {code}: {trace.lines[trace.injected[0]]}"


def every_point(directory: Path) -> list[tuple[Card, Fault]]:
    """Run without a fault, to see which calls there are."""
    points = []
    for make in (new_card, killed_card):
        place = directory / make.__name__
        place.mkdir()
        card = make(place)
        whole = place / "whole"
        whole.mkdir()
        code, told, trace = run_with(whole, card)
        assert (code, len(told.acknowledged)) == (0, PRESSES)
        points += [
            (card, Fault(call, number, effect))
            for call, effects in EFFECTS.items()
            for number in range(1, trace.calls()[call] + 1)
            for effect in effects
        ]
    return points


def test_a_storage_call_that_fails_loses_nothing_acknowledged(tmp_path: Path) -> None:
    points = every_point(tmp_path)
    deadline = time.monotonic() + TIME_S_MAX

    def attempt(numbered: tuple[int, tuple[Card, Fault]]) -> str:
        number, (card, fault) = numbered
        return try_point(tmp_path / f"p{number}", card, fault, deadline)

    with ThreadPoolExecutor(AT_ONCE) as executor:
        outcomes = Counter(executor.map(attempt, enumerate(chosen(points))))
    tried = outcomes.total() - outcomes.pop(NOT_TRIED, 0)
    print(f"{tried} of {len(points)} points tried: {dict(outcomes)}")
    assert [outcome for outcome in outcomes if outcome.startswith(WRONG)] == []
    assert outcomes[f"exit {EXIT_IO}"] > 0


def test_an_fsync_that_fails_once_is_not_tried_again(tmp_path: Path) -> None:
    """The kernel may have dropped the bytes and call the next one a success."""
    card = new_card(tmp_path)
    beyond_recovery = Fault("fdatasync", 3, "error=EIO")
    code, told, trace = run_with(tmp_path, card, beyond_recovery)
    assert code == EXIT_IO
    (failed,) = trace.injected
    later = [line for line in trace.lines[failed + 1 :] if "sync(" in line or "write" in line]
    assert later == []
    assert len(told.acknowledged) < PRESSES


def test_a_card_that_is_full_and_then_freed_goes_on(tmp_path: Path) -> None:
    for number in (3, 5):
        directory = tmp_path / str(number)
        directory.mkdir()
        fault = Fault("pwrite64", number, "error=ENOSPC", onwards=True)
        _, told, trace = run_with(directory, new_card(tmp_path), fault)
        assert trace.injected
        assert len(told.acknowledged) < PRESSES
