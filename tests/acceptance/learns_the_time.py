"""The real daemon on a machine that starts fifty years ago, until a file named SYNCED exists.

python -m tests.acceptance.learns_the_time SYNCED
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from teddy_edge import cli
from teddy_edge.clock import NS_PER_S, SystemClock

YEARS_50_NS = 50 * 365 * 24 * 3600 * NS_PER_S


def main(synced: Path) -> int:
    """Stand in for the kernel and its time server, and run the daemon.

    Both tell by the same look at the file: it may go between two of them.
    """
    right_ns = time.time_ns
    knows = False

    def kernel_knows(self: SystemClock) -> bool:
        nonlocal knows
        knows = synced.exists()
        return knows

    SystemClock._kernel_knows = kernel_knows  # type: ignore[method-assign]
    time.time_ns = lambda: right_ns() - (0 if knows else YEARS_50_NS)
    return cli.main(["run", "--simulate"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
