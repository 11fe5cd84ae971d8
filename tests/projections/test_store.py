"""The rows on the card: what is kept, and what is refused."""

from __future__ import annotations

import pickle
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import diskcache
import pytest

from teddy_edge.errors import ReadModelError
from teddy_edge.projections import ReadModelStore
from teddy_edge.projections.rows import Row

ROW_BYTES_MAX = 100_000


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.mark,))  # type: ignore[return-value]


async def opened(directory: Path) -> ReadModelStore:
    store = ReadModelStore(directory, ROW_BYTES_MAX)
    await store.open()
    return store


async def test_rows_and_position_come_back_after_a_restart(tmp_path: Path) -> None:
    store = await opened(tmp_path / "rows")
    await store.write({"child/1": {"name": "Emma"}}, {"seq": 7})
    await store.write({"child/1": {"name": "Emma", "age": 8}}, {"seq": 8})
    await store.close()
    store = await opened(tmp_path / "rows")
    assert await store.get("child/1") == {"name": "Emma", "age": 8}
    assert await store.keys() == ["child/1"]
    assert await store.position() == {"seq": 8}
    await store.close()


async def test_the_directory_is_private(tmp_path: Path) -> None:
    store = await opened(tmp_path / "rows")
    assert stat.S_IMODE((tmp_path / "rows").stat().st_mode) == 0o700
    await store.close()


async def test_a_large_row_lies_in_the_database_and_not_beside_it(tmp_path: Path) -> None:
    store = await opened(tmp_path / "rows")
    await store.write({"child/1": {"text": "x" * 60_000}}, {"seq": 1})
    assert {path.name.partition("-")[0] for path in (tmp_path / "rows").iterdir()} == {"cache.db"}
    await store.close()


async def test_a_row_over_the_limit_is_refused_and_nothing_of_its_transaction_stays(
    tmp_path: Path,
) -> None:
    store = await opened(tmp_path / "rows")
    rows: dict[str, Row] = {"child/1": {"a": 1}, "child/2": {"text": "x" * ROW_BYTES_MAX}}
    with pytest.raises(ReadModelError, match="over 100000"):
        await store.write(rows, {"seq": 2})
    assert await store.keys() == []
    assert await store.position() == {}
    await store.close()


async def test_a_pickled_row_is_refused_and_never_executed(tmp_path: Path) -> None:
    directory, mark = tmp_path / "rows", tmp_path / "executed"
    with diskcache.Cache(str(directory)) as cache:
        cache["child/1"] = Trap(mark)
    store = ReadModelStore(directory, ROW_BYTES_MAX)
    with pytest.raises(ReadModelError, match="1 rows that are not ours"):
        await store.open()
    await store.close()
    assert not mark.exists()


async def test_a_row_that_turns_into_a_pickle_while_we_run_is_refused(tmp_path: Path) -> None:
    directory, mark = tmp_path / "rows", tmp_path / "executed"
    store = await opened(directory)
    await store.write({"child/1": {"a": 1}}, {"seq": 1})
    with closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as database:
        pickled = pickle.dumps(Trap(mark))
        database.execute("UPDATE Cache SET mode = 4, value = ? WHERE key = 'child/1'", (pickled,))
    with pytest.raises(ReadModelError, match="not ours"):
        await store.get("child/1")
    await store.close()
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\xff" * 4096])
async def test_a_damaged_file_is_refused_or_made_anew(tmp_path: Path, content: bytes) -> None:
    directory = tmp_path / "rows"
    directory.mkdir()
    (directory / "cache.db").write_bytes(content)
    store = ReadModelStore(directory, ROW_BYTES_MAX)
    with pytest.raises(ReadModelError):
        await store.open()
    await store.discard()
    await store.write({"child/1": {"a": 1}}, {"seq": 1})
    assert await store.get("child/1") == {"a": 1}
    await store.close()


async def test_foreign_settings_are_refused(tmp_path: Path) -> None:
    directory = tmp_path / "rows"
    store = await opened(directory)
    await store.close()
    with closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as database:
        database.execute("INSERT INTO Settings VALUES ('disk_get', 'x')")
    store = ReadModelStore(directory, ROW_BYTES_MAX)
    with pytest.raises(ReadModelError, match="settings"):
        await store.open()
    await store.close()


async def test_nothing_is_evicted(tmp_path: Path) -> None:
    store = await opened(tmp_path / "rows")
    rows = {f"child/{number}": {"text": "x" * 1000} for number in range(3000)}
    await store.write(rows, {"seq": 1})
    assert len(await store.keys()) == 3000
    await store.close()


async def test_any_byte_of_a_row_that_a_bad_card_changed_is_noticed(tmp_path: Path) -> None:
    store = await opened(tmp_path / "rows")
    await store.write({"child/1": {"name": "Emma", "age": 7}}, {"seq": 1})
    with closing(sqlite3.connect(tmp_path / "rows/cache.db", isolation_level=None)) as database:
        ((value,),) = database.execute("SELECT value FROM Cache WHERE key = 'child/1'")
        for at in range(len(value)):
            changed = bytearray(value)
            changed[at] ^= 1
            database.execute("UPDATE Cache SET value = ? WHERE key = 'child/1'", (changed,))
            with pytest.raises(ReadModelError, match="checksum"):
                await store.get("child/1")
        database.execute("UPDATE Cache SET value = ? WHERE key = 'child/1'", (value,))
    assert await store.get("child/1") == {"name": "Emma", "age": 7}
    await store.close()


async def test_a_row_that_was_put_under_another_key_is_noticed(tmp_path: Path) -> None:
    store = await opened(tmp_path / "rows")
    await store.write({"child/1": {"name": "Emma"}}, {"seq": 1})
    with closing(sqlite3.connect(tmp_path / "rows/cache.db", isolation_level=None)) as database:
        database.execute("UPDATE Cache SET key = 'child/2' WHERE key = 'child/1'")
    with pytest.raises(ReadModelError, match="checksum"):
        await store.get("child/2")
    await store.close()
