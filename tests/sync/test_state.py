"""What the parents' app finds retained on the broker."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from teddy_edge.eventlog import EventLog, StoredRecord
from teddy_edge.messages import Origin
from teddy_edge.mqtt_link import Incoming
from teddy_edge.projections import ChildProjectionManager
from teddy_edge.settings import SyncSettings
from teddy_edge.sync import StatePublisher
from teddy_edge.sync.state import DUE_MAX
from teddy_edge.topics import Topics
from tests.commands.box import EMMA, Box, open_box
from tests.projections.test_runner import open_read_models
from tests.sync.connection import RecordingConnection

TOPICS = Topics("bear-001")
WINDOW_S = 300.0
CHILDREN = 100


@asynccontextmanager
async def publishing(
    tmp_path: Path, window_s: float = 0.0
) -> AsyncIterator[tuple[Box, ChildProjectionManager, RecordingConnection]]:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        settings = SyncSettings(state_window_s=window_s)
        state = StatePublisher(read_models, TOPICS, settings, box.clock)
        connection = RecordingConnection()
        running = asyncio.create_task(state.run(connection))
        try:
            yield box, read_models, connection
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def press(box: Box, read_models: ChildProjectionManager) -> None:
    await box.send(box.envelope("press_button", {"button": "left_paw"}), Origin.BUTTON)
    await read_models.include(box.log.last_seq)


async def test_a_changed_model_is_retained_with_the_event_that_it_includes(tmp_path: Path) -> None:
    async with publishing(tmp_path) as (box, read_models, connection):
        await press(box, read_models)
        message = (await connection.has(1))[-1]
        content = json.loads(message.payload)
        assert (message.topic, message.retain) == (TOPICS.state("bear", "bear-001"), True)
        assert content["seq"] == box.log.last_seq
        assert content["data"]["button_presses"] == {"left_paw": 1}


async def test_changes_within_a_window_are_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window that the test closes: how long five presses take is the machine's affair."""
    closed, sleep = asyncio.Event(), asyncio.sleep

    async def until_closed(delay_s: float) -> None:
        await (closed.wait() if delay_s == WINDOW_S else sleep(delay_s))

    monkeypatch.setattr("teddy_edge.sync.state.asyncio.sleep", until_closed)
    async with publishing(tmp_path, WINDOW_S) as (box, read_models, connection):
        for _ in range(5):
            await press(box, read_models)
        assert connection.published == []
        closed.set()
        (message,) = await connection.has(1)
        assert json.loads(message.payload)["data"]["button_presses"] == {"left_paw": 5}
        await sleep(0.1)
        assert len(connection.published) == 1


async def test_a_new_connection_gets_every_model_and_no_page_of_a_list(tmp_path: Path) -> None:
    async with publishing(tmp_path) as (box, read_models, connection):
        result = await box.send(box.envelope())
        child_id = result.data["child_id"]
        await read_models.include(result.seq)
        await connection.has(2)
    async with publishing(tmp_path) as (_, _, connection):
        await connection.has(2)
        await asyncio.sleep(0.05)
        assert {message.topic for message in connection.published} == {
            TOPICS.state("child", child_id),
            TOPICS.state("safety", child_id),
        }


async def test_the_topics_of_a_deactivated_child_are_cleared(tmp_path: Path) -> None:
    async with publishing(tmp_path) as (box, read_models, connection):
        result = await box.send(box.envelope())
        child_id = result.data["child_id"]
        await read_models.include(result.seq)
        await connection.has(2)
        await box.send(box.envelope("deactivate_child", {"child_id": child_id}))
        await read_models.include(box.log.last_seq)
        cleared = (await connection.has(4))[2:]
        assert {message.topic: message.payload for message in cleared} == {
            TOPICS.state("child", child_id): b"",
            TOPICS.state("safety", child_id): b"",
        }


async def test_what_stands_on_the_broker_of_nothing_that_the_bear_knows_is_cleared(
    tmp_path: Path,
) -> None:
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        child_id = (await box.send(box.envelope())).data["child_id"]
        await press(box, read_models)
        state = StatePublisher(read_models, TOPICS, SyncSettings(state_window_s=0), box.clock)
        connection = RecordingConnection()
        running = asyncio.create_task(state.run(connection))
        published = len(await connection.has(3))
        known = [("bear", "bear-001"), ("child", child_id), ("safety", child_id)]
        unknown = [("child", "c-7"), ("safety", "c-7"), ("bear", "bear-002"), ("older/model", "x")]
        unknown += [("litter", "")]
        for model, row_id in [*known, *unknown]:
            await state.on_retained(connection, retained(TOPICS.state(model, row_id), b"{}"))
        await state.on_retained(connection, retained(TOPICS.state("child", "c-8"), b""))
        await state.on_retained(connection, retained("teddy/v1/bear-001/state", b"{}"))
        cleared = (await connection.has(published + len(unknown)))[published:]
        await asyncio.sleep(0.05)
        assert len(connection.published) == published + len(unknown)
        assert {(message.topic, message.payload, message.retain) for message in cleared} == {
            (TOPICS.state(model, row_id), b"", True) for model, row_id in unknown
        }
        running.cancel()


async def test_nothing_is_cleared_of_which_the_row_may_have_been_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parents' app would take it for a child to whom nothing ever happened."""
    monkeypatch.setattr(ChildProjectionManager, "lost", lambda _: "a part of the log is lost")
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        state = StatePublisher(read_models, TOPICS, SyncSettings(state_window_s=0), box.clock)
        connection = RecordingConnection()
        running = asyncio.create_task(state.run(connection))
        await state.on_retained(connection, retained(TOPICS.state("safety", "c-7"), b"{}"))
        read_models._tell({"child/c-7"})  # as when the rows are renewed without it
        await press(box, read_models)
        await connection.has(1)
        await asyncio.sleep(0.05)
        assert [m.topic for m in connection.published] == [TOPICS.state("bear", "bear-001")]
        running.cancel()


