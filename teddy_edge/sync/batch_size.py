"""How much goes in one batch, on a link that may end before a large one is through.

A link of a few kilobytes a second takes no batch of 128 KiB before it is given up, and a broker
with a limit that it does not tell ends the connection on a batch that is over it. The same batch
would meet the same end for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from teddy_edge.errors import LinkLost

BYTES_MIN: Final = 1024
GROWTH: Final = 64
"""Each batch that is through makes the next one larger by such a part: twice as large after 45, so
that a limit which is still there costs a connection now and then, and not each time."""


class BatchSize:
    """Half of what a connection ended on; then, with each batch that is through, a little more."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        """The most that the next batch may hold, in bytes of records."""
        self._allowed_bytes = bytes_max

    @contextmanager
    def learned_from(self, batch_bytes: int) -> Iterator[None]:
        """Enter while a batch of so many bytes is published."""
        try:
            yield
        except (LinkLost, asyncio.CancelledError):  # whoever hears first of the connection's end
            tried_bytes = min(batch_bytes, self.bytes_max)
            self.bytes_max = min(max(tried_bytes // 2, BYTES_MIN), self._allowed_bytes)
            raise
        self.bytes_max = min(self.bytes_max + self.bytes_max // GROWTH, self._allowed_bytes)
