"""Where the local socket of a daemon lies, for the daemon and for who looks for it.

Apart from `settings`, so that the command line starts without what settings need.
"""

from __future__ import annotations

import os
from pathlib import Path

SOCKET_NAME = "api.sock"


def default_sockets() -> list[Path]:
    """Where a daemon's socket may lie, most likely first; the command line tries them in order.

    systemd gives `/run/teddy-edge` (also to root); a person has `$XDG_RUNTIME_DIR`, or a private
    folder in /tmp.
    """
    system = Path("/run/teddy-edge") / SOCKET_NAME
    private = Path(f"/tmp/teddy-edge-{os.getuid()}") / SOCKET_NAME  # noqa: S108 (mode 0700)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    users = [Path(runtime) / "teddy-edge" / SOCKET_NAME] if runtime else []
    if os.getuid() == 0 or "RUNTIME_DIRECTORY" in os.environ:
        return [system]
    return [*users, private, system]
