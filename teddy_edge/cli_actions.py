"""What each command of the command line does; gives its exit code.

A client of the daemon must start fast, so what only the daemon needs is imported only by `run`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from teddy_edge.errors import EXIT_FAILED, EXIT_OK, EXIT_UNAVAILABLE, TeddyEdgeError
from teddy_edge.terminal import printable

if TYPE_CHECKING:
    from teddy_edge.local_client import LocalClient, Reply
    from teddy_edge.settings import Settings

EVENTS_SHOWN_FIRST = 10


class UsageError(TeddyEdgeError):
    """An argument is wrong in a way that argparse cannot see."""


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon until it is told to stop."""
    from teddy_edge import app, diagnostics  # noqa: PLC0415

    settings = _settings(arguments)
    diagnostics.configure(settings.diagnostics, sys.stderr)
    return app.run(settings, simulate=arguments.simulate)


def _settings(arguments: argparse.Namespace) -> Settings:
    from teddy_edge.settings import config_file, load_settings  # noqa: PLC0415

    settings = load_settings(config_file(arguments.config))
    if arguments.socket is None:
        return settings
    return settings.model_copy(update={"socket": arguments.socket})


def config_check(arguments: argparse.Namespace) -> int:
    """Say whether the configuration is correct; `SettingsError` where it is not."""
    settings = _settings(arguments)
    print(f"{_config_source(arguments)}: correct, for bear {settings.bear}")
    return EXIT_OK


def config_show(arguments: argparse.Namespace) -> int:
    """Print every setting in effect, passwords hidden."""
    tables = _settings(arguments).model_dump(mode="json")
    print(f"# {_config_source(arguments)}, and the environment")
    _print_toml({key: value for key, value in tables.items() if not isinstance(value, dict)})
    for name, table in tables.items():
        if isinstance(table, dict):
            print(f"\n[{name}]")
            _print_toml(table)
    return EXIT_OK


def _config_source(arguments: argparse.Namespace) -> str:
    from teddy_edge.settings import config_file  # noqa: PLC0415

    file = config_file(arguments.config)
    return "the defaults" if file is None else str(file)


