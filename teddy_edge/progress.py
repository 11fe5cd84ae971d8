"""A bar on a terminal for what takes long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Final, TextIO, TypeVar

AFTER_S: Final = 0.5
EVERY_S: Final = 0.1
WIDTH: Final = 30

Item = TypeVar("Item")


class Bar:
    """A bar that is drawn once something takes long, and goes again at the end."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._next_drawing_s = monotonic() + AFTER_S
        self._is_drawn = False

    def show(self, done: int, total: int) -> None:
        """Show how far it is, if it is time for that."""
        if monotonic() < self._next_drawing_s:
            return
        bar = "#" * (WIDTH * done // total)
        self._terminal.write(f"\r[{bar:<{WIDTH}}] {100 * done // total:>3} %")
        self._terminal.flush()
        self._is_drawn = True
        self._next_drawing_s = monotonic() + EVERY_S

    def clear(self) -> None:
        """Take the bar away."""
        if self._is_drawn:
            self._terminal.write("\r\x1b[K")
            self._terminal.flush()


def with_progress(items: Iterable[Item], total: int, terminal: TextIO) -> Iterator[Item]:
    """Pass the items on; draw a bar, which goes again, if that takes long."""
    bar = Bar(terminal)
    try:
        for done, item in enumerate(items):
            bar.show(done, total)
            yield item
    finally:
        bar.clear()
