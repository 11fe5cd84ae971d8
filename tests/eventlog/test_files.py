"""The simulated files do what the system's do, and fail where those would."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from teddy_edge.errors import LogLocked
from teddy_edge.eventlog.files import Files, SystemFiles
from teddy_edge.eventlog.simulated_device import Loss
from teddy_edge.eventlog.simulated_files import SimulatedFiles
from teddy_edge.eventlog.whole_files import read_bytes, read_whole, write_whole


@pytest.fixture(params=["system", "simulated"])
def files(request: pytest.FixtureRequest) -> Files:
    return SystemFiles() if request.param == "system" else SimulatedFiles()


@pytest.fixture
def directory(files: Files, tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "outer" / "inner"
    files.make_directory(directory)
    files.make_directory(directory)
    yield directory
    files.sync_directory(directory)


def test_what_is_written_is_read_at_its_offset(files: Files, directory: Path) -> None:
    file = files.create(directory / "a")
    file.write(3, b"abc")
    file.write(1, b"--")
    file.sync()
    assert file.read(0, 100) == b"\0--abc"
    assert file.read(4, 1) == b"b"
    assert file.read(6, 5) == b""
    assert file.size_bytes() == 6
    file.close()


def test_a_file_is_cut_and_grown_with_zeros(files: Files, directory: Path) -> None:
    file = files.create(directory / "a")
    file.write(0, b"abcdef")
    file.truncate(2)
    file.truncate(4)
    assert file.read(0, 100) == b"ab\0\0"
    file.close()


def test_making_a_file_that_is_there_empties_it(files: Files, directory: Path) -> None:
    write_whole(files, directory / "a", b"old")
    files.create(directory / "a").close()
    assert read_whole(files, directory / "a") == b""


def test_names_are_sorted_and_follow_every_change(files: Files, directory: Path) -> None:
    for name in ("b", "a", "c"):
        write_whole(files, directory / name, name.encode())
    files.rename(directory / "a", directory / "c")
    files.remove(directory / "b")
    assert files.names(directory) == ["c"]
    assert read_whole(files, directory / "c") == b"a"


def test_a_missing_file_is_an_error_of_the_system(files: Files, directory: Path) -> None:
    missing = directory / "missing"
    for act in (files.open, files.remove, lambda path: files.rename(path, directory / "b")):
        with pytest.raises(FileNotFoundError):
            act(missing)


def test_a_part_of_a_file_is_read(files: Files, directory: Path) -> None:
    write_whole(files, directory / "a", b"0123456789")
    assert read_bytes(files, directory / "a", 3, 4) == b"3456"
    assert read_bytes(files, directory / "a", 8, 4) == b"89"


def test_a_lock_is_held_until_it_is_released(files: Files, directory: Path) -> None:
    lock = files.lock(directory / "lock")
    with pytest.raises(LogLocked):
        files.lock(directory / "lock")
    lock.release()
    files.lock(directory / "lock").release()


def test_a_directory_of_the_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    SystemFiles().make_directory(tmp_path / "log")
    SystemFiles().create(tmp_path / "log" / "a").close()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "log" / "a").stat().st_mode & 0o777 == 0o600


def test_a_simulated_power_cut_takes_what_was_not_synced() -> None:
    files, directory = SimulatedFiles(), Path("/log")
    write_whole(files, directory / "a", b"synced")
    file = files.open(directory / "a", writable=True)
    file.write(0, b"lost")
    files.create(directory / "b").sync()
    random = Random(1)
    dropped = files.after_crash(len(files.journal), Loss(kept=0), random)
    assert {n: dropped.content(directory / n) for n in dropped.names(directory)} == {"a": b"synced"}
    taken = files.after_crash(len(files.journal), Loss(kept=1), random)
    assert taken.names(directory) == ["a", "b"]
    assert taken.content(directory / "a") == b"losted"


def test_a_lock_that_is_held_names_its_directory_and_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("what an owner before us left\n")
    lock = SystemFiles().lock(path)
    assert path.read_text() == f"{os.getpid()}\n"
    with pytest.raises(LogLocked) as caught:
        SystemFiles().lock(path)
    assert (caught.value.directory, caught.value.pid) == (tmp_path, os.getpid())
    lock.release()
    SystemFiles().lock(path).release()


def test_a_lock_whose_owner_has_not_yet_said_its_pid_is_held(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        with pytest.raises(LogLocked) as caught:
            SystemFiles().lock(path)
    assert caught.value.pid is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_lock_of_another_user_is_never_put_aside() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own are for one user
        directory = Path(name)
        directory.chmod(0o777)
        held = SystemFiles().lock(directory / "lock")
        os.seteuid(65534)
        try:
            with pytest.raises(PermissionError):
                SystemFiles().lock(directory / "lock")
        finally:
            os.seteuid(0)
        assert [path.name for path in directory.iterdir()] == ["lock"]
        held.release()


def test_a_lock_file_is_its_owners_alone(tmp_path: Path) -> None:
    SystemFiles().lock(tmp_path / "lock").release()
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_write_that_the_system_takes_in_part_goes_on_behind_that_part(tmp_path: Path) -> None:
    path = tmp_path / "a"
    file = SystemFiles().create(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            file.write(3, b"0123456789")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        file.close()
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"\0\0\0" + b"0123456"


def test_a_file_that_was_opened_for_reading_cannot_be_written(tmp_path: Path) -> None:
    write_whole(SystemFiles(), tmp_path / "a", b"whole")
    file = SystemFiles().open(tmp_path / "a")
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.write(0, b"other")
    file.close()


def test_the_free_bytes_are_those_of_the_card(tmp_path: Path) -> None:
    free_bytes = shutil.disk_usage(tmp_path).free
    assert free_bytes / 2 <= SystemFiles().free_bytes(tmp_path) <= free_bytes * 2


def test_a_read_that_the_system_gives_in_parts_is_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.pread
    write_whole(SystemFiles(), tmp_path / "a", b"0123456789")
    monkeypatch.setattr(os, "pread", lambda file, size, offset: read(file, min(size, 4), offset))
    assert read_whole(SystemFiles(), tmp_path / "a") == b"0123456789"
    assert read_bytes(SystemFiles(), tmp_path / "a", 1, 6) == b"123456"


def test_a_directory_that_was_made_before_is_made_durable_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who made it may have been killed before its parent was synced."""
    synced = []
    monkeypatch.setattr(SystemFiles, "sync_directory", lambda _, path: synced.append(path))
    SystemFiles().make_directory(tmp_path)
    assert synced == [tmp_path.parent]
