"""Every error of the daemon, in one tree. Nothing here imports anything of ours.

The command line adds two of its own: `UsageError` and `RequestRefused`.

    TeddyEdgeError
    ├── SettingsError             the configuration file or the environment is wrong
    ├── CommandRejected           a command was refused; carries what its result says
    │   ├── CommandExpired        it came, or was reached, after its deadline
    │   ├── QueryRejected         a query was refused
    │   └── EnvelopeRejected      bytes that are no message; carries what could be read of them
    ├── LogError                  the event log
    │   ├── LogLocked             another daemon has this log open
    │   ├── LogFormatUnsupported  written by a newer version; not damage
    │   ├── LogNotFound           the path holds no log
    │   ├── LogPoisoned           a write or fsync failed; nothing more is acknowledged
    │   ├── LogClosed             the log was closed; nothing can be appended
    │   ├── LogOverloaded         no room in the queue before the deadline
    │   │   └── LogFull           no room on the card, or in the budget, but for what is essential
    │   └── RecordTooLarge        a record over the limit
    ├── ReadModelError            rows on the card that are not ours, or are damaged
    ├── LinkError                 the MQTT connection
    │   ├── HistoryForked         the cloud has another history of this log
    │   ├── LinkLost              could not connect, or the connection ended
    │   │   └── LinkOverrun       more came than may be held; the rest comes anew
    │   └── LinkRefused           the broker answered with a failure code
    │       └── PacketTooLarge    it takes no packet of this size
    ├── WireError                 a payload that is not what the wire contract says
    ├── PinsUnavailable           the GPIO pins cannot be used
    ├── ServiceClosed             the library is used before `initialize` or after `close`
    ├── DaemonUnreachable         no daemon answers on the local socket
    ├── BrokerUnavailable         the tests' and the playground's mosquitto does not run
    ├── PlaygroundFailed          a part of the playground died, or it cannot start
    └── SinkUnusable              the cloud's end cannot use its store

The exit codes follow sysexits.h, so that systemd and people can tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 64
EXIT_UNAVAILABLE: Final = 69
"""No daemon answered (EX_UNAVAILABLE)."""
EXIT_SOFTWARE: Final = 70
"""A task of the daemon died (EX_SOFTWARE); systemd restarts it."""
EXIT_IO: Final = 74
"""The card refused a write or an fsync (EX_IOERR); the next start recovers."""
EXIT_LOCKED: Final = 75
"""Another daemon has the log open (EX_TEMPFAIL)."""
EXIT_FORMAT: Final = 76
"""The log was written by a newer version (EX_PROTOCOL); a restart does not help."""
EXIT_CONFIG: Final = 78
"""The configuration is wrong (EX_CONFIG); a restart does not help."""


class TeddyEdgeError(Exception):
    """The root of all errors that this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One wrong setting: where it was read, its key if it has one, what came, what is accepted."""

    source: str
    key: str | None
    given: str
    accepted: str

    def __str__(self) -> str:
        key = "" if self.key is None else f"{self.key}: "
        return f"{self.source}: {key}got {self.given}; accepted: {self.accepted}"


class SettingsError(TeddyEdgeError):
    """Settings are unknown, of the wrong kind or out of range; all of them are named."""

    def __init__(self, *problems: SettingProblem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class CommandRejected(TeddyEdgeError):
    """A command was refused.

    `code` is for programs, `message` for people, `field` is the dotted path of what was wrong.
    None of them may repeat what a child said or is called: they are logged and sent.
    """

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        self.code = code
        self.message = message
        self.field = field
        super().__init__(f"{code}: {message}" + (f" ({field})" if field else ""))


class CommandExpired(CommandRejected):
    """A command was not executed because its deadline had passed."""


class QueryRejected(CommandRejected):
    """A query was refused; the same three parts as for a command."""


class EnvelopeRejected(CommandRejected):
    """Bytes that did not become an envelope, with what could still be read of them.

    `message_id` is the command's or the query's id, so that its sender can be told.
    """

    def __init__(
        self,
        rejection: CommandRejected,
        *,
        message_id: UUID | None,
        name: str | None,
        correlation_id: str | None,
    ) -> None:
        self.message_id = message_id
        self.name = name
        self.correlation_id = correlation_id
        super().__init__(rejection.code, rejection.message, rejection.field)


class LogError(TeddyEdgeError):
    """The root of the event log's errors."""


class LogLocked(LogError):
    """Another process has the log open for writing."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        self.directory = directory
        self.pid = pid
        super().__init__(f"{directory} is already open for writing by process {pid or 'unknown'}")


class LogFormatUnsupported(LogError):
    """A segment has a format version that this program does not know. It is not damaged."""

    def __init__(self, path: Path, found: int, supported: int) -> None:
        self.path = path
        self.found = found
        self.supported = supported
        super().__init__(
            f"{path} has log format version {found}; this program reads up to {supported}"
        )


class LogNotFound(LogError):
    """The path is not the directory of an event log."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"{path} is not an event log: {reason}")


