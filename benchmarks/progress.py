"""How far something is that takes minutes: on standard error, beside what it finds."""

from __future__ import annotations

import sys
import time

TERMINAL_EVERY_S = 0.2
FILE_EVERY_S = 30.0


class Progress:
    """One line that is written over on a terminal; elsewhere a line now and then."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._shown_s = 0.0

    def show(self, text: str) -> None:
        """Show it, unless something was shown just before."""
        now_s = time.monotonic()
        every_s = TERMINAL_EVERY_S if self._is_terminal else FILE_EVERY_S
        if now_s - self._shown_s < every_s:
            return
        self._shown_s = now_s
        start, end = ("\r\x1b[K", "") if self._is_terminal else ("", "\n")
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room on the terminal for what was found."""
        if self._is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
