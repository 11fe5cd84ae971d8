"""The daemon's own log lines: one JSON object a line for machines, columns for a terminal.

A line is `{"time", "level", "part", "message", "correlation_id", ...}` with the fields that the
code gave as `extra`, and `error` with the stack trace where there is one. Nothing that a field
holds can break a line. The libraries below us are heard from WARNING on.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from teddy_edge.clock import rfc3339
from teddy_edge.settings import DiagnosticsSettings
from teddy_edge.terminal import printable

OURS = "teddy_edge"

_correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(settings: DiagnosticsSettings, stream: TextIO) -> None:
    """Send all log lines of this process to `stream`, and nowhere else."""
    handler = logging.StreamHandler(stream)
    as_console = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    handler.setFormatter(ConsoleLine() if as_console else JsonLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(settings.level)
    logging.captureWarnings(capture=True)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = (
        False  # no line shows it
    )


@contextmanager
def correlation(correlation_id: str | None) -> Iterator[None]:
    """Mark every line within, also those of tasks that are started within."""
    token = _correlation_id.set(correlation_id)
    try:
        yield
    finally:
        _correlation_id.reset(token)


class JsonLine(logging.Formatter):
    """One JSON object in ASCII, on one line."""

    def __init__(self) -> None:
        super().__init__()
        self._encode = json.JSONEncoder(default=str).encode

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        fields = _fields(self, record)
        return self._encode({key: _plain(value) for key, value in fields.items()})


class ConsoleLine(logging.Formatter):
    """Time, level, part, message, then the fields; a stack trace below, as people read it."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        fields = _fields(self, record)
        head = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname:<8} {fields.pop('part')}"
        message = printable(fields.pop("message"))
        error = fields.pop("error", None) if record.exc_info else None
        rest = [f"{key}={_quoted(value)}" for key, value in _without_stamp(fields).items()]
        line = " ".join([f"{head}: {message}", *rest])
        return line if error is None else f"{line}\n{error}"


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    fields: dict[str, Any] = {
        "time": rfc3339(int(record.created * 1000) * 1_000_000),
        "level": record.levelname,
        "part": record.name.removeprefix(f"{OURS}."),
        "message": record.getMessage(),
        "correlation_id": extra.pop("correlation_id", None) or _correlation_id.get(),
    }
    if record.exc_info:
        fields["error"] = formatter.formatException(record.exc_info)
    for key, value in extra.items():
        fields[f"{key}_" if key in fields else key] = value
    return fields


def _without_stamp(fields: dict[str, Any]) -> dict[str, Any]:
    hidden = {"time", "level"} if fields["correlation_id"] else {"time", "level", "correlation_id"}
    return {key: value for key, value in fields.items() if key not in hidden}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _quoted(value: Any) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text else json.dumps(text)
