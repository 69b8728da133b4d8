"""The state store in an SQLite file, for one machine with a local disk.

The connection lives in one thread of its own, since sqlite3 blocks. WAL with synchronous=FULL: what was
acknowledged is on the disk.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from dicomcast.errors import CursorMoved, LeaseLost, StateError
from dicomcast.model import Checkpoint, Cursor, Lease, Parked, Stage, StudyKey
from dicomcast.state.sqlite_file import advice, open_file, transaction
from dicomcast.state.store import refuse_contradiction

__all__ = ["SqliteStore"]

_T = TypeVar("_T")
# What each version added: a file of an older one is brought up to date when it is opened.
_SCHEMA = (
    """
CREATE TABLE checkpoint (
    feed TEXT PRIMARY KEY, sequence INTEGER NOT NULL, timestamp TEXT NOT NULL, position TEXT NOT NULL,
    revision INTEGER NOT NULL, updated_at TEXT NOT NULL
) STRICT;
CREATE TABLE lease (
    feed TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL, expires_at TEXT NOT NULL
) STRICT;
CREATE TABLE parked (
    feed TEXT NOT NULL, partition TEXT NOT NULL, study_uid TEXT NOT NULL, source TEXT NOT NULL,
    first_sequence INTEGER NOT NULL, last_sequence INTEGER NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL,
    message TEXT NOT NULL, status INTEGER, codes TEXT NOT NULL, attempts INTEGER NOT NULL,
    first_seen TEXT, last_seen TEXT, next_attempt TEXT,
    PRIMARY KEY (feed, partition, study_uid)
) STRICT;
""",
    """
CREATE TABLE inventory (
    feed TEXT NOT NULL, study_uid TEXT NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY (feed, study_uid)
) STRICT, WITHOUT ROWID;
""",
    """
CREATE TABLE backfill (
    feed TEXT NOT NULL, partition TEXT NOT NULL, study_uid TEXT NOT NULL, PRIMARY KEY (feed, partition, study_uid)
) STRICT, WITHOUT ROWID;
""",
)
_ROW = (
    "source, partition, study_uid, first_sequence, last_sequence, stage, reason, message, status, codes, attempts,"
    " first_seen, last_seen, next_attempt"
)


class SqliteStore:
    """One file, or `:memory:`. For who only reads, a file that is not there is an empty store, and not made."""

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._database: sqlite3.Connection | None = None

    async def load(self, feed: str) -> Checkpoint:
        """The checkpoint of a feed."""
        return await self._run(lambda database: _load(database, feed))

    async def advance(
        self,
        at: Checkpoint,
        *,
        to: Cursor,
        parked: Sequence[Parked] = (),
        resolved: Collection[StudyKey] = (),
        read: Collection[Parked] | None = None,
        epoch: int | None = None,
    ) -> Checkpoint:
        """Settle a window."""
        refuse_contradiction(parked, resolved)
        after = Checkpoint(at.feed, to, at.revision + 1, datetime.now(UTC))

        def write(database: sqlite3.Connection) -> Checkpoint:
            with transaction(database):
                _fence(database, at.feed, epoch)
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
                _write_rows(database, at.feed, parked, resolved, read)
            return after

        return await self._run(write)

    async def settle(
        self,
        feed: str,
        *,
        parked: Sequence[Parked] = (),
        resolved: Collection[StudyKey] = (),
        read: Collection[Parked] | None = None,
        epoch: int | None = None,
    ) -> None:
        """Settle rows without the cursor."""
        refuse_contradiction(parked, resolved)

        def write(database: sqlite3.Connection) -> None:
            with transaction(database):
                _fence(database, feed, epoch)
                _write_rows(database, feed, parked, resolved, read)

        await self._run(write)

    async def parked(self, feed: str) -> list[Parked]:
        """All rows, oldest first."""
        return await self._run(lambda database: _rows(database, feed))

    async def due(self, feed: str, now: datetime, limit: int = 100) -> list[Parked]:
        """The rows whose next attempt has come."""
        query = f"SELECT {_ROW} FROM parked WHERE feed = ? AND next_attempt <= ? ORDER BY next_attempt LIMIT ?"
        return await self._run(
            lambda database: [_parked(row) for row in database.execute(query, (feed, _text(now), limit))]
        )

    async def record(self, feed: str, seen: Mapping[str, str | None], *, epoch: int | None = None) -> None:
        """Note what the archive was seen to hold."""
        held = [(feed, uid, fingerprint) for uid, fingerprint in seen.items() if fingerprint is not None]
        gone = [(feed, uid) for uid, fingerprint in seen.items() if fingerprint is None]

        def write(database: sqlite3.Connection) -> None:
            with transaction(database):
                _fence(database, feed, epoch)
                database.executemany("INSERT OR REPLACE INTO inventory VALUES (?, ?, ?)", held)
                database.executemany("DELETE FROM inventory WHERE feed = ? AND study_uid = ?", gone)

        await self._run(write)

    async def fingerprints(self, feed: str, study_uids: Collection[str]) -> dict[str, str]:
        """Those of these studies that are in the inventory."""
        query = (
            "SELECT study_uid, fingerprint FROM inventory"
            " WHERE feed = ? AND study_uid IN (SELECT value FROM json_each(?))"
        )
        values = (feed, json.dumps(list(study_uids)))
        return await self._run(lambda database: dict(database.execute(query, values).fetchall()))

    async def inventory(self, feed: str, after: str = "", limit: int = 1000) -> list[str]:
        """The StudyInstanceUIDs in the inventory."""
        query = "SELECT study_uid FROM inventory WHERE feed = ? AND study_uid > ? ORDER BY study_uid LIMIT ?"
        return await self._run(lambda database: [uid for (uid,) in database.execute(query, (feed, after, limit))])

    async def enlist(self, feed: str, studies: Collection[StudyKey], *, epoch: int | None = None) -> None:
        """Put studies on the list of a backfill."""
        await self._write(feed, epoch, "INSERT OR IGNORE INTO backfill VALUES (?, ?, ?)", _named(feed, studies))

    async def enlisted(self, feed: str, limit: int = 100) -> list[StudyKey]:
        """The first of those on the list, by partition and UID."""
        query = "SELECT partition, study_uid FROM backfill WHERE feed = ? ORDER BY partition, study_uid LIMIT ?"
        return await self._run(
            lambda database: [StudyKey(feed, *row) for row in database.execute(query, (feed, limit))]
        )

    async def count_enlisted(self, feed: str) -> int:
        """How many are on the list."""
        query = "SELECT count(*) FROM backfill WHERE feed = ?"
        return await self._run(lambda database: int(database.execute(query, (feed,)).fetchone()[0]))

    async def delist(self, feed: str, studies: Collection[StudyKey] | None, *, epoch: int | None = None) -> None:
        """Take studies off the list, or all."""
        if studies is None:
            await self._write(feed, epoch, "DELETE FROM backfill WHERE feed = ?", [(feed,)])
            return
        query = "DELETE FROM backfill WHERE feed = ? AND partition = ? AND study_uid = ?"
        await self._write(feed, epoch, query, _named(feed, studies))

    async def acquire(self, feed: str, owner: str, now: datetime, ttl: timedelta) -> Lease:
        """Take or prolong the lease, unless another's has not run out."""

        def write(database: sqlite3.Connection) -> Lease:
            with transaction(database):
                found = _lease(database, feed)
                if found and found.owner != owner and found.expires_at > now:
                    return found
                epoch = found.epoch + (found.owner != owner) if found else 1
                taken = Lease(feed, owner, epoch, now + ttl)
                database.execute(
                    "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?)", (feed, owner, epoch, _text(taken.expires_at))
                )
                return taken

        return await self._run(write)

    async def lease(self, feed: str) -> Lease | None:
        """The lease as it stands."""
        return await self._run(lambda database: _lease(database, feed))

    async def release(self, lease: Lease) -> None:
        """Let it run out now; owner and epoch stay, so that the next owner gets a new epoch."""
        query = "UPDATE lease SET expires_at = ? WHERE feed = ? AND owner = ? AND epoch = ?"
        values = (_text(datetime.min.replace(tzinfo=UTC)), lease.feed, lease.owner, lease.epoch)
        await self._run(lambda database: database.execute(query, values))

    async def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            await self._run(lambda database: database.close())
            self._database = None
        self._thread.shutdown()

    async def _write(self, feed: str, epoch: int | None, statement: str, rows: Sequence[tuple[str, ...]]) -> None:
        def write(database: sqlite3.Connection) -> None:
            with transaction(database):
                _fence(database, feed, epoch)
                database.executemany(statement, rows)

        await self._run(write)

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def call() -> _T:
            if self._database is None:
                self._database = open_file(self._path, _SCHEMA, read_only=self._read_only)
            return work(self._database)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except (sqlite3.Error, ValueError, OverflowError) as error:
            raise StateError(f"STATE__URL: {self._path}: {advice(error)}") from None


