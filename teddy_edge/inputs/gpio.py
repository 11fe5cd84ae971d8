"""The buttons: edges on pins become `press_button` commands. The only module that knows gpiozero.

gpiozero calls back on a thread of its own, and an exception there would end lgpio's only thread and
with it every button, in silence. So a callback does one thing, `call_soon_threadsafe`, and cannot
raise; the loop judges the edge (`debounce`), queues the press and executes it.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import gpiozero
from gpiozero.pins.mock import MockFactory

from teddy_edge.clock import Clock, new_id, rfc3339
from teddy_edge.errors import CommandRejected, LogOverloaded, PinsUnavailable, TeddyEdgeError
from teddy_edge.inputs.debounce import Debounce
from teddy_edge.inputs.ports import Commands
from teddy_edge.messages import CommandEnvelope, Origin, Result
from teddy_edge.settings import ButtonSettings

logger = logging.getLogger("teddy_edge.inputs.gpio")

COMMAND = "press_button"


@dataclass(frozen=True, slots=True)
class Edge:
    """A button went down or up, at a monotonic time."""

    button: str
    pressed: bool
    at_ns: int


@dataclass(frozen=True, slots=True)
class Press:
    """A press that counts, and the program that waits for its result, if one does."""

    button: str
    waiting: asyncio.Future[Result] | None

    def succeed(self, result: Result) -> None:
        """Tell whoever waits what the press came to."""
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(result)

    def fail(self, error: TeddyEdgeError) -> None:
        """Tell whoever waits why nothing came of it."""
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(error)


class Buttons:
    """Owns the pins of all buttons while `run` runs."""

    def __init__(
        self,
        settings: ButtonSettings,
        bear: str,
        commands: Commands,
        clock: Clock,
        *,
        simulate: bool,
    ) -> None:
        self._settings = settings
        self._bear = bear
        self._commands = commands
        self._clock = clock
        self._simulate = simulate
        self._debounces = {name: Debounce(settings.debounce_s) for name in settings.pins}
        self._presses: asyncio.Queue[Press] = asyncio.Queue(settings.queue_max)
        self._expected: dict[str, asyncio.Future[Result]] = {}
        self.dropped = 0
        """How many presses found the queue or the log full, since the start."""
        self.ready = asyncio.Event()
        """Set while the pins are open."""

    async def run(self) -> None:
        """Open the pins and execute each press in turn, until cancelled.

        Raises `PinsUnavailable` if the pins cannot be opened.
        """
        with ExitStack() as stack:
            self._factory = stack.enter_context(_open_factory(self._simulate))
            for name, number in self._settings.pins.items():
                self._watch(stack.enter_context(_open_button(name, number, self._factory)), name)
            stack.callback(self.ready.clear)
            self.ready.set()
            while True:
                dropped = self.dropped
                await self._execute(await self._presses.get())
                _tell_of_dropped(self.dropped - dropped)

    def _watch(self, button: Any, name: str) -> None:
        loop = asyncio.get_running_loop()
        button.when_activated = partial(self._on_edge, loop, name, True)
        button.when_deactivated = partial(self._on_edge, loop, name, False)

    def _on_edge(self, loop: asyncio.AbstractEventLoop, button: str, pressed: bool) -> None:
        edge = Edge(button, pressed, self._clock.monotonic_ns())
        try:
            loop.call_soon_threadsafe(self._judge, edge)
        except RuntimeError:  # the loop is closed: the daemon has ended, nobody is left to tell
            return

    def _judge(self, edge: Edge) -> None:
        counts = self._debounces[edge.button].is_press(edge.pressed, edge.at_ns)
        if not edge.pressed:
            return
        press = Press(edge.button, self._expected.pop(edge.button, None))
        if not counts:
            press.fail(CommandRejected("bounced", "the press came too soon after the last edge"))
        elif self._presses.full():
            self.dropped += 1
            press.fail(CommandRejected("overloaded", "too many presses wait to be recorded"))
        else:
            self._presses.put_nowait(press)

    async def _execute(self, press: Press) -> None:
        try:
            result = await self._commands.execute(self._command(press.button), Origin.BUTTON)
        except LogOverloaded as error:
            self.dropped += 1
            press.fail(error)
        else:
            press.succeed(result)

    def _command(self, button: str) -> CommandEnvelope:
        return CommandEnvelope.model_validate(
            {
                "id": new_id(self._clock),
                "name": COMMAND,
                "actor": {"id": self._bear, "role": "device"},
                "issued_at": rfc3339(self._clock.wall_ns()),
                "data": {"button": button},
            }
        )

    def known(self) -> list[str]:
        """Name every button."""
        return sorted(self._settings.pins)

    def expect(self, button: str) -> asyncio.Future[Result]:
        """Give the result of the button's next press, to whoever is about to cause it."""
        self._expected[button] = asyncio.get_running_loop().create_future()
        return self._expected[button]

    def tap(self, button: str) -> None:
        """Drive a simulated pin down and up again, on the caller's thread, as hardware does."""
        pin = self._factory.pin(self._settings.pins[button])
        pin.drive_low()
        pin.drive_high()


class SimulatedPins:
    """Presses simulated buttons, one press at a time."""

    def __init__(self, buttons: Buttons) -> None:
        self._buttons = buttons
        self._one_at_a_time = asyncio.Lock()

    async def press(self, button: str) -> int:
        """Press and release; gives the sequence number of the recorded event (see `Pins`)."""
        if button not in self._buttons.known():
            known = ", ".join(self._buttons.known())
            raise CommandRejected("unknown_button", f"the buttons are: {known}", "button")
        async with self._one_at_a_time:
            await self._buttons.ready.wait()
            result = self._buttons.expect(button)
            await asyncio.to_thread(self._buttons.tap, button)
            return _recorded(await result)


def _tell_of_dropped(presses: int) -> None:
    if presses > 0:
        logger.warning("presses were dropped", extra={"presses": presses})


def _recorded(result: Result) -> int:
    if result.error is not None:
        raise CommandRejected(result.error.code, result.error.message, result.error.field)
    return result.seq


@contextmanager
def _open_factory(simulate: bool) -> Iterator[Any]:
    factory = MockFactory() if simulate else _lgpio_factory()
    with factory:
        yield factory


def _lgpio_factory() -> Any:
    try:
        lgpio = importlib.import_module("lgpio")
    except ImportError as error:
        raise PinsUnavailable(
            "the GPIO library lgpio is not installed: on a Raspberry Pi install "
            "teddy-edge[pi] or Raspberry Pi OS's python3-lgpio; elsewhere start with --simulate"
        ) from error
    pins = importlib.import_module("gpiozero.pins.lgpio")
    try:
        return pins.LGPIOFactory()
    except (lgpio.error, gpiozero.GPIOZeroError, OSError) as error:
        raise PinsUnavailable(
            f"the GPIO pins cannot be opened ({error}): on a Raspberry Pi the user must be in "
            "the group gpio, to read and write /dev/gpiochip*; elsewhere start with --simulate"
        ) from error


@contextmanager
def _open_button(name: str, number: int, factory: Any) -> Iterator[Any]:
    try:
        # Not gpiozero.Button, of which each has a thread that wakes ten times a second.
        button = gpiozero.DigitalInputDevice(number, pull_up=True, pin_factory=factory)
    except gpiozero.GPIOZeroError as error:
        raise PinsUnavailable(
            f"button {name} cannot have pin {number}: {error}; see [buttons.pins] in the settings"
        ) from error
    with button:
        yield button
