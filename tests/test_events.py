"""Events as bytes, and back."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import msgpack
import pytest

from teddy_edge.clock import Trust
from teddy_edge.eventlog import EventLog
from teddy_edge.events import (
    EVENT_TYPES,
    BearStarted,
    ButtonPressed,
    Cause,
    CommandDone,
    CommandRefused,
    DataClass,
    cloud_event,
    decode_record,
    encode_event,
)
from teddy_edge.events.upcasting import UPCASTERS, current_event
from teddy_edge.settings import LogSettings
from teddy_edge.testing import FakeClock
from tests.fixtures import make_log_events_2
from tests.fixtures.make_log_format_1 import LOG, ROWS, bodies, replay

CAUSE = Cause(uuid.UUID(int=5), "correlation-1", "parent-123", "parent")


def test_a_record_comes_back_as_it_was_written() -> None:
    clock = FakeClock()
    clock.advance(5)
    body = encode_event(ButtonPressed(button="belly"), "bear", CAUSE, clock)
    record = decode_record(7, DataClass.ACTIVITY, body)
    assert record.event == ButtonPressed(button="belly")
    assert (record.seq, record.stream, record.cause) == (7, "bear", CAUSE)
    assert (record.wall_ns, record.monotonic_ns) == (clock.wall_ns(), clock.monotonic_ns())
    assert (record.boot_id, record.trust) == (clock.boot_id, Trust.SYNCED)


def test_every_record_has_an_id_of_its_own() -> None:
    clock = FakeClock()
    ids = {
        decode_record(1, 5, encode_event(BearStarted(version="1"), "bear", Cause(), clock)).id
        for _ in range(100)
    }
    assert len(ids) == 100
    assert {each.version for each in ids} == {7}


def test_every_field_of_every_event_is_written() -> None:
    clock = FakeClock()
    for event_type in EVENT_TYPES.values():
        event = object.__new__(event_type)
        names = [field.name for field in fields(event)]
        for name in names:
            object.__setattr__(event, name, name)
        record = decode_record(1, 5, encode_event(event, "bear", Cause(), clock))
        assert record.data == {name: name for name in names}


def test_an_event_type_of_a_newer_version_is_carried() -> None:
    clock = FakeClock()
    parts = msgpack.unpackb(encode_event(BearStarted(version="1"), "bear", CAUSE, clock))
    parts[0], parts[1] = "bear_danced", 3
    record = decode_record(1, 99, msgpack.packb(parts))
    assert record.event is None
    shown = cloud_event(record, "bear-001")
    assert (shown["type"], shown["dataschema"]) == ("bear_danced", "teddy:bear_danced:3")
    assert shown["dataclass"] == "class-99"


def test_a_record_is_shown_with_the_attributes_of_cloudevents() -> None:
    record = decode_record(
        7, 5, encode_event(ButtonPressed(button="belly"), "bear", CAUSE, FakeClock())
    )
    shown = cloud_event(record, "bear-001")
    assert {key: shown[key] for key in ("specversion", "source", "type", "subject", "time")} == {
        "specversion": "1.0",
        "source": "teddy/bear-001",
        "type": "button_pressed",
        "subject": "bear",
        "time": "2026-11-18T11:06:40.000Z",
    }
    assert shown["data"] == {"button": "belly"}


@dataclass(frozen=True, slots=True)
class StoryTold:
    """An event type in its third version: `title`, then `titles`, then a length as well."""

    type: ClassVar[str] = "story_told"
    type_version: ClassVar[int] = 3
    data_class: ClassVar[DataClass] = DataClass.ACTIVITY

    titles: list[str]
    length_s: float


def _several_titles(data: dict[str, Any]) -> dict[str, Any]:
    return {"titles": [data["title"]]}


def _with_length(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "length_s": 0.0}


TYPES = {"story_told": StoryTold}
STEPS = {("story_told", 1): _several_titles, ("story_told", 2): _with_length}


@pytest.mark.parametrize(
    ("version", "data"),
    [
        (1, {"title": "dragons"}),
        (2, {"titles": ["dragons"]}),
        (3, {"titles": ["dragons"], "length_s": 0.0}),
    ],
)
def test_each_old_version_is_read_as_the_newest_one(version: int, data: dict[str, Any]) -> None:
    event = current_event("story_told", version, data, TYPES, STEPS)
    assert event == StoryTold(["dragons"], 0.0)


def test_a_version_newer_than_this_program_is_no_event_of_it() -> None:
    assert current_event("story_told", 4, {"titles": [], "mood": 1}, TYPES, STEPS) is None
    assert current_event("song_sung", 1, {}, TYPES, STEPS) is None


def test_every_type_has_an_upcaster_from_each_older_version() -> None:
    older = {
        (event_type.type, version)
        for event_type in EVENT_TYPES.values()
        for version in range(1, event_type.type_version)
    }
    assert set(UPCASTERS) == older


def test_the_names_in_the_registry_are_the_types_own() -> None:
    assert all(name == event_type.type for name, event_type in EVENT_TYPES.items())


async def test_a_log_of_format_1_replays_to_the_same_rows_for_ever() -> None:
    assert await replay(LOG) == json.loads(ROWS.read_text())


def test_the_events_of_version_2_are_read_as_they_were_written_for_ever(tmp_path: Path) -> None:
    directory = shutil.copytree(make_log_events_2.LOG, tmp_path / "log")
    stored = EventLog.open(directory, LogSettings()).read(1, 100, 1 << 20)
    found = [decode_record(each.seq, each.data_class, each.body) for each in stored]
    assert [record.event for record in found] == make_log_events_2.HISTORY
    assert [record.type_version for record in found] == [2, 2, 1]


def test_an_end_of_version_1_says_nothing_of_its_issue(tmp_path: Path) -> None:
    directory = shutil.copytree(LOG, tmp_path / "log")
    stored = EventLog.open(directory, LogSettings()).read(1, 100, 1 << 20)
    found = [decode_record(each.seq, each.data_class, each.body) for each in stored]
    ends = [record.event for record in found if record.type.startswith("command_")]
    assert len(ends) == 2
    for end in ends:
        assert isinstance(end, CommandDone | CommandRefused)
        assert (end.done_before, end.latest_us) == (None, None)


def test_the_kept_log_has_every_event_type_of_its_day_and_two_that_were_unknown() -> None:
    body = (LOG / "00000000000000000001.log").read_bytes()
    kept = {msgpack.unpackb(entry.body)[0] for entry in bodies()}
    assert len(kept) == 13
    assert all(name.encode() in body for name in kept)


async def test_what_a_newer_version_wrote_is_read_back_whole(tmp_path: Path) -> None:
    newer, unknown = (decode_record(1, each.data_class, each.body) for each in bodies()[-2:])
    assert (newer.event, newer.data) == (None, {"version": "9.0", "mood": "sleepy"})
    assert (unknown.event, unknown.data["steps"]) == (None, 12)
    assert cloud_event(unknown, "bear-001")["data"] == unknown.data
