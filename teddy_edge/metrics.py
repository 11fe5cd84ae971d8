"""What the buses measure of themselves: how often, how long, how many failed. Bounded in memory."""

from __future__ import annotations

import math
import statistics
from collections import deque

from teddy_edge.clock import NS_PER_S, Clock

SAMPLES_MAX = 1000


class Meter:
    """Counts for ever, and remembers the newest samples for rates and durations."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[tuple[int, int]] = deque(maxlen=SAMPLES_MAX)
        self.total = 0
        self.errors = 0

    def add(self, started_ns: int, *, failed: bool) -> None:
        """Take up one that started at a monotonic time and is over now."""
        ended_ns = self._clock.monotonic_ns()
        self._samples.append((ended_ns, ended_ns - started_ns))
        self.total += 1
        self.errors += failed

    def rate_per_s(self) -> float:
        """How many a second, over the newest samples (a second at least); 0 if there is none."""
        if not self._samples:
            return 0.0
        span_ns = self._clock.monotonic_ns() - self._samples[0][0]
        return len(self._samples) * NS_PER_S / max(span_ns, NS_PER_S)

    def median_ms(self) -> float | None:
        """How long one takes; None where there is none."""
        if not self._samples:
            return None
        return statistics.median(took_ns for _, took_ns in self._samples) / 1e6


class RateLimit:
    """Lets so many through in a minute for each key; a bucket that refills steadily."""

    def __init__(self, clock: Clock, per_minute: int, keys_max: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._keys_max = keys_max
        self._buckets: dict[str, tuple[float, int]] = {}

    def wait_s(self, key: str) -> int:
        """Take one; gives 0, or how many whole seconds to wait where there is none to take."""
        now_ns = self._clock.monotonic_ns()
        level, at_ns = self._buckets.pop(key, (float(self._per_minute), now_ns))
        per_s = self._per_minute / 60
        level = min(self._per_minute, level + (now_ns - at_ns) / NS_PER_S * per_s)
        is_free = level >= 1
        self._buckets[key] = (level - is_free, now_ns)
        if len(self._buckets) > self._keys_max:  # the one that asked longest ago goes
            del self._buckets[next(iter(self._buckets))]
        return 0 if is_free else math.ceil((1 - level) / per_s)