def _print_toml(table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if value is None:
            print(f"# {key} is not set")
        elif isinstance(value, dict):
            pairs = ", ".join(f"{inner} = {json.dumps(given)}" for inner, given in value.items())
            print(f"{key} = {{ {pairs} }}")
        else:
            print(f"{key} = {json.dumps(value)}")


def client_of(arguments: argparse.Namespace) -> LocalClient:
    """Find the daemon; raises `DaemonUnreachable`."""
    from teddy_edge.local_client import find_daemon  # noqa: PLC0415

    return find_daemon(arguments.socket)


def status(arguments: argparse.Namespace) -> int:
    """Show how the daemon is."""
    return show(client_of(arguments).status(), arguments, _print_status)


def _print_status(body: Mapping[str, Any]) -> None:
    broker, log = body["broker"], body["log"]
    connected = "connected" if broker["connected"] else "not connected"
    unconfirmed = log["last_seq"] - log["confirmed_seq"]
    print(f"bear    {body['bear']}, teddy-edge {body['version']}")
    print(f"socket  {body['socket']}")
    print(f"broker  {broker['host']}:{broker['port']}, {connected}")
    print(f"log     {log['last_seq']} events recorded, {unconfirmed} not yet confirmed upstream")
    if not log["complete"]:
        print("        some events are lost; `teddy-edge log verify` lists what is damaged now")
    print(f"epoch   {log['epoch']}")
    print(f"clock   {body['clock_trust']}")
    if body["rebuild"]["is_running"]:
        print(f"rebuild {body['rebuild']['position']} of {body['rebuild']['last_seq']} events")


def press(arguments: argparse.Namespace) -> int:
    """Press a simulated button."""
    return show(
        client_of(arguments).press(arguments.button),
        arguments,
        lambda body: print(f"{body['button']} was pressed, and recorded by event {body['seq']}"),
    )


def send(arguments: argparse.Namespace) -> int:
    """Send a command and show its result."""
    body = message_of(arguments)
    if arguments.id is not None:
        body["id"] = arguments.id
    if arguments.correlation_id is not None:
        body["correlation_id"] = arguments.correlation_id
    return show(client_of(arguments).command(arguments.name, body), arguments, print_result)


def print_result(body: Mapping[str, Any]) -> None:
    """Print how a command ended."""
    again = " (it was done before; this is the same result again)" if body["duplicate"] else ""
    print(f"{body['status']}: {body['name']}, event {body['seq']}{again}")
    if body["data"]:
        _print_data(body["data"])


def query(arguments: argparse.Namespace) -> int:
    """Ask a question and show the answer."""
    reply = client_of(arguments).query(arguments.name, message_of(arguments))
    return show(reply, arguments, _print_answer)


def _print_answer(body: Mapping[str, Any]) -> None:
    _print_data(body["data"])
    because = body["incomplete_because"] or "a part of the history is missing"
    complete = "" if body["complete"] else f"; incomplete: {because}"
    print(f"as of event {body['seq']}, {body['age_s']:.1f} s behind{complete}", file=sys.stderr)


def _print_data(data: Any) -> None:
    for line in json.dumps(data, indent=2, ensure_ascii=False).split("\n"):
        print(printable(line))


def message_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read what is to be sent, and who sends it, from the arguments."""
    message: dict[str, Any] = {"data": _data(arguments.data)}
    if arguments.actor is not None:
        role, colon, actor_id = arguments.actor.partition(":")
        if not (role and colon and actor_id):
            raise UsageError("--actor should be ROLE:ID, as in parent:parent-1")
        message["actor"] = {"id": actor_id, "role": role}
    return message


def _data(argument: str | None) -> dict[str, Any]:
    if argument is None:
        return {}
    try:
        text = sys.stdin.read() if argument == "-" else argument
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(_position(error)) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"JSON cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise UsageError('JSON should be an object, as in {"name": "Emma", "age": 7}')
    return data


def _position(error: json.JSONDecodeError) -> str:
    line = error.doc.split("\n")[error.lineno - 1]
    start = max(0, error.colno - 40)
    pointer = " " * (error.colno - 1 - start) + "^"
    place = f"line {error.lineno} column {error.colno}"
    excerpt = printable(line[start : start + 76])
    return f"JSON is malformed at {place}: {error.msg}\n  {excerpt}\n  {pointer}"


def tail(arguments: argparse.Namespace) -> int:
    """Show events until Ctrl-C, which is a good end."""
    from teddy_edge.local_client import RequestRefused  # noqa: PLC0415

    client = client_of(arguments)
    try:
        for event in client.events(arguments.first_seq or _recent(client)):
            print(json.dumps(event) if arguments.json else _event_line(event), flush=True)
    except RequestRefused as refused:
        return show(refused.reply, arguments, print)
    except KeyboardInterrupt:
        return EXIT_OK
    return fail("the daemon has stopped", EXIT_UNAVAILABLE)


def _recent(client: LocalClient) -> int:
    from teddy_edge.local_client import RequestRefused  # noqa: PLC0415

    reply = client.status()
    if not reply.ok:
        raise RequestRefused(reply)
    last_seq: int = reply.body["log"]["last_seq"]
    return max(1, last_seq - EVENTS_SHOWN_FIRST + 1)


def _event_line(event: Mapping[str, Any]) -> str:
    from datetime import datetime  # noqa: PLC0415

    local = datetime.fromisoformat(event["time"]).astimezone()
    columns = f"{event['seq']:>6}  {local:%Y-%m-%d %H:%M:%S}  {event['type']:<20}"
    return printable(f"{columns}  {event['subject']:<28}  clock {event['clocktrust']}")


def show(
    reply: Reply, arguments: argparse.Namespace, tell: Callable[[Mapping[str, Any]], None]
) -> int:
    """Print what the daemon replied, or why it refused; gives the exit code."""
    if arguments.json:
        print(json.dumps(reply.body))
    elif reply.ok:
        tell(reply.body)
    else:
        return fail(_reason(reply.body), EXIT_FAILED)
    return EXIT_OK if reply.ok else EXIT_FAILED


def _reason(body: Mapping[str, Any]) -> str:
    error = body["error"]
    field = f" (field {error['field']})" if error["field"] else ""
    return f"{body.get('status', 'refused')}: {error['message']}{field} [{error['code']}]"


def fail(message: str, code: int) -> int:
    """Say on stderr what went wrong; gives the exit code back."""
    for line in message.split("\n"):
        print(printable(line) if line.startswith(" ") else f"teddy-edge: {printable(line)}",
              file=sys.stderr)  # fmt: skip
    return code