class LogPoisoned(LogError):
    """A write or an fsync failed. Nothing after it is acknowledged; the process must end."""

    def __init__(self, operation: str, path: Path, cause: OSError) -> None:
        self.operation = operation
        self.path = path
        self.cause = cause
        super().__init__(f"{operation} of {path} failed: {cause}")


class LogClosed(LogError):
    """The log was closed; nothing can be appended to it or waited for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(f"the log in {directory} is closed")


class LogOverloaded(LogError):
    """The queue to the card stayed full until the deadline."""

    def __init__(self, queued_records: int, timeout_s: float) -> None:
        self.queued_records = queued_records
        self.timeout_s = timeout_s
        super().__init__(
            f"the log had no room for {timeout_s:g} s ({queued_records} records wait to be written)"
        )


class LogFull(LogOverloaded):
    """Only what is essential is taken: the card is full, or the log is over its `budget_bytes`.

    These are None for the card. Send it again: retention, or who filled the card, may make room.
    """

    def __init__(
        self, directory: Path, reserve_bytes: int, budget_bytes: int | None = None
    ) -> None:  # fmt: skip
        super().__init__(0, 0)
        self.directory = directory
        self.reserve_bytes = reserve_bytes
        self.budget_bytes = budget_bytes
        kept = f"the {reserve_bytes} bytes that are kept for what is essential"
        of_card = f"the card under {directory} is full but for {kept}"
        of_budget = f"the log in {directory} is over its budget of {budget_bytes} bytes"
        self.args = (of_card if budget_bytes is None else of_budget,)


class RecordTooLarge(LogError):
    """A record does not fit the limit."""

    def __init__(self, record_bytes: int, record_bytes_max: int) -> None:
        self.record_bytes = record_bytes
        self.record_bytes_max = record_bytes_max
        super().__init__(
            f"a record of {record_bytes} bytes is over the limit of {record_bytes_max}"
        )


class ReadModelError(TeddyEdgeError):
    """A row of the read models is not what we wrote; they are to be rebuilt."""

    def __init__(self, directory: Path, what: str) -> None:
        self.directory = directory
        self.what = what
        super().__init__(f"read models in {directory}: {what}")


class LinkError(TeddyEdgeError):
    """The root of the MQTT connection's errors."""


class HistoryForked(LinkError):
    """The cloud has another history of this log, which goes up anew under another epoch."""

    def __init__(self, confirmed_seq: int, last_seq: int, epoch: UUID) -> None:
        self.confirmed_seq = confirmed_seq
        self.last_seq = last_seq
        self.epoch = epoch
        super().__init__(
            f"the cloud has another event {confirmed_seq} than this log, which ends at {last_seq}: "
            f"all of it is sent as a new series, {epoch}"
        )


class LinkLost(LinkError):
    """The broker could not be reached, or the connection ended."""


class LinkOverrun(LinkLost):
    """More came than may be held; what was held is done, and the rest comes on a new connection."""


class LinkRefused(LinkError):
    """The broker answered a publish or a subscribe with a failure code."""

    def __init__(self, operation: str, topic: str, reason: str) -> None:
        self.operation = operation
        self.topic = topic
        self.reason = reason
        super().__init__(f"the broker refused to {operation} {topic}: {reason}")


class PacketTooLarge(LinkRefused):
    """The broker takes no packet of this size: it said its limit before, or refused this one."""

    def __init__(self, topic: str, packet_bytes: int, packet_bytes_max: int | None) -> None:
        self.packet_bytes = packet_bytes
        self.packet_bytes_max = packet_bytes_max
        limit = "" if packet_bytes_max is None else f" of {packet_bytes_max}"
        super().__init__("publish to", topic, f"{packet_bytes} bytes are over its limit{limit}")


class WireError(TeddyEdgeError):
    """A payload is not what the wire contract says."""


class PinsUnavailable(TeddyEdgeError):
    """The GPIO pins could not be opened."""


class ServiceClosed(TeddyEdgeError):
    """The library is used before `initialize` or after `close`."""

    def __init__(self) -> None:
        super().__init__("the service is not open: await initialize() first")


class DaemonUnreachable(TeddyEdgeError):
    """No daemon answers on any of the sockets tried."""

    def __init__(self, tried: list[Path], cause: str) -> None:
        self.tried = tried
        self.cause = cause
        names = ", ".join(str(path) for path in tried)
        super().__init__(f"no teddy-edge daemon answers on {names} ({cause}); start one: make run")


class BrokerUnavailable(TeddyEdgeError):
    """The mosquitto of the tests and the playground is missing or did not start."""


class SinkUnusable(TeddyEdgeError):
    """The file of a sink is none, cannot be written, or was written by a newer program."""


class PlaygroundFailed(TeddyEdgeError):
    """The playground cannot start, or a part of it died."""
