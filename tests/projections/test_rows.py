"""Long lists in short rows, and the largest rows that commands can make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teddy_edge.domain.details import DETAILS_BYTES_MAX
from teddy_edge.events import SafetyViolationReported
from teddy_edge.messages import Origin
from teddy_edge.projections.rows import ITEMS_PER_PAGE, Row, append_item, item_count, read_items
from teddy_edge.projections.safety import WEIGHTS, score
from teddy_edge.settings import ProjectionSettings
from tests.commands.box import EMMA, Box, open_box
from tests.projections.test_runner import open_read_models

BEAR = "\N{TEDDY BEAR}"


class Table:
    """Rows in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def get(self, key: str) -> Row | None:
        return self.rows.get(key)

    async def read(self, key: str) -> Row | None:
        return self.rows.get(key)

    def put(self, key: str, row: Row) -> None:
        self.rows[key] = row


@given(count=st.integers(0, 45), offset=st.integers(0, 50), limit=st.integers(0, 50))
@settings(max_examples=200)
async def test_a_list_is_read_like_one_that_has_no_pages(
    count: int, offset: int, limit: int
) -> None:
    table = Table()
    for number in range(count):
        assert append_item(table, "list", number) == number + 1
    assert await item_count(table.read, "list") == count
    expected = list(range(count))[offset : offset + limit]
    assert await read_items(table.read, "list", offset, limit) == expected
    assert all(len(row.get("items", ())) <= ITEMS_PER_PAGE for row in table.rows.values())


@pytest.mark.parametrize("number", range(2))
async def test_a_parent_whose_id_looks_like_a_page_spoils_nobodys_list(
    tmp_path: Path, number: int
) -> None:
    parents = ["parent-123", "parent-123/00000000", "00000000/parent/parent-123"]
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        for udid, parent_id in enumerate([*parents, *parents[number:]]):
            data = {**EMMA, "parent_id": parent_id, "udid": str(udid)}
            await box.send(box.envelope(data=data), Origin.SOCKET)
        await read_models.include(box.log.last_seq)
        counts = [await item_count(read_models.get, f"parent/{each}") for each in parents]
        assert counts == [1 if parents.index(each) < number else 2 for each in parents]


async def send(box: Box, command: str, /, **data: Any) -> dict[str, Any]:
    result = await box.send(box.envelope(command, data), Origin.SOCKET)
    assert result.success, result.error
    return result.data


async def test_a_severity_that_only_a_newer_version_knows_counts_as_the_worst(
    tmp_path: Path,
) -> None:
    """As when an update was taken back: its events stay in the log."""
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        child_id = (await send(box, "register_child", **EMMA))["child_id"]
        scores = []
        for severity in ("low", "unheard_of"):
            await box.journal.note(SafetyViolationReported(child_id, "stranger", severity, None))
            await read_models.include(box.log.last_seq)
            safety = await read_models.get(f"safety/{child_id}")
            assert safety is not None
            scores.append(score(safety["by_severity"]))
        assert scores == [99, 99 - WEIGHTS["critical"]]
        child = await read_models.get(f"child/{child_id}")
        assert child is not None
        assert child["worst_severity"] == "unheard_of"


async def test_the_largest_rows_that_commands_can_make_are_within_the_smallest_limit(
    tmp_path: Path,
) -> None:
    metadata = ProjectionSettings.model_fields["row_bytes_max"].metadata
    smallest = next(limit.ge for limit in metadata if hasattr(limit, "ge"))
    labels = [f"{number:04}" + BEAR * 60 for number in range(60)]
    async with (
        open_box(tmp_path / "log") as box,
        open_read_models(box.log, tmp_path / "rows") as read_models,
    ):
        child_id = (await send(box, "register_child", **{**EMMA, "name": BEAR * 64}))["child_id"]
        liked = {"favorite_stories": labels[:20], "interests": labels[:20]}
        changes = {"preferences": liked}
        await send(box, "update_child_profile", child_id=child_id, changes=changes)
        talk = await send(box, "start_conversation", child_id=child_id)
        for start in range(0, 60, 20):
            topics = labels[start : start + 20]
            await send(box, "record_conversation_turn", **talk, speaker="child", topics=topics)
        await send(box, "end_conversation", **talk, summary=BEAR * 1000)
        for violation_type in labels[: ITEMS_PER_PAGE + 1]:
            await send(
                box,
                "report_safety_violation",
                child_id=child_id,
                violation_type=violation_type,
                severity="critical",
                details=BEAR * ((DETAILS_BYTES_MAX - 5) // 4),
            )
        await read_models.include(box.log.last_seq)
        for key in await read_models.keys(""):
            row = msgpack.packb(await read_models.get(key))
            assert len(row) <= smallest, key
