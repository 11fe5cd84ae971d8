"""`teddy-edge fleet`: the cloud's end, for a test stand, a small fleet, or as an example."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import UUID

EXPIRES_IN_S: Final = 24 * 3600
WAIT_S: Final = 10.0
SECONDS_MAX: Final = 10 * 365 * 24 * 3600

FLEET_EPILOG = """\
The bears and these commands meet at an MQTT 5 broker. What was received, and each command until its
end, is kept in one SQLite file, which several of these commands may use at a time.

examples:
  teddy-edge fleet receive --database fleet.db
  teddy-edge fleet send bear-001 register_child --database fleet.db --actor parent:parent-1 \\
      '{"parent_id": "parent-1", "device_id": "device-1", "name": "Emma", "age": 7, "udid": "u-1"}'
  teddy-edge fleet replay bear-001 --from 1 --database fleet.db
  teddy-edge fleet events bear-001 --database fleet.db

The broker's password is read from the variable TEDDY_FLEET_PASSWORD.

exit codes:
  0   done
  1   the bear refused it, or the file or the broker did
  64  the command line is wrong
  69  no answer yet
"""

RECEIVE_EPILOG = """\
Stores every event of every bear once and in order, confirms it to the bear when it is on the disk,
asks for what is missing, and follows commands to their ends. Says what happens on stderr, until
SIGTERM or Ctrl-C. Where the broker is away it waits for it.

The file's tables: records (each event), series (how far each bear's log is stored), urgent (safety
events that passed the others and are not yet there in order), lost (what a bear has no more),
too_large (what the broker did not take), apart (events whose numbers stand for others), commands.

examples:
  teddy-edge fleet receive --database fleet.db --host broker.example --port 8883 --tls
  sqlite3 fleet.db 'SELECT bear, last_seq FROM series WHERE is_current'
"""

SEND_EPILOG = """\
The command is kept in the file before it is sent. Where its result does not come within --wait, the
exit code is 69, and `fleet receive` with the same file sends it again until the bear says how it
ended: done, rejected or, after --expires-in, expired. Sent again with the same --id it has one
effect and gives the same result again.

examples:
  teddy-edge fleet send bear-001 register_child --database fleet.db --actor parent:parent-1 \\
      '{"parent_id": "parent-1", "device_id": "device-1", "name": "Emma", "age": 7, "udid": "u-1"}'
  teddy-edge fleet send bear-001 report_safety_violation --database fleet.db \\
      --actor parent:parent-1 - --json < violation.json
"""

REPLAY_EPILOG = """\
The bear sends its events again, from the number given to the end, as far as it still has them. What
is stored is not stored twice: it is compared, and what is another event under the same number is
kept apart. The bear takes a few such requests a minute, and refuses others.

example:
  teddy-edge fleet replay bear-001 --from 1 --database fleet.db
"""


EVENTS_EPILOG = """\
One event on each line, in order, read from the file; no bear and no broker is asked. What a bear
recorded before it knew the time has the time that it turned out to be, by what the bear knew later
in the same boot, and is marked "dated". Where it never knew, the time is what its clock showed.

examples:
  teddy-edge fleet events bear-001 --database fleet.db
  teddy-edge fleet events bear-001 --database fleet.db --from 1000 --json
"""


def add_commands(commands: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `fleet` and what it does; `add` makes a parser as the others are."""
    fleet = add(commands, "fleet", None, "be the cloud's end of the bears' protocol", FLEET_EPILOG)
    actions = fleet.add_subparsers(metavar="ACTION", required=True)
    receiving = add(actions, "receive", _receive, "receive what bears send", RECEIVE_EPILOG)
    sending = add(
        actions, "send", _send, "send a command to a bear and show its result", SEND_EPILOG
    )
    replaying = add(actions, "replay", _replay, "ask a bear for its events again", REPLAY_EPILOG)
    listing = add(actions, "events", _events, "list what a bear has sent", EVENTS_EPILOG)
    receiving.add_argument(
        "--batch-bytes-max",
        type=int,
        metavar="BYTES",
        help="of one batch, unpacked (default: 4 MiB)",
    )
    for parser in (sending, replaying, listing):
        parser.add_argument("bear", metavar="BEAR", help="its id, as in bear-001")
    _add_command(sending)
    replaying.add_argument(
        "--from", dest="from_seq", type=int, required=True, metavar="N", help="the first number"
    )
    _add_listing(listing)
    for parser in (receiving, sending, replaying):
        _add_broker(parser)
    for parser in (receiving, sending, replaying, listing):
        parser.add_argument("--database", type=Path, required=True, help="the SQLite file")


def _add_command(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="its name, as in register_child")
    parser.add_argument("data", metavar="JSON", nargs="?", help="its data; - reads stdin")
    parser.add_argument("--actor", metavar="ROLE:ID", required=True, help="who sends it")
    parser.add_argument("--id", type=UUID, metavar="UUID", help="its id (default: a new one)")
    parser.add_argument("--correlation-id", metavar="ID", help="goes with all that comes of it")
    parser.add_argument(
        "--expires-in", type=_seconds, default=EXPIRES_IN_S, metavar="S",
        help="seconds after which the bear must not execute it any more (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--wait", type=_seconds, default=WAIT_S, metavar="S",
        help="seconds to wait for its result (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _add_listing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="from_seq", type=int, default=1, metavar="N",
        help="the first number (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--epoch", type=UUID, metavar="UUID", help="of an earlier series (default: the newest)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--data", action="store_true", help="print JSON with all that is said")


def _add_broker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="localhost", help="the broker (default: %(default)s)")
    parser.add_argument("--port", type=int, default=1883, help="its port (default: %(default)s)")
    parser.add_argument("--username", help="who we are to it")
    parser.add_argument("--tls", action="store_true", help="encrypt, and check its certificate")
    for name, what in (
        ("--ca-file", "the certificates that its own is checked against"),
        ("--certificate-file", "our certificate (PEM)"),
        ("--key-file", "the key of our certificate (PEM)"),
    ):
        parser.add_argument(name, type=Path, metavar="FILE", help=what)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"a number from 0 to {SECONDS_MAX} was expected")
    return seconds


# What is done is imported when it is done: help should be there at once.


def _receive(arguments: argparse.Namespace) -> int:
    from teddy_edge import cli_fleet_actions  # noqa: PLC0415

    return cli_fleet_actions.receive(arguments)


def _send(arguments: argparse.Namespace) -> int:
    from teddy_edge import cli_fleet_actions  # noqa: PLC0415

    return cli_fleet_actions.send(arguments)


def _replay(arguments: argparse.Namespace) -> int:
    from teddy_edge import cli_fleet_actions  # noqa: PLC0415

    return cli_fleet_actions.replay(arguments)


def _events(arguments: argparse.Namespace) -> int:
    from teddy_edge import cli_fleet_actions  # noqa: PLC0415

    return cli_fleet_actions.events(arguments)
