"""The library: every method, what it measures, and how it begins and ends."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from teddy_edge import assembly
from teddy_edge.clock import SystemClock, Trust
from teddy_edge.cqrs_service import CQRSService, get_cqrs_service
from teddy_edge.errors import (
    LogLocked,
    LogPoisoned,
    ReadModelError,
    ServiceClosed,
    SettingProblem,
    SettingsError,
)
from teddy_edge.events import ChildRegistered, Record
from teddy_edge.projections import ChildProjection, Rows
from teddy_edge.settings import CommandSettings, QuerySettings, Settings

EMMA: dict[str, Any] = {
    "parent_id": "parent-123",
    "device_id": "device-456",
    "name": "Emma",
    "age": 7,
    "udid": "unique-device-emma-001",
}
METRICS = {
    "command_throughput", "query_response_time", "cache_hit_rate", "error_rate",
    "read_model_freshness",
}  # fmt: skip


def settings_in(directory: Path, **changes: Any) -> Settings:
    patient = QuerySettings(catch_up_s_max=30)
    return Settings(data_directory=directory, bear="bear-007", **{"queries": patient, **changes})


class SetClock(SystemClock):
    """The machine's clock, believed whether the kernel is synchronised or not."""

    def trust(self) -> Trust:
        return Trust.SYNCED


def service_in(directory: Path, **changes: Any) -> CQRSService:
    return CQRSService(lambda: settings_in(directory, **changes), SetClock())


@pytest.fixture
async def cqrs(tmp_path: Path) -> AsyncIterator[CQRSService]:
    service = service_in(tmp_path, commands=CommandSettings(keep_words=True))
    await service.initialize()
    yield service
    await service.close()


async def emma(cqrs: CQRSService) -> str:
    """Register Emma and give her id."""
    result = await cqrs.register_child(**EMMA)
    assert result.success, result.error
    child_id: str = result.data["child_id"]
    return child_id


async def test_every_command_and_query_is_a_method(cqrs: CQRSService) -> None:
    child_id = await emma(cqrs)
    assert (await cqrs.update_child_profile(child_id, {"age": 8})).success
    started = await cqrs.start_conversation(child_id, user_id="parent-123")
    conversation_id = started.data["conversation_id"]
    turn = await cqrs.record_conversation_turn(
        conversation_id, "child", topics=("dragons",), sentiment=0.5, duration_s=3.0, words="Hello"
    )
    assert turn.success, turn.error
    assert (await cqrs.end_conversation(conversation_id, "They talked about dragons")).success
    report = await cqrs.report_safety_violation(child_id, "stranger", "high", {"room": "kitchen"})
    assert report.success

    profile = (await cqrs.get_child_profile(child_id, "parent-123")).data
    assert profile is not None
    assert (profile["age"], profile["conversation_count"]) == (8, 1)
    assert profile["safety_status"] == "high"
    children = (await cqrs.get_children_by_parent("parent-123")).data
    assert children is not None
    assert [child["id"] for child in children["children"]] == [child_id]
    found = (await cqrs.search_children("em", (8, 8), "parent-123")).data
    assert found is not None
    assert found["total"] == 1
    answer = await cqrs.get_child_safety_report(child_id)
    assert answer.data is not None, answer.error
    safety = answer.data
    (violation,) = safety["violations"]
    assert (violation["severity"], violation["details"]) == ("high", {"room": "kitchen"})
    analytics = (await cqrs.get_child_analytics(child_id)).data
    assert analytics is not None
    assert analytics["top_topics"] == {"dragons": 1}
    conversations = (await cqrs.get_conversations(child_id)).data
    assert conversations is not None
    assert conversations["conversations"][0]["summary"] == "They talked about dragons"
    bear = (await cqrs.get_bear_state()).data
    assert bear is not None
    assert bear["button_presses"] == {}
    assert (await cqrs.deactivate_child(child_id, "moved")).success
    gone = await cqrs.get_child_profile(child_id)
    assert gone.data is not None
    assert not gone.data["is_active"]


