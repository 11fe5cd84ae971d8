"""What all tests share: a real broker, and patience."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from teddy_edge.fleet.broker import Mosquitto

# How long an example takes is the machine's affair.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_reaches_what_tests_start() -> None:
    """A shell ignores Ctrl-C for what it runs in the background, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A fresh mosquitto for this test."""
    with Mosquitto(tmp_path / "broker") as mosquitto:
        yield mosquitto


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests that passed have printed: how much was tried, and what came of it."""
    said = [report for report in terminalreporter.getreports("passed") if report.capstdout.strip()]
    if said:
        terminalreporter.section("figures")
    for report in said:
        terminalreporter.write_line(report.nodeid)
        for line in report.capstdout.strip().splitlines():
            terminalreporter.write_line(f"    {line}")
