"""What all tests share: a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from teddy_edge.fleet.broker import Mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A fresh mosquitto for this test."""
    with Mosquitto(tmp_path / "broker") as mosquitto:
        yield mosquitto
