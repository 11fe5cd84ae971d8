"""The daemon: every part is built here, in one function, and every task has a name and an owner."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

from teddy_edge import __version__
from teddy_edge.clock import Clock, SystemClock
from teddy_edge.commands import (
    Aggregates,
    CommandBus,
    Journal,
    register_handlers,
    standard_middleware,
)
from teddy_edge.domain.bear import STREAM as BEAR_STREAM
from teddy_edge.errors import (
    EXIT_CONFIG,
    EXIT_FORMAT,
    EXIT_IO,
    EXIT_LOCKED,
    EXIT_OK,
    EXIT_SOFTWARE,
    LogFormatUnsupported,
    LogLocked,
    LogPoisoned,
    PinsUnavailable,
    SettingsError,
)
from teddy_edge.eventlog import Cursor, EventLog
from teddy_edge.events import BearStarted, cloud_event, decode_record
from teddy_edge.inputs.api import LocalApi
from teddy_edge.inputs.gpio import Buttons, SimulatedPins
from teddy_edge.inputs.mqtt import MqttInput
from teddy_edge.mqtt_link import MqttLink, Subscription
from teddy_edge.projections import (
    BearProjection,
    ChildProjection,
    ChildProjectionManager,
    ReadModelStore,
)
from teddy_edge.queries import GetBearStateHandler, GetChildProfileHandler, QueryBus
from teddy_edge.security import SenderPolicy
from teddy_edge.settings import Settings
from teddy_edge.supervision import Notifier, run_until_one_ends
from teddy_edge.sync import Presence, StatePublisher, Uplink
from teddy_edge.topics import Topics

logger = logging.getLogger("teddy_edge.app")

READ_RECORDS_MAX = 500
READ_BYTES_MAX = 1024 * 1024

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
    policy = SenderPolicy(allow_unsigned=settings.commands.allow_unsigned)
    notifier = Notifier()
    async with contextlib.AsyncExitStack() as stack:
        log = await _open_log(settings, stack)
        cursor = await asyncio.to_thread(Cursor.open, settings.cursor_file, log.epoch)
        journal, commands = await _write_side(settings, clock, log, policy)
        read_models, queries = await _read_side(settings, clock, log, policy, stack)
        uplink = Uplink(log, cursor, topics, settings.sync)
        state = StatePublisher(read_models, topics, settings.sync, clock)
        presence = Presence(topics, lambda: _facts(settings, log, clock))
        inbox = MqttInput(commands, queries, topics, settings)
        link = MqttLink(
            settings.broker,
            f"teddy-{settings.bear}",
            subscriptions=[
                *inbox.subscriptions(),
                Subscription(topics.confirmed, uplink.on_confirmed, ordered=True),
            ],
            sessions={"presence": presence.run, "uplink": uplink.run, "state": state.run},
            will=presence.will,
        )
        buttons = Buttons(settings.buttons, settings.bear, commands, clock, simulate=simulate)
        view = View(settings, clock, log, cursor, link)
        pins = SimulatedPins(buttons) if simulate else None
        api = LocalApi(settings, commands, queries, view, pins, clock)
        await journal.note(BearStarted(version=__version__), BEAR_STREAM)
        tasks = {
            "log": log.watch(),
            "read models": read_models.run(),
            "read model windows": read_models.write_in_windows(),
            "buttons": buttons.run(),
            "link": link.run(),
            "api": api.run(),
            "readiness": _say_ready(notifier, api, buttons),
        }
        await run_until_one_ends(tasks, stop)
        notifier.notify("STOPPING=1")


async def _open_log(settings: Settings, stack: contextlib.AsyncExitStack) -> EventLog:
    log = await asyncio.to_thread(EventLog.open, settings.log_directory, settings.log)
    log.start()
    stack.push_async_callback(_close_log, log)
    return log


async def _close_log(log: EventLog) -> None:
    """Close it; raises `LogPoisoned` where that, or anything before it, failed on the card."""
    await log.close()
    await log.watch()


async def _write_side(
    settings: Settings, clock: Clock, log: EventLog, policy: SenderPolicy
) -> tuple[Journal, CommandBus]:
    aggregates = Aggregates(settings.buttons.pins)
    journal = Journal(log, clock, aggregates.apply, settings.commands.finished_max)
    await asyncio.to_thread(_replay, log, journal)
    commands = CommandBus(journal, clock)
    commands.use(standard_middleware(commands.command_type, journal, clock, policy))
    register_handlers(commands, aggregates)
    return journal, commands


def _replay(log: EventLog, journal: Journal) -> None:
    seq = log.first_seq
    while seq <= log.last_seq:
        for stored in log.read(seq, READ_RECORDS_MAX, READ_BYTES_MAX):
            journal.replay(decode_record(stored.seq, stored.data_class, stored.body))
            seq = stored.seq + 1


async def _read_side(
    settings: Settings,
    clock: Clock,
    log: EventLog,
    policy: SenderPolicy,
    stack: contextlib.AsyncExitStack,
) -> tuple[ChildProjectionManager, QueryBus]:
    store = ReadModelStore(settings.read_models_directory, settings.projections.row_bytes_max)
    read_models = ChildProjectionManager(
        log, store, [BearProjection(), ChildProjection()], settings.projections, clock
    )
    await read_models.open()
    stack.push_async_callback(read_models.close)
    queries = QueryBus(
        read_models,
        lambda: log.last_seq,
        lambda: None if log.report.complete else "a part of the log is damaged",
        policy,
        settings.projections.answer_wait_s,
    )
    queries.register(GetChildProfileHandler(read_models))
    queries.register(GetBearStateHandler(read_models))
    return read_models, queries


async def _say_ready(notifier: Notifier, api: LocalApi, buttons: Buttons) -> None:
    await api.ready.wait()
    await buttons.ready.wait()
    notifier.notify("READY=1")
    logger.info("ready")
    await notifier.keep_alive()


def _facts(settings: Settings, log: EventLog, clock: Clock) -> dict[str, Any]:
    return {
        "bear": settings.bear,
        "version": __version__,
        "epoch": str(log.epoch),
        "last_seq": log.last_seq,
        "clock_trust": clock.trust().value,
    }


class View:
    """What the local API shows of the daemon as a whole (see `inputs.ports.BearView`)."""

    def __init__(
        self, settings: Settings, clock: Clock, log: EventLog, cursor: Cursor, link: MqttLink
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log
        self._cursor = cursor
        self._link = link

    def status(self) -> dict[str, Any]:
        """Give the facts that `teddy-edge status` prints."""
        broker = self._settings.broker
        return {
            "bear": self._settings.bear,
            "version": __version__,
            "broker": {"host": broker.host, "port": broker.port, "connected": self._link.connected},
            "log": {
                "epoch": str(self._log.epoch),
                "last_seq": self._log.last_seq,
                "confirmed_seq": self._cursor.seq,
                "complete": self._log.report.complete,
            },
            "clock_trust": self._clock.trust().value,
            "socket": str(self._settings.socket_path),
        }

    async def events(self, first_seq: int) -> AsyncIterator[dict[str, Any]]:
        """Give every event from `first_seq` on, then each new one."""
        seq = max(first_seq, self._log.first_seq)
        while True:
            await self._log.wait_beyond(seq - 1)
            batch = await asyncio.to_thread(self._log.read, seq, READ_RECORDS_MAX, READ_BYTES_MAX)
            for stored in batch:
                record = decode_record(stored.seq, stored.data_class, stored.body)
                yield cloud_event(record, self._settings.bear)
                seq = stored.seq + 1
