"""How much goes in one batch, on a link that may end before a large one is through.

A link may be too slow for a batch of 128 KiB, or never up for long enough, and a broker may end the
connection on one that is over a limit which it does not tell. The same batch would meet the same
end for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from teddy_edge.errors import LinkLost

BYTES_MIN: Final = 1024
GROWTH: Final = 8
"""Each batch that is through makes the next one larger by such a part: twice as large after six."""
SLOW_GROWTH: Final = 64
"""Near the size that a connection last ended on, so that a limit which is still there costs a
connection now and then, and not each time."""


class BatchSize:
    """Half of what a connection ended on; then, with each batch that is through, a little more.

    A connection that ends on a small batch says nothing of the size.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        """The most that the next batch may hold, in bytes of records."""
        self._allowed_bytes = bytes_max
        self._failed_bytes = 2 * bytes_max

    @contextmanager
    def learned_from(self, batch_bytes: int) -> Iterator[None]:
        """Enter while a batch of so many bytes is published."""
        try:
            yield
        except (LinkLost, asyncio.CancelledError):  # whoever hears first of the connection's end
            if batch_bytes > BYTES_MIN:
                self._failed_bytes = min(batch_bytes, self.bytes_max)
                self.bytes_max = max(self._failed_bytes // 2, BYTES_MIN)
            raise
        is_near = self.bytes_max >= self._failed_bytes * 3 // 4
        more_bytes = self.bytes_max // (SLOW_GROWTH if is_near else GROWTH)
        self.bytes_max = min(self.bytes_max + more_bytes, self._allowed_bytes)
