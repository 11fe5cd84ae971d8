"""The service's unit: accepted by systemd, as closed as it can be, and in step with the daemon."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from teddy_edge.errors import EXIT_CONFIG, EXIT_FORMAT
from teddy_edge.settings import SYSTEM_CONFIG, Settings
from teddy_edge.socket_paths import default_sockets

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "teddy-edge.service"
EXPOSURE_TENTHS_MAX = 19
"""What `systemd-analyze security` counts, times ten; it may go down, never up."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def settings_of(unit: Path) -> dict[str, list[str]]:
    found = defaultdict(list)
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[key].append(value)
    return dict(found)


def one(key: str) -> str:
    (value,) = settings_of(UNIT)[key]
    return value


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@needs_systemd
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    program = one("ExecStart").split()[0]  # is not installed where the tests run
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(program, "/bin/true"))
    verified = run("systemd-analyze", "verify", unit)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


@needs_systemd
def test_the_unit_gives_away_no_more_than_it_must() -> None:
    threshold = f"--threshold={EXPOSURE_TENTHS_MAX}"
    rated = run("systemd-analyze", "security", "--offline=true", "--no-pager", threshold, UNIT)
    assert rated.returncode == 0, rated.stdout + rated.stderr


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd is not installed")
def test_the_user_and_the_groups_of_the_unit_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "teddy-edge.sysusers")
    assert made.returncode == 0, made.stderr
    groups = (tmp_path / "etc/group").read_text().splitlines()
    wanted = {one("Group"), one("SupplementaryGroups")}
    assert wanted <= {line.partition(":")[0] for line in groups}
    assert f"\n{one('User')}:" in "\n" + (tmp_path / "etc/passwd").read_text()


def test_only_what_a_restart_does_not_help_prevents_it() -> None:
    assert one("Restart") == "always"
    assert {int(code) for code in one("RestartPreventExitStatus").split()} == {
        EXIT_FORMAT,
        EXIT_CONFIG,
    }


def test_the_daemon_is_started_with_the_systems_settings() -> None:
    assert one("ExecStart").split()[1:] == ["run", "--config", str(SYSTEM_CONFIG)]


def test_the_folders_of_the_unit_are_the_daemons_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "as systemd sets it")
    assert Path("/var/lib", one("StateDirectory")) == Settings().data_directory
    assert [Path("/run", one("RuntimeDirectory"), "api.sock")] == default_sockets()


def test_the_pins_stay_within_reach() -> None:
    settings = settings_of(UNIT)
    assert "char-gpiochip rw" in settings["DeviceAllow"]
    assert {"PrivateDevices", "ProcSubset"} & set(settings) == set()


def test_the_daemon_may_ask_whether_the_clock_is_right() -> None:
    """The C library asks through clock_adjtime; a filter against setting the clock forbids it."""
    settings = settings_of(UNIT)
    assert "clock_adjtime" in settings["SystemCallFilter"][-1].split()
    assert "ProtectClock" not in settings