def _named(feed: str, studies: Collection[StudyKey]) -> list[tuple[str, ...]]:
    return [(feed, key.partition, key.study_uid) for key in studies]


def _lease(database: sqlite3.Connection, feed: str) -> Lease | None:
    row = database.execute("SELECT owner, epoch, expires_at FROM lease WHERE feed = ?", (feed,)).fetchone()
    return Lease(feed, row[0], row[1], datetime.fromisoformat(row[2])) if row else None


def _fence(database: sqlite3.Connection, feed: str, epoch: int | None) -> None:
    found = _lease(database, feed)
    if epoch is not None and (found is None or found.epoch != epoch):
        raise LeaseLost("another worker has taken over this source: it was too long since we renewed our lease")


def _load(database: sqlite3.Connection, feed: str) -> Checkpoint:
    row = database.execute(
        "SELECT sequence, timestamp, position, revision, updated_at FROM checkpoint WHERE feed = ?", (feed,)
    ).fetchone()
    if row is None:
        return Checkpoint(feed, None)
    return Checkpoint(feed, Cursor(row[0], row[1], json.loads(row[2])), row[3], _moment(row[4]))


def _rows(database: sqlite3.Connection, feed: str) -> list[Parked]:
    query = f"SELECT {_ROW} FROM parked WHERE feed = ? ORDER BY first_seen, partition, study_uid"
    return [_parked(row) for row in database.execute(query, (feed,))]


def _write_rows(
    database: sqlite3.Connection,
    feed: str,
    parked: Sequence[Parked],
    resolved: Collection[StudyKey],
    read: Collection[Parked] | None,
) -> None:
    changed = set() if read is None else {row.key for row in set(_rows(database, feed)) - set(read)}
    database.executemany(
        "DELETE FROM parked WHERE feed = ? AND partition = ? AND study_uid = ?",
        [(feed, key.partition, key.study_uid) for key in resolved if key not in changed],
    )
    database.executemany(
        f"INSERT OR REPLACE INTO parked (feed, {_ROW}) VALUES ({', '.join('?' * 15)})",
        [(feed, *_columns(row)) for row in parked if row.key not in changed],
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
