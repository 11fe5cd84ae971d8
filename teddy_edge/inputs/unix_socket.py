"""The file of the local socket: made by us, for us and our group, and gone when we end."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from teddy_edge.errors import SettingProblem, SettingsError

PATH_BYTES_MAX = 107
"""What fits into struct sockaddr_un on Linux, with its final zero."""

DIRECTORY_MODE = 0o700
SOCKET_MODE = 0o660
ANSWER_TIMEOUT_S = 1.0


@contextmanager
def bound_socket(path: Path) -> Iterator[socket.socket]:
    """Bind a stream socket to `path`, and remove the file at the end.

    A missing directory is made (0700). Raises `SettingsError` where the path is too long, where the
    directory or the file there is not ours, and where another daemon answers.
    """
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise _unusable(path, f"a path of at most {PATH_BYTES_MAX} bytes")
    _prepare_directory(path)
    _remove_stale(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        _bind(bound, path)
        try:
            yield bound
        finally:
            path.unlink(missing_ok=True)


def _prepare_directory(path: Path) -> None:
    directory = path.parent
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise _unusable(path, f"a path whose directory can be made ({error.strerror})") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise _unusable(path, "a path in a directory that belongs to the user of the daemon")
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise _unusable(path, "a path in a directory that not everybody may change")


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise _unusable(path, "a path where no file is, or a socket that nobody listens on")
    if _answers(path):
        raise _unusable(path, "a path where no other daemon listens")
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    """Tell whether anybody listens; who is too busy to accept within a second does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(ANSWER_TIMEOUT_S)
        try:
            caller.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except TimeoutError:
            return True
    return True


def _bind(bound: socket.socket, path: Path) -> None:
    try:
        os.fchmod(bound.fileno(), SOCKET_MODE)  # before the name exists, so that it is never open
        bound.bind(str(path))
        path.chmod(SOCKET_MODE)  # what the umask took away
    except OSError as error:
        raise _unusable(path, f"a path that can be bound ({error.strerror})") from error


def _unusable(path: Path, accepted: str) -> SettingsError:
    return SettingsError(SettingProblem("local socket", "socket", str(path), accepted))
