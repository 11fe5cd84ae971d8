"""The parts, put together: what a start takes from its checkpoint reaches those who need it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from teddy_edge.assembly import Assembly, assembled, health
from teddy_edge.clock import Trust
from teddy_edge.eventlog.frame import SEAL_BYTES
from teddy_edge.eventlog.segment import HEADER_BYTES
from teddy_edge.events import BearStarted, decode_record
from teddy_edge.settings import CommandSettings, LogSettings, Settings
from teddy_edge.testing import FakeClock

CHECKPOINT_RECORDS = 100


def settings_in(directory: Path) -> Settings:
    return Settings(
        data_directory=directory,
        log=LogSettings(segment_bytes_max=8192, allocation_bytes=4096, reserve_bytes=0),
        commands=CommandSettings(checkpoint_records=CHECKPOINT_RECORDS),
    )


async def record(core: Assembly, count: int) -> None:
    for _ in range(count):
        await core.journal.note(BearStarted(version="0.1.0"))


def types(core: Assembly) -> list[str]:
    stored = core.log.read(1, 10_000, 1 << 24)
    return [decode_record(each.seq, each.data_class, each.body).type for each in stored]


async def test_what_is_known_of_the_time_outlives_a_restart_from_a_checkpoint(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    async with assembled(settings_in(tmp_path), clock) as core:
        await record(core, CHECKPOINT_RECORDS)
        assert types(core).count("clock_synced") == 1
        await core.checkpoint.advance()
    again = FakeClock(monotonic_ns=clock.monotonic_ns())
    again.step_wall(-1e9, Trust.UNSYNCED)  # the time server is gone; it is the same boot
    async with assembled(settings_in(tmp_path), again) as core:
        assert core.checkpoint.seq > CHECKPOINT_RECORDS
        assert again.trust() is Trust.SYNCED
        assert again.wall_ns() == clock.wall_ns()


async def test_a_loss_is_told_once_whether_the_log_is_read_or_its_checkpoint(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path)
    async with assembled(settings, FakeClock()) as core:
        await record(core, 2 * CHECKPOINT_RECORDS)
    first = min(settings.log_directory.glob("*.log"))
    content = bytearray(first.read_bytes())
    content[HEADER_BYTES + 100] ^= 1
    first.write_bytes(content)
    for start in range(3):
        async with assembled(settings, FakeClock()) as core:
            assert (core.checkpoint.seq > 0) == (start > 0 or settings.checkpoint_file.exists())
            assert not core.log.report.complete
            for _ in range(10):
                await core.keeper.keep()
            assert not core.log.report.complete
            assert types(core).count("records_lost") == 1


async def test_what_a_start_found_wrong_with_the_log_is_logged_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = settings_in(tmp_path)
    async with assembled(settings, FakeClock()) as core:
        await record(core, 2 * CHECKPOINT_RECORDS)
        assert health(core)["log"]["damaged_places"] == 0
    assert "the log is damaged" not in caplog.text
    *_, last = sorted(settings.log_directory.glob("*.log"))
    content = bytearray(last.read_bytes())
    content[HEADER_BYTES + 100] ^= 1
    last.write_bytes(content[: -SEAL_BYTES - 10])
    async with assembled(settings, FakeClock()) as core:
        found = health(core)["log"]
    assert (found["complete"], found["lost"] > 0) == (False, True)
    (damaged,) = [vars(r) for r in caplog.records if r.message == "the log is damaged"]
    assert damaged["first_places"] == [f"{last.name} at byte {HEADER_BYTES}"]
    assert (damaged["places"], damaged["first_set_aside"]) == (1, [f"{last.name}.damaged"])
    (torn,) = [vars(r) for r in caplog.records if r.message == "the power was cut during a write"]
    assert (settings.log_directory / torn["kept_in"]).stat().st_size == torn["torn_bytes"]


async def test_a_start_that_fails_behind_the_log_lets_it_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(5, "the card is gone")

    with monkeypatch.context() as patch:
        patch.setattr("teddy_edge.assembly._open_cursor", fail)
        with pytest.raises(OSError, match="the card is gone"):
            async with assembled(settings, FakeClock()):
                pass
    async with assembled(settings, FakeClock()) as core:
        assert core.log.report.complete
