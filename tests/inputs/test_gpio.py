"""Buttons on gpiozero's mock pins, driven from another thread as on hardware."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from teddy_edge.errors import CommandRejected, LogOverloaded, LogPoisoned, PinsUnavailable
from teddy_edge.inputs.gpio import Buttons, SimulatedPins
from teddy_edge.messages import Origin
from teddy_edge.settings import ButtonSettings
from teddy_edge.testing import FakeClock
from tests.inputs.recording import RecordingCommands
from tests.mqtt_link.linking import until

SETTINGS = ButtonSettings(queue_max=2)


class Bear:
    """Buttons on simulated pins, with everything around them fake."""

    def __init__(self, settings: ButtonSettings = SETTINGS) -> None:
        self.clock = FakeClock()
        self.commands = RecordingCommands()
        self.buttons = Buttons(settings, "bear-001", self.commands, self.clock, simulate=True)
        self.pins = SimulatedPins(self.buttons)

    async def press(self, button: str = "left_paw") -> int:
        self.clock.advance(1.0)
        return await asyncio.wait_for(self.pins.press(button), 60)


@asynccontextmanager
async def running(bear: Bear) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(bear.buttons.run())
    await asyncio.wait_for(bear.buttons.ready.wait(), 60)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_press_on_another_thread_becomes_a_command() -> None:
    bear = Bear()
    async with running(bear):
        assert await bear.press("right_paw") == 1
    [(envelope, origin)] = bear.commands.executed
    assert origin is Origin.BUTTON
    assert envelope.name == "press_button"
    assert envelope.data == {"button": "right_paw"}
    assert (envelope.actor.id, envelope.actor.role) == ("bear-001", "device")
    assert envelope.issued_at.timestamp() == bear.clock.wall_ns() / 1e9


async def test_each_press_has_its_own_id_and_seq() -> None:
    bear = Bear()
    async with running(bear):
        assert [await bear.press(button) for button in ("belly", "left_paw", "belly")] == [1, 2, 3]
    assert len({envelope.id for envelope, _ in bear.commands.executed}) == 3


async def test_presses_at_the_same_time_each_get_their_own_seq() -> None:
    bear = Bear()
    async with running(bear):
        seqs = await asyncio.gather(*(bear.pins.press(name) for name in bear.buttons.known()))
    assert sorted(seqs) == [1, 2, 3]


async def test_a_press_before_the_pins_are_open_waits_for_them() -> None:
    bear = Bear()
    press = asyncio.create_task(bear.pins.press("belly"))
    await asyncio.sleep(0)
    async with running(bear):
        assert await press == 1


async def test_a_press_too_soon_after_the_last_is_bounced() -> None:
    bear = Bear()
    async with running(bear):
        await bear.press()
        with pytest.raises(CommandRejected) as caught:
            await bear.pins.press("left_paw")
    assert caught.value.code == "bounced"
    assert len(bear.commands.executed) == 1


async def test_an_unknown_button_is_answered_with_the_known_ones() -> None:
    bear = Bear()
    async with running(bear):
        with pytest.raises(CommandRejected) as caught:
            await bear.press("nose")
    assert caught.value.code == "unknown_button"
    assert "belly, left_paw, right_paw" in caught.value.message


async def test_a_rejected_press_is_told_to_who_pressed() -> None:
    bear = Bear()
    bear.commands.status = "rejected"
    async with running(bear):
        with pytest.raises(CommandRejected) as caught:
            await bear.press()
    assert caught.value.code == "no"


async def test_a_full_queue_drops_the_press_counts_it_and_logs_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bear = Bear()
    bear.commands.free.clear()
    async with running(bear):
        executing = asyncio.create_task(bear.press())
        await until(lambda: bear.commands.begun == 1)
        for _ in range(4):  # the queue holds two
            bear.clock.advance(1.0)
            await asyncio.to_thread(bear.buttons.tap, "belly")
        await until(lambda: bear.buttons.dropped == 2)
        bear.commands.free.set()
        await executing
        await until(lambda: len(bear.commands.executed) == 3)
    [line] = [record for record in caplog.records if record.name == "teddy_edge.inputs.gpio"]
    assert vars(line)["presses"] == 2


async def test_a_press_that_the_queue_has_no_room_for_says_so() -> None:
    bear = Bear(ButtonSettings(queue_max=1))
    bear.commands.free.clear()
    async with running(bear):
        for _ in range(2):  # one is being executed, one waits
            bear.clock.advance(1.0)
            await asyncio.to_thread(bear.buttons.tap, "belly")
            await until(lambda: bear.commands.begun == 1)
        with pytest.raises(CommandRejected) as caught:
            await bear.press("left_paw")
    assert caught.value.code == "overloaded"


async def test_a_log_without_room_drops_the_press_and_the_buttons_live_on() -> None:
    bear = Bear()
    async with running(bear):
        bear.commands.error = LogOverloaded(5, 1.0)
        with pytest.raises(LogOverloaded):
            await bear.press()
        bear.commands.error = None
        assert await bear.press() == 1
    assert bear.buttons.dropped == 1


async def test_a_poisoned_log_ends_the_buttons(tmp_path: Path) -> None:
    bear = Bear()
    async with running(bear) as task:
        bear.commands.error = LogPoisoned("fsync", tmp_path, OSError(5, "broken"))
        await asyncio.to_thread(bear.buttons.tap, "belly")
        with pytest.raises(LogPoisoned):
            await asyncio.wait_for(task, 60)


async def test_the_loop_wakes_at_once_for_an_edge_on_another_thread() -> None:
    """A put into the queue from a callback would wait for the loop's next timer."""
    bear = Bear()
    async with running(bear):
        thread = threading.Timer(0.2, bear.buttons.tap, args=("belly",))  # the loop sleeps by then
        thread.start()
        await asyncio.wait_for(bear.commands.finished.wait(), 60)
        thread.join()


def test_an_edge_after_the_loop_has_closed_raises_nothing() -> None:
    """An exception would end lgpio's only thread."""
    loop = asyncio.new_event_loop()
    loop.close()
    Bear().buttons._on_edge(loop, "belly", True)


async def test_pins_are_free_again_after_the_buttons_ended() -> None:
    bear = Bear()
    for _ in range(2):
        async with running(bear):
            await bear.press()
    assert len(bear.commands.executed) == 2


async def test_two_buttons_on_one_pin_are_refused_by_name() -> None:
    bear = Bear(ButtonSettings(pins={"left_paw": 17, "nose": 17}))
    with pytest.raises(PinsUnavailable, match=r"nose cannot have pin 17.*\[buttons.pins\]"):
        await bear.buttons.run()


@pytest.mark.skipif(importlib.util.find_spec("lgpio") is not None, reason="lgpio is here")
async def test_without_the_gpio_library_the_error_says_what_to_do() -> None:
    buttons = Buttons(SETTINGS, "bear-001", RecordingCommands(), FakeClock(), simulate=False)
    with pytest.raises(PinsUnavailable, match=r"teddy-edge\[pi\].*--simulate"):
        await buttons.run()
