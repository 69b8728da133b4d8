"""Files that an older dicomcast has written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dicomcast.errors import StateError
from dicomcast.model import Checkpoint, Cursor
from dicomcast.state import open_store
from dicomcast.state.sqlite import _SCHEMA, SqliteStore

FEED = "https://archive.test"
OLD = Cursor(7, "2026-01-01T00:00:00Z", {"api": "v1"})


def first_version(path: Path) -> None:
    """A file as the first version has left it, with a cursor and an active worker."""
    with sqlite3.connect(path) as database:
        database.executescript(_SCHEMA[0])
        database.execute("PRAGMA user_version = 1")
        database.execute(
            "INSERT INTO checkpoint VALUES (?, 7, ?, ?, 3, ?)",
            (FEED, OLD.timestamp, '{"api": "v1"}', "2026-01-01T00:00:00.000000+00:00"),
        )
        database.execute("INSERT INTO lease VALUES (?, 'a', 4, '2026-01-01T00:00:00.000000+00:00')", (FEED,))
    database.close()


async def test_a_file_of_the_first_version(tmp_path: Path) -> None:
    """It is brought up to date where it is opened, and keeps its cursor; then it is as new."""
    path = tmp_path / "state.db"
    first_version(path)
    store = SqliteStore(str(path))
    at = await store.load(FEED)
    assert (at.cursor, at.revision) == (OLD, 3)
    await store.record(FEED, {"1": "a"}, epoch=4)
    await store.close()
    store = open_store(f"sqlite:///{path}", read_only=True)
    assert (await store.load(FEED), await store.inventory(FEED)) == (at, ["1"])
    await store.close()
    new = SqliteStore(str(tmp_path / "new.db"))
    await new.load(FEED)
    await new.close()
    schemas = []
    for one in (path, tmp_path / "new.db"):
        with sqlite3.connect(one) as database:
            version = database.execute("PRAGMA user_version").fetchone()
            schemas.append((version, database.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()))
        database.close()
    assert schemas[0] == schemas[1]


async def test_looking_at_a_file_of_the_first_version_leaves_it_one(tmp_path: Path) -> None:
    """A worker of that version is at it, and goes on; who looks sees what it does, and an empty inventory."""
    path = tmp_path / "state.db"
    first_version(path)
    looking = open_store(f"sqlite:///{path}", read_only=True)
    assert (await looking.load(FEED)).cursor == OLD
    assert await looking.inventory(FEED) == []
    assert await looking.fingerprints(FEED, ["1"]) == {}
    with sqlite3.connect(path) as worker:
        assert worker.execute("PRAGMA user_version").fetchone() == (1,)
        assert worker.execute("SELECT name FROM sqlite_master WHERE name = 'inventory'").fetchall() == []
        worker.execute("UPDATE checkpoint SET sequence = 8, revision = 4")
    worker.close()
    assert (await looking.load(FEED)).revision == 4
    await looking.close()


async def test_an_update_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """All or nothing: a file of the first version with a table in the way is still one of the first."""
    path = tmp_path / "state.db"
    store = SqliteStore(str(path))
    await store.advance(Checkpoint(FEED, None), to=OLD)
    await store.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 1")
    database.close()
    store = SqliteStore(str(path))
    with pytest.raises(StateError):
        await store.load(FEED)
    await store.close()
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        assert database.execute("SELECT sequence FROM checkpoint").fetchall() == [(7,)]
    database.close()
