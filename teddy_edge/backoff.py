"""How long to wait before the next try, so that a thousand bears do not come back at once."""

from __future__ import annotations

from random import Random


class Backoff:
    """Decorrelated jitter: each wait is random, up to three times the one before, and bounded.

    A try that held for at least `s_max` starts the row again. One that ended sooner does not: a
    broker that accepts everybody and then drops them must not be hammered.
    """

    def __init__(self, s_min: float, s_max: float, random: Random | None = None) -> None:
        self._s_min = s_min
        self._s_max = max(s_min, s_max)
        self._random = random or Random()  # noqa: S311 (not a secret)
        self._last_s = s_min

    def next_s(self, held_s: float) -> float:
        """The wait in seconds after a try that held for `held_s`."""
        if held_s >= self._s_max:
            self._last_s = self._s_min
        wait_s = self._random.uniform(self._s_min, 3 * self._last_s)
        self._last_s = min(self._s_max, wait_s)
        return self._last_s
