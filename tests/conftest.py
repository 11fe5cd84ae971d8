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
