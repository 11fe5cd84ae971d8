"""One effect and one result for each command, before and after a restart."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from teddy_edge.errors import CommandRejected
from teddy_edge.messages import Actor, Origin, Refusal
from tests.commands.box import CHILDREN_MAX, EMMA, open_box
from tests.fixtures.make_log_format_1 import LOG

COMMAND_ID = UUID("01a20565-91bb-74e2-bc1f-415ccb61daf4")


async def test_a_command_leaves_its_events_and_its_end_in_the_log(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        result = await box.send(box.envelope(command_id=COMMAND_ID))
        registered, done = box.records()
        assert (result.status, result.seq, result.duplicate) == ("done", done.seq, False)
        assert registered.data["child_id"] == result.data["child_id"]
        assert {registered.cause.command_id, done.cause.command_id} == {COMMAND_ID}
        assert registered.cause.correlation_id == "correlation-1"
        assert (registered.cause.actor_id, registered.cause.actor_role) == ("parent-123", "parent")


async def test_a_duplicate_gets_the_first_result_and_has_no_effect(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        first = await box.send(box.envelope(command_id=COMMAND_ID))
        second = await box.send(box.envelope(command_id=COMMAND_ID))
        assert second == first.model_copy(update={"duplicate": True})
        assert box.types() == ["child_registered", "command_done"]


async def test_duplicates_that_arrive_together_have_one_effect(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        envelopes = [box.envelope(command_id=COMMAND_ID) for _ in range(5)]
        results = await asyncio.gather(*(box.send(envelope) for envelope in envelopes))
        assert [result.duplicate for result in results] == [False, True, True, True, True]
        assert len({result.model_copy(update={"duplicate": False}).seq for result in results}) == 1
        assert box.types() == ["child_registered", "command_done"]


async def test_a_duplicate_after_a_restart_gets_the_first_result(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        first = await box.send(box.envelope(command_id=COMMAND_ID))
        refused = await box.send(box.envelope(name="fly", data={}, command_id=uuid4()))
    async with open_box(tmp_path) as box:
        again = await box.send(box.envelope(command_id=COMMAND_ID))
        assert refused.command_id is not None
        refused_again = await box.send(
            box.envelope(name="fly", data={}, command_id=refused.command_id)
        )
        assert again == first.model_copy(update={"duplicate": True})
        assert refused_again == refused.model_copy(update={"duplicate": True})
        assert box.types() == ["child_registered", "command_done", "command_refused"]


async def test_what_was_decided_before_a_restart_still_counts(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        await box.send(box.envelope())
    async with open_box(tmp_path) as box:
        result = await box.send(box.envelope())
        assert result.error is not None
        assert (result.error.code, result.error.field) == ("already_registered", "data.udid")


async def test_two_commands_that_exclude_each_other_are_decided_in_turn(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        results = await asyncio.gather(box.send(box.envelope()), box.send(box.envelope()))
        assert [result.status for result in results] == ["done", "rejected"]


async def test_a_rejection_is_recorded_without_what_was_sent(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        result = await box.send(box.envelope(data={**EMMA, "age": 99}))
        (record,) = box.records()
        assert record.type == "command_refused"
        assert result.error is not None
        assert (result.status, result.error.field, result.seq) == ("rejected", "data.age", 1)
        assert "Emma" not in str(record)


async def test_what_could_not_be_read_gets_the_same_refusal_again_and_one_record(
    tmp_path: Path,
) -> None:
    unread = CommandRejected("malformed", "the message is not JSON")
    refusal = Refusal(unread, Origin.MQTT, COMMAND_ID, "fly", None)
    async with open_box(tmp_path) as box:
        first = await box.bus.refuse(refusal)
        second, third = await asyncio.gather(box.bus.refuse(refusal), box.bus.refuse(refusal))
        assert second == third == first.model_copy(update={"duplicate": True})
        assert box.types() == ["command_refused"]
        assert (await box.send(box.envelope(command_id=COMMAND_ID))).error is not None
        assert box.types() == ["command_refused", "command_refused"], "that was another sender's"


async def test_a_command_that_is_refused_for_the_way_it_came_keeps_an_earlier_end(
    tmp_path: Path,
) -> None:
    retained = CommandRejected("retained", "it would come again")
    async with open_box(tmp_path) as box:
        envelope = box.envelope(command_id=COMMAND_ID)
        refused = await box.bus.refuse_command(envelope, Origin.MQTT, retained)
        again = await box.send(envelope)
        assert again == refused.model_copy(update={"duplicate": True})
        other = box.envelope()
        done = await box.send(other)
        kept = await box.bus.refuse_command(other, Origin.MQTT, retained)
        assert kept == done.model_copy(update={"duplicate": True})


async def test_a_done_command_stays_done_whatever_comes_under_its_id(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        first = await box.send(box.envelope(command_id=COMMAND_ID))
        again = await box.send(box.envelope(data={}, command_id=COMMAND_ID))
        assert again == first.model_copy(update={"duplicate": True})


@pytest.mark.parametrize("restart", [False, True])
async def test_an_id_that_somebody_else_used_gives_nothing_of_theirs(
    tmp_path: Path, restart: bool
) -> None:
    stranger = Actor(id="parent-666", role="parent")
    async with open_box(tmp_path) as box:
        first = await box.send(box.envelope(command_id=COMMAND_ID))
        if not restart:
            reused = await box.send(box.envelope(command_id=COMMAND_ID, actor=stranger))
    async with open_box(tmp_path) as box:
        if restart:
            reused = await box.send(box.envelope(command_id=COMMAND_ID, actor=stranger))
        assert (reused.status, reused.data) == ("rejected", {})
        assert reused.error is not None
        assert reused.error.code == "id_reused"
        again = await box.send(box.envelope(command_id=COMMAND_ID))
        assert again == first.model_copy(update={"duplicate": True})


async def test_a_redelivered_command_keeps_its_end_when_settings_got_stricter(
    tmp_path: Path,
) -> None:
    async with open_box(tmp_path) as box:
        first = await box.send(box.envelope(command_id=COMMAND_ID))
    async with open_box(tmp_path, allow_unsigned=False) as box:
        again = await box.send(box.envelope(command_id=COMMAND_ID))
        assert again == first.model_copy(update={"duplicate": True})


async def test_what_does_not_fit_a_record_is_rejected_in_short(tmp_path: Path) -> None:
    async with open_box(tmp_path, record_bytes_max=1024) as box:
        child = {**EMMA, "parent_id": "\U0001f9f8" * 128, "device_id": "\U0001f9f8" * 128}
        result = await box.send(box.envelope(data=child))
        assert result.error is not None
        assert result.error.code == "too_large"
        assert (await box.send(box.envelope())).status == "done"


async def test_a_command_that_expires_while_the_card_is_slow_is_not_done(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        late = box.envelope(expires_in_s=10)
        wait_for_room = box.log.wait_for_room

        async def slow() -> None:
            box.clock.advance(11)
            await wait_for_room()

        box.log.wait_for_room = slow  # type: ignore[method-assign]
        assert (await box.send(late)).status == "expired"


async def test_only_the_newest_results_are_remembered(tmp_path: Path) -> None:
    async with open_box(tmp_path, finished_max=100) as box:
        envelopes = [box.envelope(data={**EMMA, "udid": f"u{n}"}) for n in range(101)]
        for envelope in envelopes:
            await box.send(envelope)
        assert await box.journal.earlier_result(envelopes[0]) is None
        assert await box.journal.earlier_result(envelopes[1]) is not None


async def test_a_sender_who_goes_away_does_not_undo_a_command(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        sending = asyncio.create_task(box.send(box.envelope(command_id=COMMAND_ID)))
        await asyncio.sleep(0)
        sending.cancel()
        again = await box.send(box.envelope(command_id=COMMAND_ID), Origin.SOCKET)
        assert again.status == "done"
        assert box.types().count("child_registered") == 1


async def test_a_bear_takes_no_more_children_than_its_settings_say(tmp_path: Path) -> None:
    async with open_box(tmp_path, finished_max=CHILDREN_MAX) as box:
        for number in range(CHILDREN_MAX):
            await box.send(box.envelope(data={**EMMA, "udid": f"u{number}"}))
        one_more = await box.send(box.envelope())
        assert one_more.error is not None
        assert one_more.error.code == "too_many_children"


async def test_what_an_older_version_decided_still_counts(tmp_path: Path) -> None:
    async with open_box(shutil.copytree(LOG, tmp_path / "log")) as box:
        result = await box.send(box.envelope(data={**EMMA, "udid": "udid-1"}))
        assert result.error is not None
        assert result.error.code == "already_registered"
        assert (await box.send(box.envelope())).success
