"""What all tests share: a real broker, and patience."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from teddy_edge.fleet.broker import Mosquitto

# How long an example takes is the machine's affair.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A fresh mosquitto for this test."""
    with Mosquitto(tmp_path / "broker") as mosquitto:
        yield mosquitto
