"""What a state store has to do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from dicomcast.errors import ConfigError
from dicomcast.model import Checkpoint, Cursor, Parked, StudyKey

__all__ = ["StateStore", "open_store"]


class StateStore(Protocol):
    """Checkpoints and parked rows, by feed: two sources in one store never meet."""

    async def load(self, feed: str) -> Checkpoint:
        """The checkpoint of a feed; revision 0 without a cursor if it was never saved."""

    async def advance(
        self, at: Checkpoint, *, to: Cursor, parked: Sequence[Parked] = (), resolved: Collection[StudyKey] = ()
    ) -> Checkpoint:
        """Settle a window in one atomic write: cursor, parked rows (replacing those stored), resolved rows.

        Raises:
            CursorMoved: the stored revision is not `at.revision`; nothing was written.
        """

    async def settle(self, feed: str, *, parked: Sequence[Parked] = (), resolved: Collection[StudyKey] = ()) -> None:
        """Settle a replay or a retry: rows only, never the cursor."""

    async def parked(self, feed: str) -> list[Parked]:
        """All rows, oldest first."""

    async def due(self, feed: str, now: datetime, limit: int = 100) -> list[Parked]:
        """The rows whose next attempt has come."""

    async def close(self) -> None:
        """Let go of the store."""


def open_store(url: str) -> StateStore:
    """The store of a STATE__URL; its backend is imported only now."""
    scheme, _, path = url.partition("://")
    if scheme != "sqlite":
        raise ConfigError("STATE__URL: a state store is written sqlite:///path/to/file.db")
    from dicomcast.state.sqlite import SqliteStore

    return SqliteStore(path.removeprefix("/") or ":memory:")
