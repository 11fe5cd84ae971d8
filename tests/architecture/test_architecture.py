"""The drawing of the daemon, held against its source."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import pytest

from tests.architecture import edges, style
from tests.architecture.source import Module, modules

Rule = Callable[[Module], Iterator[str]]

MODULES = modules()


def assert_kept(rule: Rule) -> None:
    breaches = [breach for module in MODULES for breach in rule(module)]
    assert not breaches, "\n" + "\n".join(breaches)


def test_a_stage_imports_only_the_stages_before_it() -> None:
    assert_kept(edges.wrong_edges)


def test_every_part_has_its_place_in_the_flow() -> None:
    assert_kept(edges.unknown_stage)


def test_an_outside_library_is_named_only_by_its_owner() -> None:
    assert_kept(edges.library_without_right)


def test_the_domain_does_no_input_or_output() -> None:
    assert_kept(edges.io_in_the_domain)


def test_only_the_logs_files_make_bytes_durable() -> None:
    assert_kept(style.flush_outside_the_log)


def test_only_the_clock_reads_the_wall_clock() -> None:
    assert_kept(style.wall_clock)


def test_no_handler_catches_everything() -> None:
    assert_kept(style.broad_except)


def test_no_wait_swallows_a_cancellation() -> None:
    assert_kept(style.swallowed_cancellation)


def test_no_function_rebinds_a_name_of_its_module() -> None:
    assert_kept(style.global_statement)


def test_no_module_holds_state_that_changes() -> None:
    assert_kept(style.shared_container)


def test_no_function_is_longer_than_a_screen() -> None:
    assert_kept(style.long_function)


def test_no_module_is_too_long_to_read_in_one_go() -> None:
    assert_kept(style.long_module)


def test_half_of_all_functions_are_short() -> None:
    lines = [style.function_lines(function) for module in MODULES for function in module.functions]
    assert statistics.median(lines) < style.FUNCTION_LINES_MEDIAN_BELOW


BROKEN: list[tuple[Rule, str, str]] = [
    (edges.wrong_edges, "domain.child", "from teddy_edge.eventlog import EventLog"),
    (edges.wrong_edges, "eventlog.frame", "from teddy_edge import events"),
    (edges.wrong_edges, "inputs.mqtt", "import teddy_edge.commands.bus"),
    (edges.wrong_edges, "projections.store", "def late():\n    import teddy_edge.queries"),
    (edges.wrong_edges, "fleet.receiver", "from teddy_edge.sync.uplink import Uplink"),
    (edges.wrong_edges, "sync.state", "from teddy_edge.app import run"),
    (edges.wrong_edges, "errors", "from teddy_edge.clock import Clock"),
    (edges.unknown_stage, "utils", ""),
    (edges.library_without_right, "sync.uplink", "import aiomqtt"),
    (edges.library_without_right, "eventlog.frame", "import msgpack"),
    (edges.library_without_right, "cli", "import requests"),
    (edges.io_in_the_domain, "domain.bear", "from pathlib import Path"),
    (style.flush_outside_the_log, "eventlog.log", "import os\nos.fdatasync(3)"),
    (style.flush_outside_the_log, "sync.uplink", "from os import fsync"),
    (style.wall_clock, "commands.bus", "import datetime\nx = datetime.datetime.now()"),
    (style.wall_clock, "commands.bus", "import time\nx = time.time()"),
    (style.broad_except, "app", "try:\n    1\nexcept Exception:\n    raise"),
    (style.broad_except, "app", "try:\n    1\nexcept (OSError, BaseException):\n    raise"),
    (style.broad_except, "app", "try:\n    1\nexcept:\n    raise"),
    (style.swallowed_cancellation, "app", "import asyncio\nasyncio.wait_for(work, 1)"),
    (style.global_statement, "app", "def f():\n    global state\n    state = 1"),
    (style.shared_container, "app", "bears = {}"),
    (style.shared_container, "app", "import asyncio\nwork = asyncio.Queue()"),
    (style.shared_container, "app", "BEARS: list[int] = []\ndef f():\n    BEARS.append(1)"),
    (style.shared_container, "app", "BEARS = {}\ndef f():\n    BEARS[1] = 2"),
    (style.long_function, "app", "def f():\n" + "    1\n" * 50),
    (style.long_module, "app", "1\n" * 321),
]


@pytest.mark.parametrize(("rule", "name", "text"), BROKEN)
def test_a_rule_sees_its_breach(rule: Rule, name: str, text: str) -> None:
    assert list(rule(Module(name, text))) != []


def test_rules_find_nothing_wrong_with_what_is_allowed() -> None:
    text = (
        "from teddy_edge.eventlog import Entry\nimport diskcache\nNAMES = ['a']\nNAMES.index('a')"
    )
    module = Module("projections.store", text)
    assert [breach for rule, _, _ in BROKEN for breach in rule(module)] == []
