"""A store of the cloud's end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from teddy_edge.fleet.sqlite_sink import SqliteSink


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SqliteSink]:
    with contextlib.closing(SqliteSink(tmp_path / "fleet.db")) as opened:
        yield opened