def retained(topic: str, payload: bytes) -> Incoming:
    return Incoming(topic, payload, 0, True, None, None, None)


async def test_a_model_too_large_for_the_broker_does_not_keep_the_others_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with publishing(tmp_path) as (box, read_models, connection):
        connection.payload_bytes_max = 400
        result = await box.send(box.envelope())
        await read_models.include(result.seq)
        await press(box, read_models)
        child_id = result.data["child_id"]
        assert {message.topic for message in await connection.has(2)} == {
            TOPICS.state("bear", "bear-001"),
            TOPICS.state("safety", child_id),
        }
    assert TOPICS.state("child", child_id) in warned_of(caplog)


async def test_a_topic_that_the_broker_refuses_does_not_keep_the_others_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = TOPICS.state("safety", "c-7")
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        state = StatePublisher(read_models, TOPICS, SyncSettings(state_window_s=0), box.clock)
        connection = RecordingConnection()
        child_id = (await box.send(box.envelope())).data["child_id"]
        await read_models.include(box.log.last_seq)
        refused = {TOPICS.state("child", child_id), unknown}
        connection.refused_topics |= refused
        await state.on_retained(connection, retained(unknown, b"{}"))
        running = asyncio.create_task(state.run(connection))
        await connection.has(1)
        await press(box, read_models)
        assert [message.topic for message in await connection.has(2)] == [
            TOPICS.state("safety", child_id),
            TOPICS.state("bear", "bear-001"),
        ]
        running.cancel()
    assert refused <= set(warned_of(caplog))


def warned_of(caplog: pytest.LogCaptureFixture) -> list[object]:
    return [vars(record).get("topic") for record in caplog.records]


@asynccontextmanager
async def many_children(tmp_path: Path) -> AsyncIterator[tuple[Box, ChildProjectionManager]]:
    """A bear with more rows than go out at once."""
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        for number in range(CHILDREN):
            await box.send(box.envelope(data={**EMMA, "udid": str(number)}))
        await read_models.include(box.log.last_seq)
        yield box, read_models


async def test_what_changes_is_not_behind_all_that_a_connect_asks_for(tmp_path: Path) -> None:
    """On a link of two seconds a thousand children take an hour."""
    async with many_children(tmp_path) as (box, read_models):
        state = StatePublisher(read_models, TOPICS, SyncSettings(state_window_s=0.3), box.clock)
        connection = RecordingConnection()
        running = asyncio.create_task(state.run(connection))
        await connection.has(1)
        await press(box, read_models)
        topics = [message.topic for message in await connection.has(2 * CHILDREN + 1)]
        assert topics.index(TOPICS.state("bear", "bear-001")) < 2 * CHILDREN
        assert len(set(topics)) == len(topics), "nothing went out twice"
        assert {topic.split("/")[-2] for topic in topics[:DUE_MAX]} == {"safety"}
        running.cancel()


async def test_the_next_connect_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    async with many_children(tmp_path) as (box, read_models):
        state = StatePublisher(read_models, TOPICS, SyncSettings(state_window_s=0), box.clock)
        seen: set[str] = set()
        for _ in range(4):
            connection = RecordingConnection()
            running = asyncio.create_task(state.run(connection))
            seen |= {message.topic for message in await connection.has(CHILDREN)}
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert len(seen) == 2 * CHILDREN


async def test_a_model_says_whether_the_history_behind_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention takes talk and presses from the log, and nothing that safety is made of."""
    monkeypatch.setattr(EventLog, "whole_from_seq", 2)
    async with publishing(tmp_path) as (box, read_models, connection):
        child_id = (await box.send(box.envelope())).data["child_id"]
        await press(box, read_models)
        contents = {m.topic: json.loads(m.payload) for m in await connection.has(3)}
        complete = {topic: content["complete"] for topic, content in contents.items()}
        assert complete == {
            TOPICS.state("bear", "bear-001"): False,
            TOPICS.state("child", child_id): False,
            TOPICS.state("safety", child_id): True,
        }
        because = contents[TOPICS.state("child", child_id)]["incomplete_because"]
        assert "with the cloud alone" in because


async def test_no_topic_is_cleared_while_the_read_models_are_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with publishing(tmp_path) as (box, read_models, connection):
        for _ in range(10):
            await press(box, read_models)
        key = f"child/{(await box.send(box.envelope())).data['child_id']}"
        await read_models.include(box.log.last_seq)
        await read_models.write()
        read = box.log.read

        def read_slowly(*limits: int) -> list[StoredRecord]:
            time.sleep(0.01)
            return read(*limits)

        monkeypatch.setattr(box.log, "read", read_slowly)
        with closing(sqlite3.connect(tmp_path / "rows/cache.db", isolation_level=None)) as database:
            database.execute("UPDATE Cache SET value = x'c1' WHERE key = ?", (key,))
        mending = asyncio.create_task(read_models.get(key))
        while not 0 < read_models.position < box.log.last_seq:  # noqa: ASYNC110 (it sets no event)
            await asyncio.sleep(0)
        read_models._tell({key})
        count = len(connection.published)
        assert await mending is not None
        await connection.has(count + 2)
        assert all(message.payload for message in connection.published)
