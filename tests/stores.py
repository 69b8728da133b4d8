"""The state stores under test, and rows to put into them. A further backend joins by one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dicomcast.model import Parked, Stage, StudyKey
from dicomcast.state import StateStore, TableAccess, open_store
from tests.servers.azurite import connection_string


@dataclass(frozen=True, slots=True)
class Backend:
    """How to reach a store, given a folder of the test's own; `shared` if two connections see the same.

    `server` names a fixture of what has to be started for it.
    """

    open: Callable[[Path, str], StateStore]
    shared: bool = True
    server: str = ""


def in_tables(_: Path, endpoint: str, **options: Any) -> StateStore:
    """A store in the tables of an Azurite."""
    return open_store("azure-tables://", table=TableAccess(connection_string(endpoint)), **options)


BACKENDS = {
    "sqlite-file": Backend(lambda folder, _: open_store(f"sqlite:///{folder}/state.db")),
    "sqlite-memory": Backend(lambda *_: open_store("sqlite://"), shared=False),
    "azure-tables": Backend(in_tables, server="tables"),
}
SHARED = [name for name, backend in BACKENDS.items() if backend.shared]

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def key(study_uid: str, partition: str = "") -> StudyKey:
    """A study."""
    return StudyKey("https://archive.test", partition, study_uid)


def row(study_uid: str, partition: str = "", **values: Any) -> Parked:
    """A parked row, first seen and due now."""
    defaults = {"first_seen": NOW, "last_seen": NOW, "next_attempt": NOW}
    return Parked(key(study_uid, partition), 1, 2, Stage.WRITE, "refused", **(defaults | values))
