"""What a state store has to do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from dicomcast.errors import ConfigError
from dicomcast.model import Checkpoint, Cursor, Lease, Parked, StudyKey

__all__ = ["StateStore", "TableAccess", "open_store", "refuse_contradiction"]


class StateStore(Protocol):
    """Checkpoints, leases, parked rows, inventories and backfills, by feed: two sources in one store never meet.

    `epoch` is that of the lease under which a write happens: one that was taken over since is refused, so a
    worker that was stalled cannot undo what its successor did. `read` are the rows as they stood when the work
    began: a study whose row is another by now, or is there by now, keeps it, so what an operator asks for
    meanwhile is not lost. None in either is an operator's hand, which changes whatever it finds.
    """

    async def load(self, feed: str) -> Checkpoint:
        """The checkpoint of a feed; revision 0 without a cursor if it was never saved."""

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
        """Settle a window in one atomic write: cursor, parked rows (replacing those stored), resolved rows.

        Raises:
            CursorMoved: the stored revision is not `at.revision`; nothing was written.
            LeaseLost: the lease is at another epoch; nothing was written.
        """

    async def settle(
        self,
        feed: str,
        *,
        parked: Sequence[Parked] = (),
        resolved: Collection[StudyKey] = (),
        read: Collection[Parked] | None = None,
        epoch: int | None = None,
    ) -> None:
        """Settle a replay, a retry or an operator's wish: rows only, never the cursor.

        Raises:
            LeaseLost: the lease is at another epoch; nothing was written.
        """

    async def parked(self, feed: str) -> list[Parked]:
        """All rows, oldest first."""

    async def due(self, feed: str, now: datetime, limit: int = 100) -> list[Parked]:
        """The rows whose next attempt has come."""

    async def record(self, feed: str, seen: Mapping[str, str | None], *, epoch: int | None = None) -> None:
        """Note in the inventory of a feed what its archive was seen to hold: a fingerprint by StudyInstanceUID.

        None takes a study out; "" says that it may be in FHIR, and that what the archive has of it is not known.

        Raises:
            LeaseLost: the lease is at another epoch; nothing was written.
        """

    async def fingerprints(self, feed: str, study_uids: Collection[str]) -> dict[str, str]:
        """Those of these studies that are in the inventory."""

    async def inventory(self, feed: str, after: str = "", limit: int = 1000) -> list[str]:
        """The StudyInstanceUIDs in the inventory, in their order, behind one of them."""

    async def enlist(self, feed: str, studies: Collection[StudyKey], *, epoch: int | None = None) -> None:
        """Put studies on the list of those that a backfill has still to cast; one that is on it is on it once.

        Raises:
            LeaseLost: the lease is at another epoch; nothing was written.
        """

    async def enlisted(self, feed: str, limit: int = 100) -> list[StudyKey]:
        """Some of those on the list: the same ones, until they are taken off."""

    async def count_enlisted(self, feed: str) -> int:
        """How many are on the list."""

    async def delist(self, feed: str, studies: Collection[StudyKey] | None, *, epoch: int | None = None) -> None:
        """Take studies off the list; None takes off all.

        Raises:
            LeaseLost: the lease is at another epoch; nothing was written.
        """

    async def acquire(self, feed: str, owner: str, now: datetime, ttl: timedelta) -> Lease:
        """Take the lease of a feed, or prolong it: of two owners, one has it.

        What comes back is the lease as it stands, which is somebody else's if its `owner` is not ours. An
        owner whose lease has run out is taken over from, with a new epoch.
        """

    async def lease(self, feed: str) -> Lease | None:
        """The lease as it stands, None if there never was one."""

    async def release(self, lease: Lease) -> None:
        """Let the next owner have it at once; nothing happens if it is another's by now."""

    async def close(self) -> None:
        """Let go of the store."""


@dataclass(frozen=True, slots=True)
class TableAccess:
    """How an Azure table is reached and called: as whom is the identity that the machine has, without a secret."""

    connection_string: str = field(default="", repr=False)
    prefix: str = ""
    client_id: str = ""


def refuse_contradiction(parked: Sequence[Parked], resolved: Collection[StudyKey]) -> None:
    """A study cannot be both: that is a defect of who asks."""
    if {row.key for row in parked} & set(resolved):
        raise ValueError("a study cannot be parked and resolved at once")


def open_store(url: str, *, read_only: bool = False, table: TableAccess = TableAccess()) -> StateStore:
    """The store of a STATE__URL; its backend is imported only now. `read_only` makes none where there is none."""
    scheme, _, path = url.partition("://")
    if scheme == "sqlite":
        from dicomcast.state.sqlite import SqliteStore

        return SqliteStore(path.removeprefix("/") or ":memory:", read_only=read_only)
    if scheme == "azure-tables":
        from dicomcast.state.azure_tables import AzureTablesStore

        return AzureTablesStore(path, table, read_only=read_only)
    raise ConfigError("STATE__URL: a state store is written sqlite:///path/to/file.db or azure-tables://account")
