"""Which edges of a button are presses, and which the bouncing of its contacts.

The first edge acts at once: nobody waits for the contacts to come to rest. Pure, on the times it is
given, since gpiozero's own bounce time depends on the pin factory (one ignores it, one delays the
edge, one drops edges).
"""

from __future__ import annotations

from teddy_edge.clock import NS_PER_S


class Debounce:
    """Judges the edges of one button, in monotonic nanoseconds."""

    def __init__(self, debounce_s: float) -> None:
        self._window_ns = round(debounce_s * NS_PER_S)
        self._last_edge_ns: int | None = None

    def is_press(self, pressed: bool, at_ns: int) -> bool:
        """Tell whether this edge is a press that counts; `pressed` is False for a release.

        Any edge, counted or not, keeps the contacts "bouncing" for `debounce_s` more.
        """
        last_edge_ns, self._last_edge_ns = self._last_edge_ns, at_ns
        at_rest = last_edge_ns is None or at_ns - last_edge_ns >= self._window_ns
        return pressed and at_rest
