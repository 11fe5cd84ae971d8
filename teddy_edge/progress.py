"""A bar on a terminal for what takes long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Final, TextIO, TypeVar

AFTER_S: Final = 0.5
EVERY_S: Final = 0.1
WIDTH: Final = 30

Item = TypeVar("Item")


def with_progress(items: Iterable[Item], total: int, terminal: TextIO) -> Iterator[Item]:
    """Pass the items on; draw a bar, which goes again, if that takes long."""
    next_drawing_s = monotonic() + AFTER_S
    is_drawn = False
    try:
        for done, item in enumerate(items):
            if monotonic() >= next_drawing_s:
                bar = "#" * (WIDTH * done // total)
                terminal.write(f"\r[{bar:<{WIDTH}}] {100 * done // total:>3} %")
                terminal.flush()
                is_drawn = True
                next_drawing_s = monotonic() + EVERY_S
            yield item
    finally:
        if is_drawn:
            terminal.write("\r\x1b[K")
            terminal.flush()
