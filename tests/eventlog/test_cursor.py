"""The confirmed position."""

import errno
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from teddy_edge.eventlog import Cursor
from teddy_edge.eventlog.simulated_files import FailAt, SimulatedFiles

EPOCH = UUID("0192f000-0000-7000-8000-000000000001")


def test_a_new_cursor_stands_at_zero_and_says_why(tmp_path: Path) -> None:
    cursor = Cursor.open(tmp_path / "confirmed", EPOCH)
    assert (cursor.seq, cursor.note) == (0, "there is no file")


def test_a_position_is_found_again(tmp_path: Path) -> None:
    Cursor.open(tmp_path / "confirmed", EPOCH).move(7)
    cursor = Cursor.open(tmp_path / "confirmed", EPOCH)
    assert (cursor.seq, cursor.note) == (7, None)


def test_a_cursor_never_goes_back(tmp_path: Path) -> None:
    cursor = Cursor.open(tmp_path / "confirmed", EPOCH)
    cursor.move(7)
    cursor.move(3)
    assert cursor.seq == 7
    assert Cursor.open(tmp_path / "confirmed", EPOCH).seq == 7


def test_the_position_in_another_log_counts_as_none(tmp_path: Path) -> None:
    other = uuid4()
    Cursor.open(tmp_path / "confirmed", other).move(7)
    cursor = Cursor.open(tmp_path / "confirmed", EPOCH)
    assert cursor.seq == 0
    assert cursor.note is not None
    assert str(other) in cursor.note


def test_a_position_that_was_read_moves_on(tmp_path: Path) -> None:
    Cursor.open(tmp_path / "confirmed", EPOCH).move(7)
    Cursor.open(tmp_path / "confirmed", EPOCH).move(9)
    assert Cursor.open(tmp_path / "confirmed", EPOCH).seq == 9


def test_the_position_in_another_log_is_replaced(tmp_path: Path) -> None:
    Cursor.open(tmp_path / "confirmed", uuid4()).move(7)
    Cursor.open(tmp_path / "confirmed", EPOCH).move(1)
    assert Cursor.open(tmp_path / "confirmed", EPOCH).seq == 1


def test_a_position_that_stays_is_not_written_again() -> None:
    files = SimulatedFiles()
    cursor = Cursor.open(Path("/log/confirmed"), EPOCH, files)
    cursor.move(7)
    changes = len(files.journal)
    cursor.move(7)
    assert len(files.journal) == changes


def test_every_flipped_bit_and_every_truncation_of_the_file_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "confirmed"
    Cursor.open(path, EPOCH).move(12345)
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(len(whole))]
    damaged += [_flipped(whole, bit) for bit in range(len(whole) * 8)]
    for data in damaged:
        path.write_bytes(data)
        cursor = Cursor.open(path, EPOCH)
        assert (cursor.seq, cursor.note) == (0, "the file is damaged"), data
        cursor.move(1)
        assert Cursor.open(path, EPOCH).seq == 1


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_position_that_cannot_be_written_is_not_taken(tmp_path: Path) -> None:
    cursor = Cursor.open(tmp_path / "nowhere" / "confirmed", EPOCH)
    with pytest.raises(FileNotFoundError):
        cursor.move(1)
    assert cursor.seq == 0


def test_a_series_under_another_epoch_begins_at_zero_and_is_found_again(tmp_path: Path) -> None:
    series = uuid4()
    cursor = Cursor.open(tmp_path / "confirmed", EPOCH)
    cursor.move(7)
    cursor.begin_series(series)
    assert (cursor.seq, cursor.epoch) == (0, series)
    cursor.move(3)
    again = Cursor.open(tmp_path / "confirmed", EPOCH)
    assert (again.seq, again.epoch, again.note) == (3, series, None)


def test_a_log_is_known_by_its_own_epoch_until_another_series_begins(tmp_path: Path) -> None:
    cursor = Cursor.open(tmp_path / "confirmed", EPOCH)
    cursor.move(7)
    assert cursor.epoch == EPOCH
    assert (tmp_path / "confirmed").read_text().split()[:2] == [str(EPOCH), "7"]


def test_a_series_that_the_card_did_not_take_has_begun_all_the_same() -> None:
    files = SimulatedFiles()
    cursor = Cursor.open(Path("/log/confirmed"), EPOCH, files)
    cursor.move(7)
    files.fault = FailAt(0, errno.ENOSPC, "sync")
    series = uuid4()
    with pytest.raises(OSError, match="No space"):
        cursor.begin_series(series)
    assert (cursor.seq, cursor.epoch) == (0, series)
    again = Cursor.open(Path("/log/confirmed"), EPOCH, files.reopened())
    assert (again.seq, again.epoch) == (7, EPOCH)


def test_a_position_that_cannot_be_read_counts_as_none_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "confirmed").mkdir()
    cursor = Cursor.open(tmp_path / "confirmed", EPOCH)
    assert cursor.seq == 0
    assert cursor.note is not None
    assert "cannot be read" in cursor.note
