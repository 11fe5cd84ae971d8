"""What each command of `teddy-edge fleet` does; gives its exit code."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Final

from pydantic import ValidationError

from teddy_edge.cli_actions import UsageError, fail, message_of, print_result, show
from teddy_edge.clock import NS_PER_S, SystemClock, new_id, rfc3339
from teddy_edge.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_UNAVAILABLE,
    LinkLost,
    LinkRefused,
    SinkUnusable,
    WireError,
)
from teddy_edge.events import cloud_event
from teddy_edge.fleet.receiver import BATCH_BYTES_MAX
from teddy_edge.fleet.receiver import receive as run_receiver
from teddy_edge.fleet.restamping import DatedRecord, dated
from teddy_edge.fleet.sending import ask_for_replay, send_command
from teddy_edge.fleet.sinks import SentCommand
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.local_client import Reply
from teddy_edge.messages import CommandEnvelope, rejection_of
from teddy_edge.settings import BrokerSettings
from teddy_edge.terminal import printable

PASSWORD_VARIABLE: Final = "TEDDY_FLEET_PASSWORD"  # noqa: S105 (its name)
ASK_WAIT_S: Final = 10.0
BACKOFF_S: Final = (0.2, 5.0)


def receive(arguments: argparse.Namespace) -> int:
    """Receive until SIGTERM or Ctrl-C, which is a good end."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    bytes_max = arguments.batch_bytes_max or BATCH_BYTES_MAX
    sizes = {"packet_bytes_max": bytes_max, "held_bytes_max": 4 * bytes_max}
    broker = _broker(arguments, **sizes)
    return _work(
        arguments, lambda: asyncio.run(run_receiver(broker, arguments.database, bytes_max))
    )


def send(arguments: argparse.Namespace) -> int:
    """Send a command and show its result."""
    _say_warnings()
    broker, command = _broker(arguments), _command(arguments)

    def work() -> int:
        with closing(SqliteSink(arguments.database)) as sink:
            result = asyncio.run(send_command(sink, broker, SystemClock(), command, arguments.wait))
        if result is None:
            return fail(
                f"no result within {arguments.wait:g} s; {_kept(command)}", EXIT_UNAVAILABLE
            )
        reply = Reply(200 if result.success else 409, result.model_dump(mode="json"))
        return show(reply, arguments, print_result)

    return _work(arguments, work, _kept(command))


def replay(arguments: argparse.Namespace) -> int:
    """Ask a bear for its events again."""
    _say_warnings()
    broker, bear = _broker(arguments), _bear(arguments)
    if arguments.from_seq < 1:
        raise UsageError("--from should be a sequence number, 1 or more")

    def work() -> int:
        with closing(SqliteSink(arguments.database)) as sink:
            position = sink.newest(bear)
        if position is None:
            return fail(f"{arguments.database} knows no events of {bear}", EXIT_FAILED)
        asking = ask_for_replay(broker, bear, position.epoch, arguments.from_seq, ASK_WAIT_S)
        asyncio.run(asking)
        asked = f"{bear} was asked to send again from event {arguments.from_seq} on"
        print(f"{asked}, as far as its log goes")
        return EXIT_OK

    return _work(arguments, work)


def events(arguments: argparse.Namespace) -> int:
    """List what a bear has sent, with the times that became known later."""
    bear = _bear(arguments)

    def work() -> int:
        with closing(SqliteSink(arguments.database)) as sink:
            position = sink.newest(bear)
            if position is None:
                return fail(f"{arguments.database} knows no events of {bear}", EXIT_FAILED)
            epoch = arguments.epoch or position.epoch
            for event in dated(lambda: sink.records(bear, epoch)):
                if event.record.seq >= arguments.from_seq:
                    print(_event_text(event, bear, arguments))
        return EXIT_OK

    return _work(arguments, work)


def _event_text(event: DatedRecord, bear: str, arguments: argparse.Namespace) -> str:
    record, corrected_ns = event.record, event.corrected_wall_ns
    if not (arguments.json or arguments.data):
        clock = record.trust.value if corrected_ns is None else "dated"
        time = rfc3339(record.wall_ns if corrected_ns is None else corrected_ns)
        return printable(f"{record.seq:>8}  {time}  {clock:<8}  {record.type:<20}  {record.stream}")
    found = cloud_event(record, bear)
    found["datedtime"] = None if corrected_ns is None else rfc3339(corrected_ns)
    if not arguments.data:
        del found["data"]
    return json.dumps(found, ensure_ascii=False)


def _work(arguments: argparse.Namespace, work: Callable[[], int | None], kept: str = "") -> int:
    """Do it, and say in one sentence why it could not be done."""
    also = f"; {kept}" if kept else ""
    try:
        return work() or EXIT_OK
    except (SinkUnusable, WireError) as error:
        return fail(str(error), EXIT_FAILED)
    except sqlite3.Error as error:
        return fail(f"{arguments.database} cannot be used: {error}", EXIT_FAILED)
    except LinkRefused as error:
        return fail(f"{error}{also}", EXIT_FAILED)
    except LinkLost as error:
        return fail(f"{error}{also}", EXIT_UNAVAILABLE)


def _kept(command: SentCommand) -> str:
    return f"command {command.id} is kept, and `fleet receive` sends it again"


def _say_warnings() -> None:
    logging.basicConfig(level=logging.WARNING, format="teddy-edge: %(message)s")


def _broker(arguments: argparse.Namespace, **changes: int) -> BrokerSettings:
    """Make the broker's settings; raises `UsageError` where an option is wrong."""
    names = ("host", "port", "username", "tls", "ca_file", "certificate_file", "key_file")
    given = {name: getattr(arguments, name) for name in names}
    password = {"password": os.environ.get(PASSWORD_VARIABLE)}
    backoff = {"backoff_s_min": BACKOFF_S[0], "backoff_s_max": BACKOFF_S[1]}
    try:
        return BrokerSettings(**given, **password, **backoff, **changes)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = str(problem["loc"][0])
        option = name if name in names else "batch_bytes_max"
        accepted = BrokerSettings.model_fields[name].description or problem["msg"]
        raise UsageError(f"--{option.replace('_', '-')}: accepted: {accepted}") from None


def _bear(arguments: argparse.Namespace) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", arguments.bear):
        raise UsageError("BEAR should be a bear's id: 1 to 64 letters, digits, _ or -")
    bear: str = arguments.bear
    return bear


def _command(arguments: argparse.Namespace) -> SentCommand:
    """Make the command as it is published; raises `UsageError` where it would be none."""
    clock = SystemClock()
    now_ns = clock.wall_ns()
    envelope = {
        "id": str(arguments.id or new_id(clock)),
        "name": arguments.name,
        **message_of(arguments),
        "issued_at": rfc3339(now_ns),
        "expires_at": rfc3339(now_ns + round(arguments.expires_in * NS_PER_S)),
        "correlation_id": arguments.correlation_id,
    }
    try:
        read = CommandEnvelope.model_validate(envelope)
    except ValidationError as error:
        raise UsageError(rejection_of(error, CommandEnvelope).message) from None
    payload = json.dumps(envelope, ensure_ascii=False).encode()
    return SentCommand(_bear(arguments), read.id, read.name, payload)
