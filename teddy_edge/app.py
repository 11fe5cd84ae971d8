"""The daemon: every part is built here, in one function, and every task has a name and an owner."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

from teddy_edge import __version__
from teddy_edge.assembly import Assembly, assembled, health
from teddy_edge.clock import Clock, SystemClock
from teddy_edge.commands import Journal
from teddy_edge.errors import (
    EXIT_CONFIG,
    EXIT_FORMAT,
    EXIT_IO,
    EXIT_LOCKED,
    EXIT_OK,
    EXIT_SOFTWARE,
    LogFormatUnsupported,
    LogLocked,
    LogOverloaded,
    LogPoisoned,
    PinsUnavailable,
    SettingsError,
)
from teddy_edge.eventlog import READ_BYTES_MAX, READ_RECORDS_MAX
from teddy_edge.events import BearStarted, cloud_event, decode_record
from teddy_edge.inputs.api import LocalApi
from teddy_edge.inputs.gpio import Buttons, SimulatedPins
from teddy_edge.inputs.mqtt import MqttInput
from teddy_edge.mqtt_link import MqttLink
from teddy_edge.projections import Rebuilding
from teddy_edge.settings import Settings
from teddy_edge.supervision import Notifier, run_until_one_ends
from teddy_edge.sync import Upstream
from teddy_edge.topics import Topics

logger = logging.getLogger("teddy_edge.app")

EXIT_CODES: dict[type[BaseException], int] = {
    LogPoisoned: EXIT_IO,
    OSError: EXIT_IO,
    LogLocked: EXIT_LOCKED,
    LogFormatUnsupported: EXIT_FORMAT,
    SettingsError: EXIT_CONFIG,
    PinsUnavailable: EXIT_CONFIG,
    Exception: EXIT_SOFTWARE,
    asyncio.CancelledError: EXIT_SOFTWARE,
}
"""How the daemon's death is told to systemd; the first that fits counts."""

EXITS_TRACED = (EXIT_IO, EXIT_SOFTWARE)
"""A defect and a failed card are looked for in the code; all else is said in one sentence."""


def run(settings: Settings, *, simulate: bool) -> int:
    """Run the daemon until SIGTERM or SIGINT; gives the exit code.

    `simulate` replaces the pins with simulated ones that `teddy-edge press` presses.
    """
    os.umask(0o077)
    try:
        asyncio.run(_run(settings, simulate=simulate))
    except tuple(EXIT_CODES) as error:
        exit_code = next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
        what = str(error) or type(error).__name__
        logger.critical("the daemon stops: %s", what, exc_info=exit_code in EXITS_TRACED)
        return exit_code
    return EXIT_OK


async def _run(settings: Settings, *, simulate: bool) -> None:
    if not simulate:  # lgpio makes a FIFO where it starts; the service says where
        os.environ.setdefault("LG_WD", str(settings.data_directory.absolute()))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    await serve(settings, SystemClock(), stop, simulate=simulate)


async def serve(settings: Settings, clock: Clock, stop: asyncio.Event, *, simulate: bool) -> None:
    """Build the parts, bring their states up to the log, and run them until `stop` is set."""
    topics = Topics(settings.bear)
    notifier = Notifier()
    async with notifier.starting(), assembled(settings, clock) as core:
        log, commands, queries = core.log, core.commands, core.queries
        upstream = Upstream(
            log,
            core.cursor,
            core.read_models,
            topics,
            settings.sync,
            clock,
            finished=core.journal.finished_last,
        )
        inbox = MqttInput(commands, queries, topics, settings, clock)
        link = MqttLink(
            settings.broker,
            f"teddy-{settings.bear}",
            subscriptions=[*inbox.subscriptions(), *upstream.subscriptions()],
            sessions=upstream.sessions(),
            will=upstream.will,
        )
        buttons = Buttons(settings.buttons, settings.bear, commands, clock, simulate=simulate)
        rebuilding = Rebuilding(core.read_models, clock)
        view = View(core, clock, link, rebuilding, upstream)
        pins = SimulatedPins(buttons) if simulate else None
        api = LocalApi(settings, commands, queries, view, pins, clock)
        gc.freeze()  # what is there by now stays: no collection need look at it again
        await _note_start(core.journal)
        tasks = {
            **core.work(),
            "rebuilding": rebuilding.run(),
            "buttons": buttons.run(),
            "link": link.run(),
            "api": api.run(),
            "readiness": _say_ready(notifier, api, buttons),
        }
        await run_until_one_ends(tasks, stop, stopping=lambda: notifier.notify("STOPPING=1"))


async def _note_start(journal: Journal) -> None:
    """Record the start; on a full card, which keeps room for what is essential, only say it."""
    try:
        await journal.note(BearStarted(version=__version__))
    except LogOverloaded as error:
        logger.warning("the start is not recorded: %s", error)


async def _say_ready(notifier: Notifier, api: LocalApi, buttons: Buttons) -> None:
    await api.ready.wait()
    await buttons.ready.wait()
    notifier.say_ready()
    logger.info("ready")
    await notifier.keep_alive()


class View:
    """What the local API shows of the daemon as a whole (see `inputs.ports.BearView`)."""

    def __init__(
        self,
        core: Assembly,
        clock: Clock,
        link: MqttLink,
        rebuilding: Rebuilding,
        upstream: Upstream,
    ) -> None:
        self._core = core
        self._settings = core.settings
        self._log = core.log
        self._clock = clock
        self._link = link
        self._rebuilding = rebuilding
        self._upstream = upstream

    def status(self) -> dict[str, Any]:
        """Give the facts that `teddy-edge status` prints."""
        broker = self._settings.broker
        return {
            "bear": self._settings.bear,
            "version": __version__,
            "broker": {"host": broker.host, "port": broker.port, "connected": self._link.connected},
            "log": {
                "epoch": str(self._core.cursor.epoch),
                "last_seq": self._log.last_seq,
                "confirmed_seq": self._core.cursor.seq,
                "complete": self._log.report.complete,
            },
            "rebuild": self._rebuilding.state(),
            "clock_trust": self._clock.trust().value,
            "socket": str(self._settings.socket_path),
        }

    def health(self) -> dict[str, Any]:
        """Give what is measured now."""
        return {**health(self._core), "sync": self._upstream.counts()}

    def begin_rebuild(self) -> bool:
        """Build the read models anew in the background; False where that goes on already."""
        return self._rebuilding.begin()

    async def events(self, first_seq: int) -> AsyncIterator[dict[str, Any]]:
        """Give every event from `first_seq` on, then each new one."""
        seq = max(first_seq, self._log.first_seq)
        while True:
            await self._log.wait_beyond(seq - 1)
            last_seq = self._log.last_seq
            batch = await asyncio.to_thread(self._log.read, seq, READ_RECORDS_MAX, READ_BYTES_MAX)
            for stored in batch:
                record = decode_record(stored.seq, stored.data_class, stored.body)
                yield cloud_event(record, self._settings.bear)
            seq = batch[-1].seq + 1 if batch else last_seq + 1  # nothing: it is lost
