"""Records from before the time was known get their date from when it was."""

from __future__ import annotations

import uuid
from contextlib import closing
from pathlib import Path

import pytest

from teddy_edge.clock import NS_PER_S, Trust
from teddy_edge.events import ButtonPressed, Cause, ClockSynced, Record, decode_record, encode_event
from teddy_edge.fleet.restamping import corrected_wall_ns, dated
from teddy_edge.fleet.sinks import Lost, Position, Taken
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.sync.wire import WireRecord
from teddy_edge.testing import FakeClock
from tests.commands.box import open_box

RIGHT_NS = 1_795_000_000 * NS_PER_S
"""The wall time at monotonic zero."""
YEARS_50_NS = 50 * 365 * 24 * 3600 * NS_PER_S


def record_at(monotonic_s: int, trust: Trust = Trust.UNSYNCED) -> Record:
    clock = FakeClock(wall_ns=0, monotonic_ns=monotonic_s * NS_PER_S)
    clock.step_wall(0, trust)
    return decode_record(1, 5, encode_event(ButtonPressed("belly"), "bear", Cause(), clock))


def known_at(
    monotonic_s: int, trust: str = "synced", boot: int = 1, error_ns: int = 0
) -> ClockSynced:
    monotonic_ns = monotonic_s * NS_PER_S
    return ClockSynced(
        str(uuid.UUID(int=boot)), monotonic_ns, RIGHT_NS + monotonic_ns + error_ns, trust
    )


@pytest.mark.parametrize("synced_at_s", [0, 5, 3600, 30 * 24 * 3600])
def test_a_record_is_dated_by_its_distance_on_the_monotonic_clock(synced_at_s: int) -> None:
    assert corrected_wall_ns(record_at(60), [known_at(synced_at_s)]) == RIGHT_NS + 60 * NS_PER_S


def test_another_boot_says_nothing() -> None:
    assert corrected_wall_ns(record_at(60), [known_at(90, boot=2)]) is None
    assert corrected_wall_ns(record_at(60), []) is None


def test_a_record_that_knew_the_time_keeps_it() -> None:
    assert corrected_wall_ns(record_at(60, Trust.SYNCED), [known_at(90)]) is None
    assert corrected_wall_ns(record_at(60, Trust.SET), [known_at(90, "set")]) is None


def test_a_network_dates_better_than_a_parent_and_the_nearest_best() -> None:
    parent = known_at(61, "set", error_ns=YEARS_50_NS)
    far = known_at(9000, error_ns=YEARS_50_NS)
    expected_ns = RIGHT_NS + 60 * NS_PER_S
    assert corrected_wall_ns(record_at(60), [parent, known_at(90), far]) == expected_ns
    assert corrected_wall_ns(record_at(60, Trust.SET), [parent, known_at(90)]) == expected_ns
    assert corrected_wall_ns(record_at(60), [parent]) == expected_ns + YEARS_50_NS


async def test_what_a_bear_sent_is_dated_where_it_is_stored(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_box(tmp_path / "log", clock=clock) as box:
        for _ in range(2):  # two boots in which nobody told the time
            clock.step_wall(-50 * 365 * 24 * 3600, Trust.UNSYNCED)
            await box.journal.note(ButtonPressed("belly"))
            clock.advance(60)
            clock.step_wall(50 * 365 * 24 * 3600, Trust.UNSYNCED)
            right_ns = clock.wall_ns()
            clock.reboot()
        await box.journal.note(ButtonPressed("belly"))
        clock.advance(5)
        clock.step_wall(7, Trust.SYNCED)
        await box.time_keeper.look(box.journal.note)
        await box.journal.note(ButtonPressed("belly"))
        stored = box.log.read(1, 100, 1 << 20)
    epoch, bear = uuid.uuid4(), "bear-001"
    records = [WireRecord(each.seq, each.data_class, each.body) for each in stored]
    with closing(SqliteSink(tmp_path / "fleet.db")) as sink:
        end = Position(epoch, records[-1].seq, stored[-1].chain)
        sink.store(bear, Taken(end, records, Lost(1, 0)))
        found = list(dated(lambda: sink.records(bear, epoch)))
    assert [each.record.type for each in found][2:] == [
        "button_pressed", "clock_synced", "button_pressed",
    ]  # fmt: skip
    corrected = [each.corrected_wall_ns for each in found]
    assert corrected == [None, None, right_ns + 7 * NS_PER_S, None, None]
    assert found[2].record.wall_ns == right_ns, "what was sent stays as it was sent"
