"""The command line: what it accepts, and how it ends.

What it does is in `cli_actions`, `cli_log`, `cli_rebuild` and `cli_fleet_actions`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from teddy_edge import __version__, cli_actions, cli_fleet, cli_log, cli_rebuild
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
  teddy-edge rebuild                             what is known of the children, from the log
  teddy-edge fleet receive --database fleet.db   the cloud's end: `teddy-edge fleet --help`
  teddy-edge log verify                          whether the log is whole; needs no daemon

The daemon is found by --socket, else TEDDY_EDGE_SOCKET, else where the service and
`run` put its socket.

exit codes:
  0   done
  1   the daemon refused it, or it failed
  64  the command line is wrong
  69  no daemon answers
  78  the configuration is wrong
`run` has more, for systemd: 70 a part died, 74 the card failed, 75 another daemon has the
log open, 76 the log was written by a newer version. `log` has its own: see `log --help`.
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

REBUILD_EPILOG = """\
What queries are answered from is a function of the log: this builds it anew, in the background,
while the bear goes on. Interrupted, it goes on too; `teddy-edge status` shows how far it is. One
runs at a time: a second one is refused (exit code 1).

--json prints one object at the end: {position took_s failed_because}
"""

LOG_EPILOG = """\
Reads the log's files, also while the daemon writes them, or a copy on another machine; takes no
lock and changes nothing. What is being written at the end, or was torn by a power cut, is no
damage: the next start cuts it. DIRECTORY is the one of the configuration if none is given.

exit codes:
  0   what was read is whole
  1   damage was found; each place is named with its segment, its offset and what is lost
  2   the directory holds no log
  74  the files cannot be read
  76  a newer version wrote the log; it is not damaged
"""

DUMP_EPILOG = """\
A line is: sequence number, data class, bytes of the body, time, trust in the clock, type, subject.
What an event says about a child is shown only with --data. A jump in the numbers is a loss, and is
named on stderr.

--json prints an object on each line, a CloudEvent without its data; --data the same with data:
  specversion id source type dataschema subject time seq dataclass clocktrust bootid monotonicns
  correlationid causationid actor actorrole data
Binary values are in hexadecimal. source is teddy/BEAR; for a DIRECTORY without --config it is
teddy/log-EPOCH. A body that cannot be read gives {seq, dataclass, unreadable: BYTES}.

exit codes: as in `teddy-edge log --help`

examples:
  teddy-edge log dump --from 100 --to 199
  teddy-edge log dump --data /mnt/card/log | jq .data
"""

VERIFY_EPILOG = """\
Every checksum and every chain value is computed again, within segments and from one to the next,
and every number must be there.

--json prints one object:
  directory epoch whole segments records first_seq last_seq
  removed      how many records retention took out after they were confirmed
  defects      a list of {kind, segment, offset, bytes, first_seq, last_seq}; the numbers are those
               lost (for altered: changed), or null
  unfinished   null, or {segment, offset, bytes}: the end is being written, or torn
  kept_aside   a list of {file, bytes}: what earlier starts cut off or set aside
kind is one of
  origin   the file origin, named as the segment, is missing or damaged; nothing is lost by that
  header   a segment's header is damaged; nothing is lost by that
  bytes    bytes between records are no record
  end      a finished segment breaks off
  altered  a sound record does not continue from the one before it: someone changed it
  cut_out  records are missing with their bytes: dropped by the budget, set aside by an earlier
           start, or taken out by someone
  missing  no segment holds these numbers
  foreign  a segment is no part of this log, or nothing in it can be read
  unreadable  what is named like a segment, or like what was set aside, is no regular file, or is
           larger than any

exit codes: as in `teddy-edge log --help`
"""

STATS_EPILOG = """\
--json prints one object:
  directory epoch whole segments records bytes bytes_per_record first_seq last_seq first_time
  last_time    null where there are no records
  classes      for each data class: {records, bytes}; bytes of the bodies, while the bytes above
               are those of the files

exit codes: as in `teddy-edge log --help`; damage is named on stderr
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
    """Parse; JSON or a directory may stand behind options too, where argparse would not look."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    is_positional = len(rest) == 1 and (rest[0] == "-" or not rest[0].startswith("-"))
    if is_positional and vars(arguments).get("data", "") is None:
        arguments.data = rest.pop()
    elif is_positional and vars(arguments).get("directory", "") is None:
        arguments.directory = Path(rest.pop())
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
    _add_log_commands(commands)
    cli_fleet.add_commands(commands, _add)
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
    _add_message(send, "register_child")
    send.add_argument("--id", metavar="UUID", help="the command's id (default: a new one)")
    send.add_argument("--correlation-id", metavar="ID", help="goes with all that comes of it")
    query = _add(
        commands, "query", cli_actions.query, "ask a question and show the answer", QUERY_EPILOG
    )
    _add_message(query, "get_child_profile")
    tail = _add(commands, "tail", cli_actions.tail, "show events as they are recorded", TAIL_EPILOG)
    tail.add_argument(
        "--from", dest="first_seq", type=_seq, metavar="N",
        help=f"the first sequence number (default: the last {EVENTS_SHOWN_FIRST} events)",
    )  # fmt: skip
    rebuild = _add(
        commands, "rebuild", cli_rebuild.rebuild, "build the read models anew", REBUILD_EPILOG
    )
    for parser in (status, press, send, query, tail, rebuild):
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _add_log_commands(commands: Any) -> None:
    log = _add(commands, "log", None, "read the log's files, without the daemon", LOG_EPILOG)
    actions = log.add_subparsers(metavar="ACTION", required=True)
    dump = _add(actions, "dump", cli_log.dump, "print the records", DUMP_EPILOG)
    verify = _add(actions, "verify", cli_log.verify, "check every byte", VERIFY_EPILOG)
    stats = _add(actions, "stats", cli_log.stats, "say how much there is, of what", STATS_EPILOG)
    for parser in (dump, verify, stats):
        parser.add_argument(
            "directory", type=Path, nargs="?", metavar="DIRECTORY", help="where the log lies"
        )
        _add_config(parser)
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    dump.add_argument(
        "--data", dest="show_data", action="store_true", help="print JSON with all that is said"
    )
    for flag, name, help_text in (("--from", "first_seq", "first"), ("--to", "last_seq", "last")):
        dump.add_argument(
            flag, dest=name, type=_seq, metavar="N", help=f"the {help_text} sequence number"
        )


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


def _add_message(parser: Parser, example: str) -> None:
    parser.add_argument("name", metavar="NAME", help=f"its name, as in {example}")
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
