"""A dated report: what it finds, and that it never says more than is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from teddy_edge.clock import NS_PER_S, Trust
from teddy_edge.eventlog import RecoveryReport
from teddy_edge.events import RecordsLost
from tests.queries.asking import DAY_S, SUPPORT, Asker, open_asker

REPORT = "get_child_safety_report"
PRAISE = ("excellent", "good")


async def report(asker: Asker, **dates: datetime) -> dict[str, Any]:
    return await asker.data(REPORT, **{key: at.isoformat() for key, at in dates.items()})


async def test_a_dated_report_finds_six_severe_violations_inside_and_none_outside(
    tmp_path: Path,
) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.violate("low")
        asker.clock.advance(10 * DAY_S)
        begin = asker.now()
        for severity in ["critical", "high"] * 3:
            await asker.violate(severity)
            asker.clock.advance(DAY_S)
        end = asker.now() - timedelta(days=1)
        asker.clock.advance(10 * DAY_S)
        await asker.violate("medium")
        found = await report(asker, from_date=begin, to_date=end)
        assert found["violation_count"] == 6
        assert found["by_severity"] == {"critical": 3, "high": 3}
        assert [each["severity"] for each in found["violations"]] == ["critical", "high"] * 3
        assert all(each["details"] == "where do you live" for each in found["violations"])
        assert (found["score"], found["rating"]) == (0, "poor")
        later = await report(asker, from_date=end + timedelta(seconds=1))
        assert found["all_time"] == later["all_time"]
        assert (later["by_severity"], later["all_time"]["total"]) == ({"medium": 1}, 8)


async def test_severities_are_kept_and_the_worst_is_not_overwritten(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        for severity in ("low", "critical", "medium", "low"):
            await asker.violate(severity)
        found = await report(asker)
        assert [each["severity"] for each in found["violations"]] == [
            "low", "critical", "medium", "low",
        ]  # fmt: skip
        profile = await asker.data("get_child_profile")
        assert profile["worst_severity"] == profile["safety_status"] == "critical"
        assert found["score"] == 100 - 1 - 40 - 5 - 1


async def test_violations_without_a_date_count_in_every_period(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        asker.clock.step_wall(-50 * 365 * DAY_S, Trust.UNSYNCED)
        await asker.violate("critical")
        asker.clock.step_wall(50 * 365 * DAY_S, Trust.SYNCED)
        found = await report(asker)
        assert (found["violation_count"], found["violations"][0]["is_dated"]) == (1, False)
        long_ago = datetime(2001, 1, 1, tzinfo=UTC)
        found = await report(asker, from_date=long_ago, to_date=long_ago + timedelta(days=1))
        assert found["violation_count"] == 1


async def test_a_quiet_period_with_talk_is_excellent_and_one_without_is_not_recorded(
    tmp_path: Path,
) -> None:
    async with open_asker(tmp_path) as asker:
        nothing = await report(asker)
        assert (nothing["rating"], nothing["score"]) == ("nothing_recorded", None)
        await asker.talk()
        talked = await report(asker)
        assert (talked["rating"], talked["score"]) == ("excellent", 100)
        before = asker.now() - timedelta(days=20)
        earlier = await report(asker, from_date=before, to_date=before + timedelta(days=3))
        assert (earlier["rating"], earlier["has_recorded"]) == ("nothing_recorded", False)


async def test_talk_without_a_date_makes_no_period_excellent(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        asker.clock.step_wall(0, Trust.UNSYNCED)
        await asker.talk()
        asker.clock.step_wall(0, Trust.SYNCED)
        assert (await report(asker))["rating"] == "incomplete"


async def test_a_bear_that_does_not_know_the_time_does_not_guess_the_period(tmp_path: Path) -> None:
    """Its clock may show 1970: the last 30 days would hold none of the violations."""
    async with open_asker(tmp_path) as asker:
        begin = asker.now()
        await asker.talk()
        await asker.violate("critical")
        asker.clock.step_wall(-50 * 365 * DAY_S, Trust.UNSYNCED)
        refused = await asker.refused(REPORT, child_id=asker.child_id)
        assert refused == ("time_unknown", "data.from_date")
        found = await report(asker, from_date=begin)
        assert (found["violation_count"], found["rating"]) == (1, "fair")


@pytest.mark.parametrize(
    ("after_day", "before_day", "touches"),
    [(-5, -3, True), (-5, None, True), (None, -5, True), (None, None, True), (5, -5, True),
     (-40, -35, False), (None, -35, False), (2, 5, False)],
)  # fmt: skip
async def test_a_period_that_lost_records_may_belong_to_is_incomplete(
    tmp_path: Path, after_day: int | None, before_day: int | None, touches: bool
) -> None:
    """Days from now; a clock that was set back between the two says nothing of when it was."""
    async with open_asker(tmp_path) as asker:
        await asker.talk()
        after_ns, before_ns = (
            None if day is None else asker.clock.wall_ns() + day * DAY_S * NS_PER_S
            for day in (after_day, before_day)
        )
        lost = RecordsLost(5, 9, 5, "damaged", after_ns, before_ns)
        await asker.box.journal.note(lost)
        found = await report(asker, from_date=asker.now() - timedelta(days=30))
        assert (found["rating"], found["records_lost"]) == (
            ("incomplete", 5) if touches else ("excellent", 0)
        )


async def test_over_a_damaged_log_no_period_is_praised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.talk()
        monkeypatch.setattr(RecoveryReport, "complete", False)
        assert (await report(asker))["rating"] == "incomplete"


async def test_a_violation_alone_does_not_prove_that_the_rest_was_well(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.violate("low")
        found = await report(asker)
        assert (found["rating"], found["has_recorded"]) == ("incomplete", False)


async def test_one_violation_is_still_good_and_a_critical_one_is_not(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.talk()
        await asker.violate("low")
        assert (await report(asker))["rating"] == "good"
        await asker.violate("critical")
        assert (await report(asker))["rating"] not in PRAISE


async def test_the_report_lists_what_its_score_comes_from_and_counts_what_it_cannot_list(
    tmp_path: Path,
) -> None:
    async with open_asker(tmp_path) as asker:
        for _ in range(205):
            await asker.violate("low")
        found = await report(asker)
        assert (found["violation_count"], len(found["violations"])) == (205, 200)
        assert found["by_severity"] == {"low": 205}


async def test_support_reads_the_numbers_and_none_of_the_words(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        await asker.violate("high")
        found = await asker.data(REPORT, SUPPORT)
        assert found["by_severity"] == {"high": 1}
        assert "where do you live" not in str(found)


@pytest.mark.parametrize(
    ("dates", "field"),
    [
        ({"from_date": "2026-11-18T00:00:00Z", "to_date": "2026-11-17T00:00:00Z"}, "data.to_date"),
        ({"from_date": "2025-01-01T00:00:00Z", "to_date": "2026-01-03T00:00:00Z"},
         "data.from_date"),
        ({"from_date": "2026-11-01T00:00:00"}, "data.from_date"),
        ({"to_date": "2026-11-01T00:00:00"}, "data.to_date"),
        ({"from_date": 1_790_000_000}, "data.from_date"),
        ({"to_date": "2026-11-01"}, "data.to_date"),
        ({"from_date": "0001-01-01T00:00:00+14:00"}, "data.from_date"),
        ({"to_date": "0001-01-02T00:00:00Z"}, "data.to_date"),
        ({"from_date": "9999-12-30T00:00:00Z", "to_date": "9999-12-31T23:59:59-12:00"},
         "data.to_date"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("query", [REPORT, "get_child_analytics"])
@pytest.mark.parametrize("trust", [Trust.SYNCED, Trust.UNSYNCED])
async def test_a_period_that_is_none_is_refused_and_its_field_named(
    tmp_path: Path, query: str, dates: dict[str, Any], field: str, trust: Trust
) -> None:
    async with open_asker(tmp_path) as asker:
        asker.clock.step_wall(0, trust)
        assert await asker.refused(query, child_id=asker.child_id, **dates) == ("invalid", field)


async def test_a_year_and_a_day_is_a_period(tmp_path: Path) -> None:
    async with open_asker(tmp_path) as asker:
        await report(asker, from_date=asker.now() - timedelta(days=366), to_date=asker.now())
