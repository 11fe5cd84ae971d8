"""The file of the local socket."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from teddy_edge.errors import SettingsError
from teddy_edge.inputs.unix_socket import bound_socket


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_missing_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "made" / "api.sock"
    with bound_socket(path):
        assert mode(path.parent) == 0o700
        assert mode(path) == 0o660


def test_the_file_is_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with bound_socket(path):
        assert path.exists()
    assert not path.exists()


def test_a_socket_that_nobody_listens_on_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with bound_socket(path) as bound:
        bound.listen()
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))


def test_a_socket_that_somebody_answers_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with bound_socket(path) as first:
        first.listen()
        with pytest.raises(SettingsError, match="no other daemon listens"), bound_socket(path):
            pass
        assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("somebody's")
    with pytest.raises(SettingsError, match="no file is"), bound_socket(path):
        pass
    assert path.read_text() == "somebody's"


def test_a_path_that_no_socket_can_have_is_refused_with_the_limit(tmp_path: Path) -> None:
    longest = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    with bound_socket(longest):
        assert longest.exists()
    too_long = longest.with_name(longest.name + "x")
    with pytest.raises(SettingsError, match="at most 107 bytes"), bound_socket(too_long):
        pass


def test_a_directory_that_is_only_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(SettingsError, match="belongs to"), bound_socket(tmp_path / "link" / "s"):
        pass


def test_a_directory_that_everybody_may_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(SettingsError, match="everybody"), bound_socket(tmp_path / "open" / "s"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(SettingsError, match="belongs to"), bound_socket(tmp_path / "theirs" / "s"):
        pass
