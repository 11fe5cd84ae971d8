"""What `teddy-edge rebuild` does: it asks the daemon, and shows how far it is."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from teddy_edge.cli_actions import client_of, fail, show
from teddy_edge.errors import EXIT_FAILED, EXIT_OK
from teddy_edge.progress import Bar

if TYPE_CHECKING:
    from teddy_edge.local_client import LocalClient

POLL_S: Final = 0.1

Progress = Callable[[int, int], None]


def rebuild(arguments: argparse.Namespace) -> int:
    """Have the daemon build the read models anew, and wait until it has."""
    client = client_of(arguments)
    begun = client.rebuild()
    if not begun.ok:
        return show(begun, arguments, print)
    with _shown(sys.stderr.isatty()) as progress:
        end = _end_of(client, progress)
    return _tell(end, arguments)


def _end_of(client: LocalClient, progress: Progress) -> dict[str, Any]:
    """Wait until the rebuild has ended; raises `DaemonUnreachable` where the daemon ended first."""
    while True:
        state: dict[str, Any] = client.status().body["rebuild"]
        if not state["is_running"]:
            return state
        progress(state["position"], max(1, state["last_seq"]))
        time.sleep(POLL_S)


@contextlib.contextmanager
def _shown(is_terminal: bool) -> Iterator[Progress]:
    bar = Bar(sys.stderr)
    try:
        yield bar.show if is_terminal else lambda _, __: None
    finally:
        bar.clear()


def _tell(end: dict[str, Any], arguments: argparse.Namespace) -> int:
    failed_because = end["failed_because"]
    if arguments.json:
        print(json.dumps({key: end[key] for key in ("position", "took_s", "failed_because")}))
    elif failed_because is None:
        print(f"the read models were built anew from {end['position']} events, {end['took_s']} s")
    else:
        return fail(f"the read models were not rebuilt: {failed_because}", EXIT_FAILED)
    return EXIT_OK if failed_because is None else EXIT_FAILED
