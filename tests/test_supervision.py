"""What systemd is told, and that no task ends unseen."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from teddy_edge.supervision import Notifier, TaskEnded, run_until_one_ends


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_over_its_socket(tmp_path: Path, abstract: bool) -> None:
    name = f"@{tmp_path}/notify" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name[1:] if abstract else name)
        Notifier({"NOTIFY_SOCKET": name}).notify("READY=1", "STATUS=awake")
        assert receiver.recv(100) == b"READY=1\nSTATUS=awake"


def test_without_systemd_nothing_is_told() -> None:
    Notifier({}).notify("READY=1")


async def test_the_watchdog_is_fed_twice_as_often_as_systemd_asks(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000"}
        notifier = Notifier(environ)
        assert notifier.watchdog_s == 0.01
        feeding = asyncio.create_task(notifier.keep_alive())
        loop = asyncio.get_running_loop()
        assert [await loop.sock_recv(receiver, 100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        feeding.cancel()


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_all_tasks_end_when_the_daemon_stops() -> None:
    stop = asyncio.Event()
    stop.set()
    await run_until_one_ends({"one": for_ever(), "two": for_ever()}, stop)
    assert len(asyncio.all_tasks()) == 1


async def test_the_error_of_a_task_stops_them_all() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await run_until_one_ends({"one": for_ever(), "two": fail()}, asyncio.Event())
    assert len(asyncio.all_tasks()) == 1


async def test_a_task_that_ends_by_itself_is_an_error_with_its_name() -> None:
    async def end() -> None:
        return

    with pytest.raises(TaskEnded, match="the task two ended"):
        await run_until_one_ends({"one": for_ever(), "two": end()}, asyncio.Event())
