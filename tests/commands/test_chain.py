"""The chain as it is configured, what it measures, and what comes too fast."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from teddy_edge.commands import standard_middleware
from teddy_edge.errors import SettingsError
from teddy_edge.messages import Actor, ErrorDetail, Origin, Result
from teddy_edge.security import SenderPolicy
from teddy_edge.settings import CommandSettings, load_settings
from tests.commands.box import EMMA, PARENT, Box, open_box

NEEDED = ("validation", "security", "dedupe", "deadline")


def use(box: Box, names: Sequence[str], per_minute: int = 1000) -> None:
    policy = SenderPolicy(allow_unsigned=True)
    chain = standard_middleware(
        names, box.bus.command_type, box.journal, box.clock, policy, box.meter, per_minute
    )
    box.bus.use(chain)


async def send(box: Box, number: int = 0, actor: Actor = PARENT, age: int = 7) -> Result:
    data = {**EMMA, "udid": f"udid-{number}", "age": age}
    return await box.send(box.envelope(data=data, actor=actor))


def error(result: Result) -> ErrorDetail:
    assert result.error is not None
    return result.error


async def test_every_end_is_counted_and_every_refusal_is_an_error(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        await send(box, 1)
        await send(box, 2)
        await send(box, 1)
        await send(box, 3, age=99)
        assert (box.meter.total, box.meter.errors) == (4, 2)


async def test_a_duplicate_of_what_was_refused_is_an_error_too(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        await send(box)
        again = box.envelope(data={**EMMA, "udid": "udid-0"})
        for _ in range(2):
            assert error(await box.send(again)).code == "already_registered"
        assert (box.meter.total, box.meter.errors) == (3, 2)


@pytest.mark.parametrize(
    ("names", "is_counted"),
    [(("metrics", *NEEDED), True), ((NEEDED[0], "metrics", *NEEDED[1:]), False)],
)
async def test_the_order_of_the_settings_is_the_order_of_the_steps(
    tmp_path: Path, names: Sequence[str], is_counted: bool
) -> None:
    async with open_box(tmp_path) as box:
        use(box, CommandSettings(middleware=names).middleware)
        await send(box, age=99)
        assert bool(box.meter.total) is is_counted


async def test_a_step_that_is_left_out_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_box(tmp_path) as box:
        use(box, CommandSettings(middleware=NEEDED).middleware)
        assert (await box.send(box.envelope())).status == "done"
        assert (box.meter.total, caplog.records) == (0, [])


ORDERS = list(itertools.permutations(("validation", "security", "dedupe", "deadline")))


@pytest.mark.parametrize("names", ORDERS, ids=" ".join)
async def test_each_order_is_refused_at_the_start_or_works(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    file = tmp_path / "teddy-edge.toml"
    file.write_text(f"[commands]\nmiddleware = {list(names)}\n")
    if names.index("security") < names.index("validation"):
        with pytest.raises(SettingsError, match=r"commands\.middleware"):
            load_settings(file)
        return
    chain = load_settings(file).commands.middleware
    async with open_box(tmp_path / "log") as box:
        use(box, chain)
        envelope = box.envelope()
        first, second = await box.send(envelope), await box.send(envelope)
        assert (first.status, second.duplicate) == ("done", True)


@pytest.mark.parametrize(
    "names",
    [[], ["validation"], ["security"], ["validation", "security", "security"], ["validation", "x"]],
)
def test_a_chain_that_checks_too_little_keeps_the_bear_from_starting(
    tmp_path: Path, names: list[str]
) -> None:
    file = tmp_path / "teddy-edge.toml"
    file.write_text(f"[commands]\nmiddleware = {names}\n")
    with pytest.raises(SettingsError, match=r"commands\.middleware"):
        load_settings(file)


async def test_who_sends_too_fast_is_told_how_long_to_wait(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        use(box, ["validation", "security", "rate_limit"], per_minute=3)
        assert [(await send(box, number)).success for number in range(3)] == [True] * 3
        refused = error(await send(box, 3))
        assert refused.code == "rate_limited"
        assert refused.message == "send again in 20 s, with a new id"
        other = Actor(id="parent-666", role="parent")
        assert (await send(box, 4, other)).success
        box.clock.advance(20)
        assert (await send(box, 3)).success


async def test_a_command_that_comes_again_does_not_count_as_sent_too_fast(tmp_path: Path) -> None:
    """A cloud sends what has no result at each connect."""
    async with open_box(tmp_path) as box:
        use(box, CommandSettings().middleware, per_minute=2)
        first = box.envelope()
        results = [await box.send(first) for _ in range(5)]
        assert [result.duplicate for result in results] == [False] + [True] * 4
        assert (await send(box, 1)).success


async def test_the_bears_own_buttons_are_never_too_fast(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        use(box, ["validation", "security", "rate_limit"], per_minute=1)
        for _ in range(5):
            press = box.envelope("press_button", {"button": "left_paw"})
            assert (await box.send(press, Origin.BUTTON)).success


async def test_a_deactivated_childs_open_conversation_takes_no_turns(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        child = (await send(box)).data
        talk = (await box.send(box.envelope("start_conversation", child))).data
        turn = {**talk, "speaker": "child"}
        assert (await box.send(box.envelope("record_conversation_turn", turn))).success
        assert (await box.send(box.envelope("deactivate_child", child))).success
        for name, data in (("record_conversation_turn", turn), ("end_conversation", talk)):
            refused = error(await box.send(box.envelope(name, data)))
            assert (refused.code, refused.field) == ("no_conversation", "data.conversation_id")
    async with open_box(tmp_path) as box:
        refused = error(await box.send(box.envelope("record_conversation_turn", turn)))
        assert refused.code == "no_conversation"


async def test_an_ended_conversation_takes_no_turns_also_after_a_restart(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        child = (await send(box)).data
        talk = (await box.send(box.envelope("start_conversation", child))).data
        open_talk = (await box.send(box.envelope("start_conversation", child))).data
        assert (await box.send(box.envelope("end_conversation", talk))).success
    async with open_box(tmp_path) as box:
        for again in ("record_conversation_turn", "end_conversation"):
            data = {**talk, "speaker": "bear"} if again.startswith("record") else talk
            assert error(await box.send(box.envelope(again, data))).code == "no_conversation"
        turn = {**open_talk, "speaker": "bear"}
        assert (await box.send(box.envelope("record_conversation_turn", turn))).success
