"""The state stores under test, and rows to put into them. A further backend joins by one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dicomcast.model import Parked, Stage, StudyKey


@dataclass(frozen=True, slots=True)
class Backend:
    """How to reach a store, given a folder of the test's own; `shared` if two connections see the same."""

    url: Callable[[Path], str]
    shared: bool = True


BACKENDS = {
    "sqlite-file": Backend(lambda folder: f"sqlite:///{folder}/state.db"),
    "sqlite-memory": Backend(lambda _: "sqlite://", shared=False),
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
