"""The SQLite file on a bad day: each failure is a sentence that says what to do, and the cursor is the old one."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicomcast.errors import ConfigError, StateError
from dicomcast.model import Checkpoint, Cursor
from dicomcast.state import open_store, sqlite_file
from dicomcast.state.sqlite import SqliteStore
from tests.stores import MINUTE, NOW, row

FEED = "https://archive.test"
OLD = Cursor(7, "2026-01-01T00:00:00Z", {"api": "v1"})


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A state file in which a window was settled, closed."""
    path = tmp_path / "state.db"
    store = SqliteStore(str(path))
    await store.advance(Checkpoint(FEED, None), to=OLD, parked=[row("1")])
    await store.close()
    return path


async def cursor_of(path: Path) -> Cursor | None:
    """What a new process reads."""
    store = SqliteStore(str(path))
    cursor = (await store.load(FEED)).cursor
    await store.close()
    return cursor


async def load_fails(path: Path | str, kind: type[Exception]) -> str:
    """What is said where the store cannot be read."""
    store = SqliteStore(str(path))
    with pytest.raises(kind) as caught:
        await store.load(FEED)
    await store.close()
    return str(caught.value)


# --- Only reading ---


async def test_who_only_reads_makes_no_file(tmp_path: Path) -> None:
    """No file is no checkpoint, no lease and no rows; a folder that is not there is still an error."""
    store = open_store(f"sqlite:///{tmp_path / 'state.db'}", read_only=True)
    assert await store.load(FEED) == Checkpoint(FEED, None)
    assert (await store.parked(FEED), await store.lease(FEED)) == ([], None)
    await store.close()
    assert os.listdir(tmp_path) == []
    store = open_store(f"sqlite:///{tmp_path / 'missing' / 'state.db'}", read_only=True)
    with pytest.raises(StateError, match="does its folder exist"):
        await store.load(FEED)
    await store.close()


async def test_who_only_reads_reads_what_is_there(path: Path) -> None:
    """A file that exists is the store, for who reads as for who writes."""
    store = open_store(f"sqlite:///{path}", read_only=True)
    assert (await store.load(FEED)).cursor == OLD
    assert await store.parked(FEED) == [row("1")]
    await store.close()


# --- Files that are no store ---


async def test_a_file_of_a_newer_version(path: Path) -> None:
    """It is refused and left alone: an older dicomcast would not know what it means."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    assert "newer dicomcast" in await load_fails(path, ConfigError)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT sequence FROM checkpoint").fetchall() == [(7,)]
    database.close()


async def test_the_database_of_something_else(tmp_path: Path) -> None:
    """Another program's file gets no tables of ours."""
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE customers (name TEXT)")
    database.close()
    assert "something else" in await load_fails(path, ConfigError)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("customers",)]
    database.close()


