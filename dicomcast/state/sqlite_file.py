"""Opening an SQLite file for good, and what its errors mean to an operator."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dicomcast.errors import ConfigError
from dicomcast.state.filesystem import NETWORK, filesystem_of

__all__ = ["MOUNTS", "PATIENCE", "advice", "open_file", "transaction"]

# For how many seconds another process may hold the file before that is an error.
PATIENCE = 5.0
MOUNTS = Path("/proc/self/mountinfo")


def open_file(path: str, schema: Sequence[str], *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to a file with the newest version of the schema, of which each item adds to those before it.

    For who only reads, a file that is not there is an empty store in memory; a folder that is not there is an error.

    Raises:
        ConfigError: the file cannot be the store.
        sqlite3.Error: see `advice`.
    """
    _refuse_network_share(path)
    absent = read_only and not os.path.exists(path) and os.access(Path(path).parent, os.X_OK)
    database = sqlite3.connect(":memory:" if absent else path, timeout=PATIENCE, isolation_level=None)
    try:
        _write_ahead(database)
        database.execute("PRAGMA synchronous = FULL")
        _refuse_damage(database)
        with transaction(database):
            _migrate(database, path, schema, temporarily=read_only)
    except BaseException:
        database.close()
        raise
    return database


def _write_ahead(database: sqlite3.Connection) -> None:
    """Switch to WAL; where another process is at the file, SQLite refuses that at once instead of waiting."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > end:
                raise
            time.sleep(0.02)


def _refuse_damage(database: sqlite3.Connection) -> None:
    """A lost page may read as no rows, and so as no cursor."""
    if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        error = sqlite3.DatabaseError()
        error.sqlite_errorname = "SQLITE_CORRUPT"
        raise error


def _migrate(database: sqlite3.Connection, path: str, schema: Sequence[str], *, temporarily: bool) -> None:
    """Add what a file of an older version lacks; `temporarily` for who only looks, beside a worker of that version."""
    version = len(schema)
    found = database.execute("PRAGMA user_version").fetchone()[0]
    if found > version:
        raise ConfigError(f"STATE__URL: {path} was written by a newer dicomcast; use that, or a new file")
    if found < version:
        if not found and database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise ConfigError(f"STATE__URL: {path} is the database of something else; give dicomcast a file of its own")
        for statement in filter(str.strip, ";".join(schema[found:]).split(";")):
            database.execute(statement.replace("CREATE TABLE", "CREATE TEMP TABLE") if temporarily else statement)
        if not temporarily:
            database.execute(f"PRAGMA user_version = {version}")


def _refuse_network_share(path: str) -> None:
    if path == ":memory:" or not MOUNTS.exists():
        return
    # Of the file itself, which may be a link to a share; names of mounts are bytes of any kind.
    kind = filesystem_of(Path(path).resolve().parent, MOUNTS.read_text(errors="surrogateescape"))
    if kind in NETWORK:
        raise ConfigError(
            f"STATE__URL: {path} is on a network share ({kind}), where SQLite's locks do not hold and the cursor "
            "could be lost; put it on a local disk or a block volume"
        )


def advice(error: Exception) -> str:
    """What happened, and what to do."""
    # Extended codes have more words: SQLITE_BUSY_SNAPSHOT, SQLITE_IOERR_WRITE.
    name = getattr(error, "sqlite_errorname", "")
    match name.split("_")[1:2]:
        case ["BUSY" | "LOCKED"]:
            return "another process holds the state store; is a second dicomcast running on it?"
        case ["NOTADB" | "CORRUPT"]:
            return (
                "this is no SQLite file, or a damaged one; restore it from a backup, or move it away: "
                "without it the feed is read from WORKER__START again, which writes nothing where FHIR is right"
            )
        case ["FULL"]:
            return "the disk is full; the cursor stays where it was"
        case ["IOERR"]:
            return f"the disk fails, or has no room left ({name}); the cursor stays where it was"
        case ["CANTOPEN"]:
            return (
                "cannot be opened; does its folder exist, and may dicomcast write there? "
                "(sqlite:///file.db is relative to the working directory, sqlite:////folder/file.db is not)"
            )
        case ["READONLY"]:
            return "is read-only; dicomcast must be able to write it, and to make files beside it"
        case _ if not isinstance(error, sqlite3.Error):
            return "a row cannot be read or written as what it should be; restore the file from a backup"
        case _:
            return f"the state store failed ({name or type(error).__name__})"


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; IMMEDIATE, so that a second writer waits at the start and not in the middle."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