async def test_a_date_without_a_zone_is_utc(cqrs: CQRSService) -> None:
    child_id = await emma(cqrs)
    until = datetime(2026, 11, 22, 10)  # noqa: DTZ001 (what the guide's utcnow() gives)
    report = await cqrs.get_child_safety_report(child_id, until - timedelta(days=30), until)
    assert report.data is not None
    assert report.data["period"] == {
        "from": "2026-10-23T10:00:00+00:00",
        "to": "2026-11-22T10:00:00+00:00",
    }
    same = await cqrs.get_child_analytics(child_id, to_date=until.replace(tzinfo=UTC))
    assert same.data is not None
    assert same.data["period"] == report.data["period"]


async def test_a_parent_sees_their_own_children_only(cqrs: CQRSService) -> None:
    child_id = await emma(cqrs)
    for answer in (
        await cqrs.get_child_profile(child_id, user_id="parent-9"),
        await cqrs.get_child_safety_report(child_id, user_id="parent-9"),
        await cqrs.get_child_analytics(child_id, user_id="parent-9"),
        await cqrs.get_conversations(child_id, user_id="parent-9"),
        await cqrs.get_children_by_parent("parent-123", user_id="parent-9"),
        await cqrs.search_children(parent_id="parent-123", user_id="parent-9"),
    ):
        assert not answer.success
        assert answer.data is None
        assert "Emma" not in str(answer)


async def test_the_same_command_id_gives_the_same_result_again(cqrs: CQRSService) -> None:
    command_id = uuid4()
    first = await cqrs.register_child(**EMMA, command_id=command_id)
    again = await cqrs.register_child(**EMMA, command_id=command_id)
    assert again == first.model_copy(update={"duplicate": True})


def deep(levels: int) -> Any:
    return {} if levels == 0 else {"in": deep(levels - 1)}


@pytest.mark.parametrize(
    ("name", "data", "options", "code"),
    [
        ("register_child", {**EMMA, "age": 70}, {}, "invalid"),
        ("register_child", {**EMMA, "name": ""}, {}, "invalid"),
        ("register_child", {**EMMA, "udid": {"a", "set"}}, {}, "invalid"),
        ("register_child", {**EMMA, "age": float("nan")}, {}, "invalid"),
        ("register_child", EMMA, {"user_id": ""}, "invalid"),
        ("register_child", EMMA, {"correlation_id": "x" * 129}, "invalid"),
        ("register_child", {**EMMA, "name": "E" * 40_000}, {}, "payload_too_large"),
        ("register_child", {"name": deep(20)}, {}, "too_deep"),
        ("register_child", {"name": deep(800)}, {}, "too_deep"),
        ("deactivate_child", {"child_id": "nobody"}, {}, "unknown_child"),
        ("no_such_command", {}, {}, "unknown_command"),
        ("No such command", {}, {}, "invalid"),
    ],
)
async def test_what_is_refused_comes_back_as_a_result(
    cqrs: CQRSService, name: str, data: dict[str, Any], options: dict[str, Any], code: str
) -> None:
    result = await cqrs.execute(name, data, **options)
    assert not result.success
    assert result.error is not None
    assert result.error.code == code
    assert result.seq > 0  # and it is recorded
    assert (await emma(cqrs)) != ""


async def test_a_query_that_cannot_be_asked_is_answered_with_the_reason(cqrs: CQRSService) -> None:
    for name, data, user_id, code in (
        ("get_child_profile", {"child_id": "nobody"}, None, "unknown_child"),
        ("get_child_profile", {"child_id": object()}, None, "invalid"),
        ("get_child_profile", {"child_id": "x"}, "", "invalid"),
        ("no_such_query", {}, None, "unknown_query"),
    ):
        answer = await cqrs.ask(name, data, user_id)
        assert answer.error is not None
        assert answer.error.code == code