@pytest.mark.parametrize("content", [b"not a database, a letter" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
async def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    """It is told from a store, and not overwritten."""
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    assert "this is no SQLite file, or a damaged one" in await load_fails(path, StateError)
    assert path.read_bytes() == content


async def test_an_empty_file_is_a_new_store(tmp_path: Path) -> None:
    """`touch` makes no difference."""
    (tmp_path / "state.db").touch()
    assert await cursor_of(tmp_path / "state.db") is None


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """The folder of a volume instead of a file in it is a common slip."""
    assert "cannot be opened" in await load_fails(tmp_path, StateError)


async def test_a_missing_folder(tmp_path: Path) -> None:
    """Folders are not made: a volume that was not mounted must not go unnoticed."""
    assert "does its folder exist" in await load_fails(tmp_path / "missing" / "state.db", StateError)
    assert not (tmp_path / "missing").exists()


def spoil(path: Path, page: int, size: int, zeros: bool) -> None:
    """Overwrite a stretch from the middle of a page on; the first one keeps the header of the file."""
    content = bytearray(path.read_bytes())
    start = page * 4096 + 100
    assert len(content) > start + size
    content[start : start + size] = bytes(size) if zeros else random.Random(page).randbytes(size)
    path.write_bytes(content)


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("size", [1, 16, 3900, 8000])
@pytest.mark.parametrize("page", range(5))
async def test_a_damaged_file(path: Path, page: int, size: int, zeros: bool) -> None:
    """Whatever was overwritten, the store is as it was or an error: a lost page never reads as no cursor."""
    spoil(path, page, size, zeros)
    store = SqliteStore(str(path))
    try:
        assert (await store.load(FEED)).cursor == OLD
        assert await store.parked(FEED) == [row("1")]
        assert await store.lease(FEED) is None
    except StateError as error:
        assert str(error).startswith(f"DICOMCAST_STATE__URL: {path}: ")
    await store.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE checkpoint SET position = '{'",
        "UPDATE checkpoint SET updated_at = 'yesterday'",
        "UPDATE checkpoint SET timestamp = CAST(x'ff' AS TEXT)",
        "UPDATE parked SET codes = 'x'",
        "UPDATE parked SET stage = 'moon'",
        "UPDATE parked SET next_attempt = '12'",
        "DROP TABLE checkpoint",
    ],
)
async def test_a_row_that_makes_no_sense(path: Path, change: str) -> None:
    """What somebody edited by hand, or a bit flipped, is the store's failure and not a crash."""
    with sqlite3.connect(path) as database:
        database.execute(change)
    database.close()
    store = SqliteStore(str(path))
    with pytest.raises(StateError, match="STATE__URL"):
        await asyncio.gather(store.load(FEED), store.parked(FEED), store.due(FEED, NOW))
    await store.close()


# --- Permissions ---


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder that may be read and not written, by a user who is not root."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield_to = folder / "state"
        yield_to.mkdir()
        folder.chmod(0o755)
        try:
            yield yield_to
        finally:
            os.seteuid(user)
            yield_to.chmod(0o755)


def lock_out(folder: Path) -> None:
    """From now on nothing can be written there."""
    for each in (*folder.iterdir(), folder):
        each.chmod(0o555 if each.is_dir() else 0o444)
    if os.geteuid() == 0:
        os.seteuid(65534)


async def test_a_folder_that_cannot_be_written() -> None:
    """A new store cannot be made in it."""
    with unprivileged() as folder:
        lock_out(folder)
        assert "cannot be opened; does its folder exist, and may dicomcast write there?" in await load_fails(
            folder / "state.db", StateError
        )


async def test_a_store_that_cannot_be_written() -> None:
    """A read-only volume is refused when it is opened, before any study is cast."""
    with unprivileged() as folder:
        path = folder / "state.db"
        store = SqliteStore(str(path))
        await store.advance(Checkpoint(FEED, None), to=OLD)
        await store.close()
        lock_out(folder)
        said = await load_fails(path, StateError)
    assert "dicomcast must be able to write it" in said or "may dicomcast write there?" in said


# --- Other processes ---


