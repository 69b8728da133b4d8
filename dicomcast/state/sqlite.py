"""The state store in an SQLite file, for one machine with a local disk.

The connection lives in one thread of its own, since sqlite3 blocks. WAL with synchronous=FULL: what was
acknowledged is on the disk.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from dicomcast.errors import ConfigError, CursorMoved, StateError
from dicomcast.model import Checkpoint, Cursor, Parked, Stage, StudyKey
from dicomcast.state.filesystem import NETWORK, filesystem_of

__all__ = ["SqliteStore"]

_T = TypeVar("_T")
_VERSION = 1
_SCHEMA = """
CREATE TABLE checkpoint (
    feed TEXT PRIMARY KEY, sequence INTEGER NOT NULL, timestamp TEXT NOT NULL, position TEXT NOT NULL,
    revision INTEGER NOT NULL, updated_at TEXT NOT NULL
) STRICT;
CREATE TABLE parked (
    feed TEXT NOT NULL, partition TEXT NOT NULL, study_uid TEXT NOT NULL, source TEXT NOT NULL,
    first_sequence INTEGER NOT NULL, last_sequence INTEGER NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL,
    message TEXT NOT NULL, status INTEGER, codes TEXT NOT NULL, attempts INTEGER NOT NULL,
    first_seen TEXT, last_seen TEXT, next_attempt TEXT,
    PRIMARY KEY (feed, partition, study_uid)
) STRICT;
"""
_ROW = (
    "source, partition, study_uid, first_sequence, last_sequence, stage, reason, message, status, codes, attempts,"
    " first_seen, last_seen, next_attempt"
)


class SqliteStore:
    """One file, or `:memory:`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._database: sqlite3.Connection | None = None

    async def load(self, feed: str) -> Checkpoint:
        """The checkpoint of a feed."""
        return await self._run(lambda database: _load(database, feed))

    async def advance(
        self, at: Checkpoint, *, to: Cursor, parked: Sequence[Parked] = (), resolved: Collection[StudyKey] = ()
    ) -> Checkpoint:
        """Settle a window."""
        after = Checkpoint(at.feed, to, at.revision + 1, datetime.now(UTC))

        def write(database: sqlite3.Connection) -> Checkpoint:
            with _transaction(database):
                if _load(database, at.feed).revision != at.revision:
                    raise CursorMoved(
                        "another worker has moved the cursor of this source: only one may be active on a state store"
                    )
                database.execute(
                    "INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        at.feed,
                        to.sequence,
                        to.timestamp,
                        json.dumps(to.position),
                        after.revision,
                        _text(after.updated_at),
                    ),
                )
                _write_rows(database, at.feed, parked, resolved)
            return after

        return await self._run(write)

    async def settle(self, feed: str, *, parked: Sequence[Parked] = (), resolved: Collection[StudyKey] = ()) -> None:
        """Settle rows without the cursor."""

        def write(database: sqlite3.Connection) -> None:
            with _transaction(database):
                _write_rows(database, feed, parked, resolved)

        await self._run(write)

    async def parked(self, feed: str) -> list[Parked]:
        """All rows, oldest first."""
        query = f"SELECT {_ROW} FROM parked WHERE feed = ? ORDER BY first_seen, partition, study_uid"
        return await self._run(lambda database: [_parked(row) for row in database.execute(query, (feed,))])

    async def due(self, feed: str, now: datetime, limit: int = 100) -> list[Parked]:
        """The rows whose next attempt has come."""
        query = f"SELECT {_ROW} FROM parked WHERE feed = ? AND next_attempt <= ? ORDER BY next_attempt LIMIT ?"
        return await self._run(
            lambda database: [_parked(row) for row in database.execute(query, (feed, _text(now), limit))]
        )

    async def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            await self._run(lambda database: database.close())
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def call() -> _T:
            if self._database is None:
                self._database = _open(self._path)
            return work(self._database)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except sqlite3.Error as error:
            raise StateError(f"STATE__URL: {self._path}: {_advice(error)}") from None


def _open(path: str) -> sqlite3.Connection:
    _refuse_network_share(path)
    database = sqlite3.connect(path, timeout=5, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    with _transaction(database):
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise ConfigError(f"STATE__URL: {path} was written by a newer dicomcast; use that, or a new file")
        if version < _VERSION:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {_VERSION}")
    return database


def _refuse_network_share(path: str) -> None:
    mounts = Path("/proc/self/mountinfo")
    if path == ":memory:" or not mounts.exists():
        return
    kind = filesystem_of(Path(path).absolute().parent, mounts.read_text())
    if kind in NETWORK:
        raise ConfigError(
            f"STATE__URL: {path} is on a network share ({kind}), where SQLite's locks do not hold and the cursor "
            "could be lost; put it on a local disk or a block volume"
        )


def _advice(error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorname", ""):
        case "SQLITE_BUSY" | "SQLITE_LOCKED":
            return "another process holds the state store; is a second dicomcast running on it?"
        case "SQLITE_NOTADB" | "SQLITE_CORRUPT":
            return "this is no SQLite file, or a damaged one; restore it from a backup, or start a new one"
        case "SQLITE_FULL" | "SQLITE_IOERR_WRITE":
            return "the disk is full; the cursor stays where it was"
        case "SQLITE_CANTOPEN":
            return "cannot be opened; does its folder exist, and may dicomcast write there?"
        case name if name.startswith("SQLITE_READONLY"):
            return "is read-only; dicomcast must be able to write it"
        case name:
            return f"the state store failed ({name or type(error).__name__})"


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; IMMEDIATE, so that a second writer waits at the start and not in the middle."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _load(database: sqlite3.Connection, feed: str) -> Checkpoint:
    row = database.execute(
        "SELECT sequence, timestamp, position, revision, updated_at FROM checkpoint WHERE feed = ?", (feed,)
    ).fetchone()
    if row is None:
        return Checkpoint(feed, None)
    return Checkpoint(feed, Cursor(row[0], row[1], json.loads(row[2])), row[3], _moment(row[4]))


def _write_rows(
    database: sqlite3.Connection, feed: str, parked: Sequence[Parked], resolved: Collection[StudyKey]
) -> None:
    if {row.key for row in parked} & set(resolved):
        raise ValueError("a study cannot be parked and resolved at once")
    database.executemany(
        "DELETE FROM parked WHERE feed = ? AND partition = ? AND study_uid = ?",
        [(feed, key.partition, key.study_uid) for key in resolved],
    )
    database.executemany(
        f"INSERT OR REPLACE INTO parked (feed, {_ROW}) VALUES ({', '.join('?' * 15)})",
        [(feed, *_columns(row)) for row in parked],
    )


def _columns(row: Parked) -> tuple[Any, ...]:
    key = row.key
    return (
        *(key.source, key.partition, key.study_uid, row.first_sequence, row.last_sequence, row.stage.value),
        *(row.reason, row.message, row.status, json.dumps(row.codes), row.attempts),
        *(_text(row.first_seen), _text(row.last_seen), _text(row.next_attempt)),
    )


def _parked(row: tuple[Any, ...]) -> Parked:
    source, partition, study_uid, first, last, stage, reason, message, status, codes, attempts, *moments = row
    return Parked(
        StudyKey(source, partition, study_uid),
        first,
        last,
        Stage(stage),
        reason,
        message,
        status,
        tuple(json.loads(codes)),
        attempts,
        *map(_moment, moments),
    )


def _text(moment: datetime | None) -> str | None:
    """UTC with microseconds always, so that text sorts as time does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds") if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