async def test_the_five_metrics_are_measured(cqrs: CQRSService) -> None:
    before = await cqrs.get_health_status()
    assert set(before) >= METRICS
    assert before["command_throughput"] == 0
    assert before["query_response_time"] is None  # no query has ended yet
    assert (before["error_rate"], before["cache_hit_rate"]) == (0, 0)

    child_id = await emma(cqrs)
    for _ in range(3):
        assert (await cqrs.get_child_profile(child_id)).success
    after = await cqrs.get_health_status()
    assert after["command_throughput"] > 0
    assert after["query_response_time"] > 0
    assert (after["cache"]["hits"], after["cache"]["misses"]) == (2, 1)
    assert after["cache_hit_rate"] == 66.7  # to ask for the health itself is neither
    assert after["error_rate"] == 0
    assert after["read_model_freshness"] == 0

    assert not (await cqrs.register_child(**EMMA)).success
    assert not (await cqrs.get_child_profile("nobody")).success
    failed = await cqrs.get_health_status()
    assert failed["error_rate"] > 0
    assert (failed["commands"], failed["queries"]["failed"]) == ({"total": 2, "failed": 1}, 1)


async def test_read_models_that_lag_say_by_how_much(tmp_path: Path) -> None:
    """As they do while a rebuild puts its rows in place."""
    cqrs = service_in(tmp_path, queries=QuerySettings(catch_up_s_max=0.02))
    await cqrs.initialize()
    parts = cqrs._parts.opened()
    async with parts.read_models._catching_up:
        child_id = await emma(cqrs)
        answer = await cqrs.get_child_profile(child_id)
        assert not answer.success
        assert answer.age_s > 0
        assert (await cqrs.get_health_status())["read_model_freshness"] > 0
    await parts.read_models.include(parts.log.last_seq)  # which may take longer than a query waits
    assert (await cqrs.get_child_profile(child_id)).success
    assert (await cqrs.get_health_status())["read_model_freshness"] == 0
    await cqrs.close()


async def test_the_read_models_are_built_anew_while_the_service_goes_on(cqrs: CQRSService) -> None:
    child_id = await emma(cqrs)
    heard: list[tuple[int, int]] = []
    rebuilding = asyncio.create_task(cqrs.rebuild(lambda at, end: heard.append((at, end))))
    assert (await cqrs.update_child_profile(child_id, {"name": "Emmy"})).success
    await rebuilding
    profile = (await cqrs.get_child_profile(child_id)).data
    assert profile is not None
    assert profile["name"] == "Emmy"
    assert heard
    assert all(0 < at <= end for at, end in heard)


async def test_it_is_opened_once_however_often_it_is_initialized(tmp_path: Path) -> None:
    cqrs = service_in(tmp_path)
    await asyncio.gather(cqrs.initialize(), cqrs.initialize())
    child_id = await emma(cqrs)
    await cqrs.initialize()
    assert (await cqrs.get_child_profile(child_id)).success
    await asyncio.gather(cqrs.close(), cqrs.close())


async def test_it_is_not_used_before_it_is_open_nor_after_it_is_closed(tmp_path: Path) -> None:
    cqrs = service_in(tmp_path)
    with pytest.raises(ServiceClosed):
        await cqrs.register_child(**EMMA)
    await cqrs.close()
    await cqrs.initialize()
    child_id = await emma(cqrs)
    await cqrs.close()
    await cqrs.close()
    for use in (
        cqrs.register_child(**EMMA),
        cqrs.get_child_profile(child_id),
        cqrs.get_health_status(),
        cqrs.rebuild(),
    ):
        with pytest.raises(ServiceClosed):
            await use
    with pytest.raises(ServiceClosed):
        _ = cqrs.commands
    await cqrs.initialize()
    assert (await cqrs.get_child_profile(child_id)).success
    await cqrs.close()


