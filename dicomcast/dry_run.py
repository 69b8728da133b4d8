"""Looking without touching: the bundles are shown instead of sent, and the store only read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice

from dicomcast.bundle import Write, batches, transaction
from dicomcast.fhir import FhirServer, Written
from dicomcast.http import Http, dump_json
from dicomcast.model import Checkpoint, Cursor, Lease, Parked, StudyKey
from dicomcast.state import StateStore

__all__ = ["DryRunServer", "DryRunStore"]


# The version of what would have been written: no server knows it, so it goes into no If-Match.
_UNWRITTEN = "dry-run"


class DryRunServer(FhirServer):
    """A FHIR server that is searched, but not written to."""

    def __init__(self, http: Http, show: Callable[[bytes], None], *, version: str = "auto") -> None:
        super().__init__(http, version=version)
        self._show = show

    async def write(self, writes: list[Write]) -> list[Written]:
        """Show the bundles that would be sent, and answer as if they had been taken."""
        known = [replace(write, version="") if write.version == _UNWRITTEN else write for write in writes]
        known = self.outgoing(known)
        for bundle in [transaction(known)] if self.capabilities.transaction else batches(known):
            self._show(dump_json(bundle))
        return [Written(201 if write.new else 200, write.resource["id"], _UNWRITTEN) for write in writes]


class DryRunStore:
    """A state store that is read, but not written to; it needs no lease, since nothing is settled."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._tried: set[StudyKey] = set()
        self._listed: dict[StudyKey, None] = {}

    async def load(self, feed: str) -> Checkpoint:
        """The real checkpoint."""
        return await self._store.load(feed)

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
        """The checkpoint that would be."""
        return replace(at, cursor=to, revision=at.revision + 1)

    async def settle(
        self,
        feed: str,
        *,
        parked: Sequence[Parked] = (),
        resolved: Collection[StudyKey] = (),
        read: Collection[Parked] | None = None,
        epoch: int | None = None,
    ) -> None:
        """Leave the rows as they are."""

    async def parked(self, feed: str) -> list[Parked]:
        """The real rows."""
        return await self._store.parked(feed)

    async def due(self, feed: str, now: datetime, limit: int = 100) -> list[Parked]:
        """The real rows that are due, each once: they stay due, as nothing settles them."""
        due = [row for row in await self._store.due(feed, now, limit=1_000_000) if row.key not in self._tried]
        self._tried.update(row.key for row in due[:limit])
        return due[:limit]

    async def record(self, feed: str, seen: Mapping[str, str | None], *, epoch: int | None = None) -> None:
        """Leave the inventory as it is."""

    async def fingerprints(self, feed: str, study_uids: Collection[str]) -> dict[str, str]:
        """The real ones."""
        return await self._store.fingerprints(feed, study_uids)

    async def inventory(self, feed: str, after: str = "", limit: int = 1000) -> list[str]:
        """The real one."""
        return await self._store.inventory(feed, after, limit)

    async def enlist(self, feed: str, studies: Collection[StudyKey], *, epoch: int | None = None) -> None:
        """Put studies on a list of our own."""
        self._listed |= dict.fromkeys(studies)

    async def enlisted(self, feed: str, limit: int = 100) -> list[StudyKey]:
        """The first on that list."""
        return list(islice(self._listed, limit))

    async def count_enlisted(self, feed: str) -> int:
        """How many are on that list."""
        return len(self._listed)

    async def delist(self, feed: str, studies: Collection[StudyKey] | None, *, epoch: int | None = None) -> None:
        """Take them off that list."""
        for key in list(self._listed) if studies is None else studies:
            self._listed.pop(key, None)

    async def acquire(self, feed: str, owner: str, now: datetime, ttl: timedelta) -> Lease:
        """As if nobody else were there."""
        return Lease(feed, owner, 0, now + ttl)

    async def lease(self, feed: str) -> Lease | None:
        """The real lease."""
        return await self._store.lease(feed)

    async def release(self, lease: Lease) -> None:
        """There is nothing to release."""

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()