@contextmanager
def holding(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process in the middle of a write."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        other.close()


async def test_a_lock_that_stays_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup tool or a debugger that holds the file is named as the cause; afterwards all goes on."""
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.1)
    store = SqliteStore(str(path))
    at = await store.load(FEED)
    with holding(path):
        for work in (store.advance(at, to=Cursor(8)), store.settle(FEED, parked=[row("2")])):
            with pytest.raises(StateError, match="another process holds the state store"):
                await work
        assert await store.load(FEED) == at
    assert (await store.advance(at, to=Cursor(8))).revision == 2
    await store.close()


async def test_a_lock_that_goes_is_waited_for(path: Path) -> None:
    """A short write of another process delays ours and nothing more."""
    store = SqliteStore(str(path))
    at = await store.load(FEED)
    with holding(path) as other:
        task = asyncio.create_task(store.advance(at, to=Cursor(8)))
        await asyncio.wait([task], timeout=0.2)
        assert not task.done()
        other.execute("COMMIT")
        assert (await task).revision == 2
    await store.close()


async def test_a_store_that_is_being_made_is_waited_for(tmp_path: Path) -> None:
    """Two workers that start together on a new volume: the second waits while the first makes the tables."""
    path = tmp_path / "state.db"
    with holding(path) as other:
        store = SqliteStore(str(path))
        task = asyncio.create_task(store.load(FEED))
        await asyncio.wait([task], timeout=0.2)
        assert not task.done()
        other.execute("ROLLBACK")
        assert await task == Checkpoint(FEED, None)
    await store.close()


async def test_a_store_that_others_hold_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """… but not for ever, and what is said is the same."""
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.1)
    with holding(tmp_path / "state.db") as other:
        other.execute("CREATE TABLE other (x)")
        assert "another process holds the state store" in await load_fails(tmp_path / "state.db", StateError)


# --- Disk full ---


async def test_a_full_disk_keeps_the_old_cursor(path: Path) -> None:
    """Settling fails as a whole, and works again when there is room."""
    store = SqliteStore(str(path))
    at = await store.load(FEED)
    pages = await store._run(lambda database: database.execute("PRAGMA page_count").fetchone()[0])
    await store._run(lambda database: database.execute(f"PRAGMA max_page_count = {pages}").fetchall())
    many = [row(f"{number:05}", message="x" * 250) for number in range(200)]
    with pytest.raises(StateError, match="the disk is full; the cursor stays where it was"):
        await store.advance(at, to=Cursor(99), parked=many)
    assert await store.load(FEED) == at
    assert await cursor_of(path) == OLD
    await store._run(lambda database: database.execute("PRAGMA max_page_count = 100000").fetchall())
    assert (await store.advance(at, to=Cursor(99), parked=many)).revision == 2
    await store.close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SQLITE_BUSY", "another process holds"),
        ("SQLITE_BUSY_SNAPSHOT", "another process holds"),
        ("SQLITE_LOCKED_SHAREDCACHE", "another process holds"),
        ("SQLITE_CORRUPT_INDEX", "damaged"),
        ("SQLITE_FULL", "the disk is full"),
        ("SQLITE_IOERR_WRITE", "the disk fails, or has no room left (SQLITE_IOERR_WRITE)"),
        ("SQLITE_IOERR_SHMSIZE", "no room left"),
        ("SQLITE_CANTOPEN_ISDIR", "cannot be opened"),
        ("SQLITE_READONLY_DIRECTORY", "is read-only"),
        ("SQLITE_CONSTRAINT_NOTNULL", "the state store failed (SQLITE_CONSTRAINT_NOTNULL)"),
        ("", "the state store failed (OperationalError)"),
    ],
)
def test_advice(name: str, said: str) -> None:
    """Extended result codes are what SQLite really gives, and say the same as the short ones."""
    error = sqlite3.OperationalError("some text")
    if name:
        error.sqlite_errorname = name
    assert said in sqlite_file.advice(error)


# --- The rest ---


async def test_what_is_acknowledged_is_on_the_disk(path: Path) -> None:
    """WAL with synchronous=FULL: a commit is an fsync."""
    store = SqliteStore(str(path))
    await store.load(FEED)
    found = await store._run(
        lambda database: [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    )
    assert found == ["wal", 2]
    await store.close()
    await store.close()


@pytest.mark.parametrize("url", ["postgres://x", "", "/var/lib/state.db"])
def test_an_unknown_scheme(url: str) -> None:
    """The error shows how a STATE__URL is written."""
    with pytest.raises(ConfigError, match=r"STATE__URL: .* sqlite:///path/to/file.db"):
        open_store(url)


async def test_a_released_lease_is_over_for_every_clock(path: Path) -> None:
    """Also for one that is set to the year 1970."""
    store = SqliteStore(str(path))
    await store.release(await store.acquire(FEED, "a", NOW, MINUTE))
    lease = await store.lease(FEED)
    assert lease is not None and lease.expires_at.year == 1
    await store.close()
