"""What a person in front of the playground reads: what runs, what to try, what happens."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from teddy_edge.clock import SystemClock, new_id, rfc3339
from teddy_edge.errors import DaemonUnreachable
from teddy_edge.local_client import LocalClient

START_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.2
INDENT: Final = " " * 8


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


async def status_once_up(client: LocalClient) -> dict[str, Any]:
    """Wait until the daemon answers, and give its status; else raise `DaemonUnreachable`."""
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
    while True:
        try:
            return (await asyncio.to_thread(client.status)).body
        except DaemonUnreachable:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(POLL_S)


def introduction(status: Mapping[str, Any], data: Path, logs: Sequence[Path]) -> str:
    """Tell what runs, and the lines to try in a second terminal."""
    bear, broker = status["bear"], status["broker"]
    clock = SystemClock()
    command_id = new_id(clock)
    child_id = uuid.uuid5(command_id, "child")  # as the bear makes it
    at = f"-V 5 -p {broker['port']}"
    register = {
        "id": str(command_id),
        "name": "register_child",
        "actor": {"id": "parent-1", "role": "parent"},
        "issued_at": rfc3339(clock.wall_ns()),
        "data": {
            "parent_id": "parent-1",
            "device_id": bear,
            "name": "Emma",
            "age": 6,
            "udid": str(command_id),
        },
    }
    results, state = f"-t 'teddy/v1/{bear}/result/+'", f"-t 'teddy/v1/{bear}/state/#'"
    command = f"-t teddy/v1/{bear}/command/register_child"
    lines = [
        f"{bear} is awake (teddy-edge {status['version']})",
        f"  broker  {broker['host']}:{broker['port']}",
        f"  socket  {status['socket']}",
        f"  data    {data}",
        f"  logs    {', '.join(map(str, logs))}",
        "",
        "Try, in a second terminal in this folder:",
        f"  {_program('teddy-edge')} press left_paw",
        f"  {_program('mosquitto_sub')} {at} -v {results} {state} &",
        f"  {_program('mosquitto_pub')} {at} -q 1 {command} -m '{json.dumps(register)}'",
        f'  {_program("teddy-edge")} query get_child_profile \'{{"child_id": "{child_id}"}}\'',
        "",
        "Ctrl-C stops everything. What happens:",
    ]
    return "\n".join(lines)


def _program(name: str) -> str:
    """How a person in this folder calls a program."""
    ours = Path(".venv/bin" if name == "teddy-edge" else ".tools/bin") / name
    return str(ours) if ours.exists() else name


async def follow(client: LocalClient, status: Mapping[str, Any]) -> None:
    """Print a line for each event and each change of the status, until the daemon is gone."""
    await asyncio.gather(
        asyncio.to_thread(_print_events, client, status["log"]["last_seq"]),
        _print_changes(client),
    )


def _print_events(client: LocalClient, first_seq: int) -> None:
    for event in client.events(first_seq):
        time = event["time"][11:19]
        say(f"{event['seq']:>6}  {time}  {event['type']:<20}  {event['subject']}")


async def _print_changes(client: LocalClient) -> None:
    online, confirmed_seq = True, 0
    while True:
        await asyncio.sleep(POLL_S)
        now = (await asyncio.to_thread(client.status)).body
        if now["broker"]["connected"] is not online:
            online = not online
            say(f"{INDENT}the bear is {'online' if online else 'offline'}")
        if now["log"]["confirmed_seq"] > confirmed_seq:
            confirmed_seq = now["log"]["confirmed_seq"]
            say(f"{INDENT}the cloud has stored all up to {confirmed_seq}")
