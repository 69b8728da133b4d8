"""Opening an SQLite file for good, and what its errors mean to an operator."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicomcast.errors import ConfigError
from dicomcast.state.filesystem import NETWORK, filesystem_of

__all__ = ["advice", "open_file", "transaction"]


def open_file(path: str, schema: str, version: int) -> sqlite3.Connection:
    """A connection to a file with this version of the schema, which is made if the file is new.

    Raises:
        ConfigError: the file cannot be the store.
        sqlite3.Error: see `advice`.
    """
    _refuse_network_share(path)
    database = sqlite3.connect(path, timeout=5, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        with transaction(database):
            _migrate(database, path, schema, version)
    except BaseException:
        database.close()
        raise
    return database


def _migrate(database: sqlite3.Connection, path: str, schema: str, version: int) -> None:
    found = database.execute("PRAGMA user_version").fetchone()[0]
    if found > version:
        raise ConfigError(f"STATE__URL: {path} was written by a newer dicomcast; use that, or a new file")
    if found < version:
        for statement in filter(str.strip, schema.split(";")):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {version}")


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


def advice(error: sqlite3.Error) -> str:
    """What happened, and what to do."""
    match getattr(error, "sqlite_errorname", ""):
        case "SQLITE_BUSY" | "SQLITE_LOCKED":
            return "another process holds the state store; is a second dicomcast running on it?"
        case "SQLITE_NOTADB" | "SQLITE_CORRUPT":
            return (
                "this is no SQLite file, or a damaged one; restore it from a backup, or move it away: "
                "without it the feed is read from WORKER__START again, which writes nothing where FHIR is right"
            )
        case "SQLITE_FULL" | "SQLITE_IOERR_WRITE":
            return "the disk is full; the cursor stays where it was"
        case "SQLITE_CANTOPEN":
            return (
                "cannot be opened; does its folder exist, and may dicomcast write there? "
                "(sqlite:///file.db is relative to the working directory, sqlite:////folder/file.db is not)"
            )
        case name if name.startswith("SQLITE_READONLY"):
            return "is read-only; dicomcast must be able to write it"
        case name:
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
