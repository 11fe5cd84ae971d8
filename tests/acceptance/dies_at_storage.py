"""The real daemon, which kills itself with SIGKILL at the next write or fsync after `armed` exists.

python -m tests.acceptance.dies_at_storage before_write|before_fsync|after_fsync ARMED
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from teddy_edge import cli


def dying(call: Callable[..., Any], armed: Path, *, before: bool) -> Callable[..., Any]:
    """Make a system call die before or after its work, once `armed` exists."""

    def die_if_armed() -> None:
        if armed.exists():
            armed.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def dying_call(*arguments: Any) -> Any:
        if before:
            die_if_armed()
        result = call(*arguments)
        if not before:
            die_if_armed()
        return result

    return dying_call


def main(moment: str, armed: Path) -> int:
    """Arm the call and run the daemon."""
    if moment == "before_write":
        os.pwrite = dying(os.pwrite, armed, before=True)
    else:
        os.fdatasync = dying(os.fdatasync, armed, before=moment == "before_fsync")
    return cli.main(["run", "--simulate"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
