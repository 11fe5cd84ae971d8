"""Log lines that machines can read whatever is in them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teddy_edge.diagnostics import ConsoleLine, JsonLine, configure, correlation
from teddy_edge.settings import DiagnosticsSettings

NASTY = 'one\ntwo\r\u2028three "four" \x1b[31m \ud800'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root, ours = logging.getLogger(), logging.getLogger("teddy_edge")
    before = root.handlers[:], root.level, ours.level
    yield root
    root.handlers[:], root.level, ours.level = before
    logging.captureWarnings(capture=False)


def record(message: str = "hello", **extra: Any) -> logging.LogRecord:
    logger = logging.getLogger("teddy_edge.commands")
    return logger.makeRecord(logger.name, logging.INFO, __file__, 1, message, (), None, extra=extra)


def read(line: str) -> dict[str, Any]:
    assert line.isascii()
    assert "\n" not in line
    fields: dict[str, Any] = json.loads(line)
    return fields


def test_a_line_is_one_json_object_with_what_the_code_gave() -> None:
    fields = read(JsonLine().format(record("done", seq=7, correlation_id="c-1")))
    assert fields.pop("time").endswith("Z")
    assert fields == {
        "level": "INFO",
        "part": "commands",
        "message": "done",
        "correlation_id": "c-1",
        "seq": 7,
    }


def test_a_line_break_in_a_field_does_not_break_the_line() -> None:
    fields = read(JsonLine().format(record(NASTY, reason=NASTY, path={"a": NASTY})))
    assert fields["message"] == fields["reason"] == fields["path"]["a"] == NASTY


@given(st.dictionaries(st.sampled_from(["seq", "time", "error", "part", "x"]), st.text()))
def test_whatever_the_fields_hold_the_line_can_be_read(extra: dict[str, str]) -> None:
    fields = read(JsonLine().format(record("m", **extra)))
    assert (fields["message"], fields["part"]) == ("m", "commands")
    assert set(extra.values()) <= set(fields.values())


def test_what_json_cannot_say_is_written_as_text() -> None:
    fields = read(JsonLine().format(record("m", age_s=float("nan"), error=OSError("broken"))))
    assert (fields["age_s"], fields["error"]) == ("nan", "broken")


def test_a_stack_trace_stays_on_the_line() -> None:
    line = record("failed")
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int(NASTY)
    line.exc_info = (caught.type, caught.value, caught.tb)
    fields = read(JsonLine().format(line))
    assert fields["error"].startswith("Traceback")
    assert "ValueError" in fields["error"]


async def test_the_correlation_id_follows_into_tasks_and_ends_with_its_block() -> None:
    async def line() -> Any:
        return read(JsonLine().format(record()))["correlation_id"]

    with correlation("outer"):
        with correlation("inner"):
            assert await asyncio.create_task(line()) == "inner"
        assert await line() == "outer"
    assert await line() is None


def test_a_terminal_gets_columns_and_no_control_characters() -> None:
    line = ConsoleLine().format(record("a\x1b[31mb", seq=7, reason="two words\n"))
    assert "INFO" in line
    assert "commands: a\ufffd[31mb seq=7" in line
    assert 'reason="two words\\n"' in line
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("chosen", "stream", "is_json"),
    [
        ("auto", io.StringIO(), True),
        ("auto", Terminal(), False),
        ("json", Terminal(), True),
        ("console", io.StringIO(), False),
    ],
)
def test_the_format_follows_the_stream_unless_it_is_set(
    root: logging.Logger, chosen: Any, stream: io.StringIO, is_json: bool
) -> None:
    configure(DiagnosticsSettings(format=chosen), stream)
    logging.getLogger("teddy_edge.app").info("ready")
    assert stream.getvalue().startswith("{") is is_json
    assert "ready" in stream.getvalue()


def test_libraries_are_heard_from_warnings_on_and_we_from_the_level_set(
    root: logging.Logger,
) -> None:
    stream = io.StringIO()
    configure(DiagnosticsSettings(level="DEBUG"), stream)
    for name in ("uvicorn.error", "mqtt", "asyncio"):
        logging.getLogger(name).info("quiet")
        logging.getLogger(name).warning("heard")
    logging.getLogger("teddy_edge.app").debug("ours")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("deprecated", stacklevel=1)
    lines = [read(line) for line in stream.getvalue().splitlines()]
    assert [line["part"] for line in lines] == [
        "uvicorn.error", "mqtt", "asyncio", "app", "py.warnings",
    ]  # fmt: skip
    assert not any(line["message"] == "quiet" for line in lines)