async def test_what_was_asked_before_the_close_is_answered(tmp_path: Path) -> None:
    cqrs = service_in(tmp_path)
    await cqrs.initialize()
    child_id = await emma(cqrs)
    asked = [
        asyncio.create_task(cqrs.update_child_profile(child_id, {"age": age})) for age in (8, 9)
    ]
    reading = asyncio.create_task(cqrs.get_child_analytics(child_id))
    await asyncio.sleep(0)  # they have begun
    await cqrs.close()
    assert [result.success for result in await asyncio.gather(*asked)] == [True, True]
    assert (await reading).success


async def test_two_services_do_not_share_a_folder(tmp_path: Path) -> None:
    first, second = service_in(tmp_path), service_in(tmp_path)
    await first.initialize()
    with pytest.raises(LogLocked, match=f"process {os.getpid()}"):
        await second.initialize()
    with pytest.raises(ServiceClosed):
        await second.get_bear_state()
    child_id = await emma(first)
    await first.close()
    await second.initialize()
    assert (await second.get_child_profile(child_id)).success
    await second.close()


async def test_wrong_settings_are_said_when_it_is_initialized(tmp_path: Path) -> None:
    wrong = SettingsError(SettingProblem("teddy-edge.toml", "bear", "3", "text"))
    given: list[Settings | SettingsError] = [wrong, settings_in(tmp_path)]

    def settings() -> Settings:
        found = given.pop(0)
        if isinstance(found, SettingsError):
            raise found
        return found

    cqrs = CQRSService(settings)
    with pytest.raises(SettingsError):
        await cqrs.initialize()
    await cqrs.initialize()
    assert (await cqrs.get_bear_state()).success
    await cqrs.close()


class DyingProjection(ChildProjection):
    """Finds what it cannot take up."""

    def apply(self, rows: Rows, record: Record, event: Any) -> None:
        if isinstance(event, ChildRegistered):
            raise ReadModelError(Path("read-models"), "a row that is not ours")


async def register_for_ever(cqrs: CQRSService) -> None:
    while True:
        await cqrs.register_child(**EMMA)


async def test_a_part_that_dies_is_told_to_who_uses_the_service_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "standard_projections", lambda: [DyingProjection()])
    cqrs = service_in(tmp_path)
    await cqrs.initialize()
    await emma(cqrs)
    with pytest.raises(ServiceClosed) as raised:
        await asyncio.wait_for(register_for_ever(cqrs), 60)
    assert isinstance(raised.value.__cause__, ReadModelError)
    with pytest.raises(ReadModelError):
        await cqrs.close()


async def test_nothing_is_done_on_a_card_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "the card is gone")

    cqrs = service_in(tmp_path)
    await cqrs.initialize()
    child_id = await emma(cqrs)
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(LogPoisoned):
        await cqrs.update_child_profile(child_id, {"age": 8})
    with pytest.raises(LogPoisoned):
        await cqrs.close()
    with pytest.raises(ServiceClosed) as raised:
        await cqrs.update_child_profile(child_id, {"age": 8})
    assert isinstance(raised.value.__cause__, LogPoisoned)


def test_it_is_made_before_any_event_loop_and_lives_in_one_after_the_other(tmp_path: Path) -> None:
    cqrs = service_in(tmp_path)

    async def register() -> str:
        await cqrs.initialize()
        return await emma(cqrs)

    async def read(child_id: str) -> bool:
        await cqrs.close()  # what the last loop left is no business of this one
        with pytest.raises(ServiceClosed):
            await cqrs.get_child_profile(child_id)
        await cqrs.initialize()
        return (await cqrs.get_child_profile(child_id)).success

    child_id = asyncio.run(register())
    assert asyncio.run(read(child_id))
    assert asyncio.run(read(child_id))


def test_a_process_has_one_service() -> None:
    assert get_cqrs_service() is get_cqrs_service()
