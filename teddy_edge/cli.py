"""The command line: what it accepts, and how it ends. What it does is in `cli_actions`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from teddy_edge import __version__, cli_actions
from teddy_edge.cli_actions import EVENTS_SHOWN_FIRST, UsageError, fail
from teddy_edge.errors import (
    EXIT_CONFIG,
    EXIT_OK,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    DaemonUnreachable,
    SettingsError,
)

EXIT_INTERRUPTED = 130

DESCRIPTION = "Teddy Edge: the daemon inside an AI teddy bear, and the means to talk to it."

EPILOG = """\
examples:
  teddy-edge run --simulate                      the daemon, with buttons that `press` presses
  teddy-edge status                              how it is, and what the cloud has confirmed
  teddy-edge press left_paw                      a paw is pressed
  teddy-edge send register_child --actor parent:parent-1 - < child.json
                                                 a command, its data from a file
  teddy-edge query get_bear_state                a question
  teddy-edge tail                                the last ten events, then each new one

The daemon is found by --socket, else TEDDY_EDGE_SOCKET, else where the service and
`run` put its socket.

exit codes:
  0   done
  1   the daemon refused it, or it failed
  64  the command line is wrong
  69  no daemon answers
  78  the configuration is wrong
`run` has more, for systemd: 70 a part died, 74 the card failed, 75 another daemon has the
log open, 76 the log was written by a newer version.
"""

SEND_EPILOG = """\
examples:
  teddy-edge send register_child --actor parent:parent-1 - < child.json
  teddy-edge send register_child --actor parent:parent-1 \\
      '{"parent_id": "parent-1", "device_id": "device-1", "name": "Emma", "age": 7, "udid": "u-1"}'

The command ends once: sent again with the same --id, it gives the same result again.
"""

QUERY_EPILOG = """\
examples:
  teddy-edge query get_bear_state
  teddy-edge query get_child_profile '{"child_id": "..."}' --actor parent:parent-1
"""

TAIL_EPILOG = """\
A line is: sequence number, local time, type, subject, trust in the clock. What an event says
about a child is shown only with --json.

examples:
  teddy-edge tail --from 1
  teddy-edge tail --json | jq .type
"""


class Parser(argparse.ArgumentParser):
    """Ends with the exit code that sysexits.h has for wrong usage; shows examples as written."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where help is."""
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\nTry: {self.prog} --help\n")


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; gives the exit code."""
    arguments = _parse(argv)
    act: Callable[[argparse.Namespace], int] = arguments.act
    try:
        code = act(arguments)
        sys.stdout.flush()
    except UsageError as error:
        return fail(str(error), EXIT_USAGE)
    except DaemonUnreachable as error:
        return fail(str(error), EXIT_UNAVAILABLE)
    except SettingsError as error:
        return fail(str(error), EXIT_CONFIG)
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return code


def _parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse; JSON may stand behind options too, where argparse would not look for it."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    is_data = len(rest) == 1 and (rest[0] == "-" or not rest[0].startswith("-"))
    if is_data and vars(arguments).get("data", "") is None:
        arguments.data = rest.pop()
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def _parser() -> Parser:
    parser = Parser(prog="teddy-edge", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"teddy-edge {__version__}")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="the daemon's socket")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_daemon_commands(commands)
    _add_client_commands(commands)
    return parser


def _add_daemon_commands(commands: Any) -> None:
    run = _add(commands, "run", cli_actions.run, "run the daemon")
    _add_config(run)
    run.add_argument("--simulate", action="store_true", help="simulate the pins: no GPIO is needed")
    config = _add(commands, "config", None, "check or show the configuration")
    actions = config.add_subparsers(metavar="ACTION", required=True)
    _add_config(
        _add(actions, "check", cli_actions.config_check, "say whether the configuration is correct")
    )
    _add_config(
        _add(actions, "show", cli_actions.config_show, "show every setting in effect, as TOML")
    )


def _add_client_commands(commands: Any) -> None:
    status = _add(commands, "status", cli_actions.status, "show how the daemon is")
    press = _add(commands, "press", cli_actions.press, "press a simulated button")
    press.add_argument("button", metavar="BUTTON", help="its name, as in left_paw")
    send = _add(
        commands, "send", cli_actions.send, "send a command and show its result", SEND_EPILOG
    )
    _add_message(send)
    send.add_argument("--id", metavar="UUID", help="the command's id (default: a new one)")
    send.add_argument("--correlation-id", metavar="ID", help="goes with all that comes of it")
    query = _add(
        commands, "query", cli_actions.query, "ask a question and show the answer", QUERY_EPILOG
    )
    _add_message(query)
    tail = _add(commands, "tail", cli_actions.tail, "show events as they are recorded", TAIL_EPILOG)
    tail.add_argument(
        "--from", dest="first_seq", type=_seq, metavar="N",
        help=f"the first sequence number (default: the last {EVENTS_SHOWN_FIRST} events)",
    )  # fmt: skip
    for parser in (status, press, send, query, tail):
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _add(
    commands: Any, name: str, act: Callable[..., int] | None, help_text: str, epilog: str = ""
) -> Parser:
    parser: Parser = commands.add_parser(
        name, help=help_text, description=f"{help_text.capitalize()}.", epilog=epilog
    )
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", default=argparse.SUPPRESS, help="the daemon's socket"
    )
    parser.set_defaults(act=act)
    return parser


def _add_config(parser: Parser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE",
        help="the TOML file (default: TEDDY_EDGE_CONFIG, else the system's)",
    )  # fmt: skip


def _add_message(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="its name, as in register_child")
    parser.add_argument(
        "data",
        metavar="JSON",
        nargs="?",
        help="its data, an object; - reads stdin",
    )
    parser.add_argument("--actor", metavar="ROLE:ID", help="who sends it (default: device:local)")


def _seq(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError("a sequence number is 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
