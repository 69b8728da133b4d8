"""The state store in an Azure table, for machines without a disk of their own, such as Container Instances.

One table holds any number of feeds, each in a partition of its own. The SDK blocks, so it lives in one thread.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from heapq import nsmallest
from itertools import islice
from typing import TypeVar

from dicomcast.errors import CursorMoved, LeaseLost, StateError
from dicomcast.model import Checkpoint, Cursor, Lease, Parked, StudyKey
from dicomcast.state.azure_entities import (
    BACKFILL,
    INVENTORY,
    PARKED,
    Head,
    backfill_key,
    lease_of,
    parked_key,
    parked_of,
    parked_text,
    study_key,
)
from dicomcast.state.azure_feed import Feed, Known
from dicomcast.state.azure_table import Table, connect
from dicomcast.state.store import TableAccess, refuse_contradiction

__all__ = ["AzureTablesStore"]

_T = TypeVar("_T")
_TABLE = "dicomcast"
_NEVER = datetime.min.replace(tzinfo=UTC)


class AzureTablesStore:
    """The table `<prefix>dicomcast` of a storage account; for who only reads, one that is not there is empty."""

    def __init__(self, account: str, access: TableAccess, *, read_only: bool = False) -> None:
        self._connect = connect(
            account,
            connection_string=access.connection_string,
            table=access.prefix + _TABLE,
            client_id=access.client_id,
        )
        self._read_only = read_only
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._table: Table | None = None
        self._feeds: dict[str, Feed] = {}

    async def load(self, feed: str) -> Checkpoint:
        """The checkpoint of a feed."""
        return await self._run(feed, lambda rows: _checkpoint(rows.look().head))

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

        def work(rows: Feed) -> Checkpoint:
            def decide(known: Known) -> tuple[Head, dict[str, str | None]]:
                _fence(known.head, epoch)
                if known.head.revision != at.revision:
                    raise CursorMoved(
                        "another worker has moved the cursor of this source: only one may be active on a state store"
                    )
                return known.head.at(to, datetime.now(UTC)), _changes(rows, known, parked, resolved, read)

            return _checkpoint(rows.write(decide))

        return await self._run(at.feed, work)

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

        def work(rows: Feed) -> None:
            def decide(known: Known) -> tuple[Head, dict[str, str | None]]:
                _fence(known.head, epoch)
                return known.head, _changes(rows, known, parked, resolved, read)

            rows.write(decide)

        await self._run(feed, work)

    async def parked(self, feed: str) -> list[Parked]:
        """All rows, oldest first."""
        found = await self._run(feed, _all_parked)
        return sorted(found, key=lambda row: (row.first_seen or _NEVER, row.key.partition, row.key.study_uid))

    async def due(self, feed: str, now: datetime, limit: int = 100) -> list[Parked]:
        """The rows whose next attempt has come."""
        rows = await self._run(feed, _all_parked)
        due = [(row.next_attempt, row) for row in rows if row.next_attempt is not None and row.next_attempt <= now]
        return [row for _, row in nsmallest(limit, due, key=lambda one: one[0])]

    async def record(self, feed: str, seen: Mapping[str, str | None], *, epoch: int | None = None) -> None:
        """Note what the archive was seen to hold."""
        held = {study_key(uid): json.dumps([uid, mark]) for uid, mark in seen.items() if mark is not None}
        gone = [study_key(uid) for uid, mark in seen.items() if mark is None]

        def work(rows: Feed) -> None:
            def decide(known: Known) -> tuple[Head, dict[str, str | None]]:
                _fence(known.head, epoch)
                there = rows.content(INVENTORY, known) if gone else {}
                return known.head, {**held, **{key: None for key in gone if key in there}}

            rows.write(decide)

        await self._run(feed, work)

    async def fingerprints(self, feed: str, study_uids: Collection[str]) -> dict[str, str]:
        """Those of these studies that are in the inventory."""

        def work(rows: Feed) -> dict[str, str]:
            there = rows.read(INVENTORY)
            found = [there[key] for key in map(study_key, study_uids) if key in there]
            return dict(json.loads(text) for text in found)

        return await self._run(feed, work) if study_uids else {}

    async def inventory(self, feed: str, after: str = "", limit: int = 1000) -> list[str]:
        """The StudyInstanceUIDs in the inventory."""

        def work(rows: Feed) -> list[str]:
            there = rows.read(INVENTORY)
            behind = study_key(after)
            return [json.loads(there[key])[0] for key in nsmallest(limit, (key for key in there if key > behind))]

        return await self._run(feed, work)

    async def enlist(self, feed: str, studies: Collection[StudyKey], *, epoch: int | None = None) -> None:
        """Put studies on the list of a backfill."""
        wanted = {backfill_key(key): json.dumps([key.partition, key.study_uid]) for key in studies}

        def decide(known: Known) -> tuple[Head, dict[str, str | None]]:
            _fence(known.head, epoch)
            return known.head, {**wanted}

        await self._run(feed, lambda rows: rows.write(decide))

    async def enlisted(self, feed: str, limit: int = 100) -> list[StudyKey]:
        """The first of those on the list, in the order of a digest."""
        found = await self._run(feed, lambda rows: list(islice(rows.read(BACKFILL).values(), limit)))
        return [StudyKey(feed, *json.loads(text)) for text in found]

    async def count_enlisted(self, feed: str) -> int:
        """How many are on the list."""
        return await self._run(feed, lambda rows: len(rows.read(BACKFILL)))

    async def delist(self, feed: str, studies: Collection[StudyKey] | None, *, epoch: int | None = None) -> None:
        """Take studies off the list, or all."""

        def work(rows: Feed) -> None:
            def decide(known: Known) -> tuple[Head, dict[str, str | None]]:
                _fence(known.head, epoch)
                there = rows.content(BACKFILL, known)
                gone = list(there) if studies is None else [key for key in map(backfill_key, studies) if key in there]
                return known.head, dict.fromkeys(gone)

            rows.write(decide)

        await self._run(feed, work)

    async def acquire(self, feed: str, owner: str, now: datetime, ttl: timedelta) -> Lease:
        """Take or prolong the lease, unless another's has not run out."""

        def work(rows: Feed) -> Lease:
            new = False

            def decide(known: Known) -> tuple[Head, dict[str, str | None]]:
                nonlocal new
                found = lease_of(known.head)
                if found and found.owner != owner and found.expires_at > now:
                    return known.head, {}
                new = found is None or found.owner != owner
                return known.head.leased(Lease(feed, owner, (found.epoch if found else 0) + new, now + ttl)), {}

            head = rows.write(decide)
            lease = lease_of(head)
            assert lease is not None
            if new and lease.owner == owner:
                rows.clear(head.version)
            return lease

        return await self._run(feed, work)

    async def lease(self, feed: str) -> Lease | None:
        """The lease as it stands."""
        return await self._run(feed, lambda rows: lease_of(rows.look().head))

    async def release(self, lease: Lease) -> None:
        """Let it run out now; owner and epoch stay, so that the next owner gets a new epoch."""

        def decide(known: Known) -> tuple[Head, dict[str, str | None]]:
            found = lease_of(known.head)
            mine = found is not None and (found.owner, found.epoch) == (lease.owner, lease.epoch)
            return known.head.leased(replace(lease, expires_at=_NEVER)) if mine else known.head, {}

        await self._run(lease.feed, lambda rows: rows.write(decide))

    async def close(self) -> None:
        """Close the connections."""
        if self._table is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._table.close)
            self._table = None
            self._feeds.clear()
        self._thread.shutdown()

    async def _run(self, feed: str, work: Callable[[Feed], _T]) -> _T:
        def call() -> _T:
            if self._table is None:
                self._table = self._connect()
            if feed not in self._feeds:
                self._feeds[feed] = Feed(self._table, feed, read_only=self._read_only)
            return work(self._feeds[feed])

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except (KeyError, TypeError, ValueError) as error:
            said = f"a row cannot be read or written as what it should be ({type(error).__name__})"
        raise StateError(f"STATE__URL: azure-tables: {said}; what was settled before is still there")


def _checkpoint(head: Head) -> Checkpoint:
    if head.cursor is None:
        return Checkpoint(head.feed, None)
    moment = datetime.fromisoformat(head.updated_at) if head.updated_at else None
    return Checkpoint(head.feed, Cursor(**head.cursor), head.revision, moment)


def _fence(head: Head, epoch: int | None) -> None:
    if epoch is not None and (head.lease is None or head.lease["epoch"] != epoch):
        raise LeaseLost("another worker has taken over this source: it was too long since we renewed our lease")


def _all_parked(rows: Feed) -> list[Parked]:
    return [parked_of(text) for text in rows.read(PARKED).values()]


def _changes(
    rows: Feed,
    known: Known,
    parked: Sequence[Parked],
    resolved: Collection[StudyKey],
    read: Collection[Parked] | None,
) -> dict[str, str | None]:
    """What becomes of the rows: a study whose row is not as it was `read` keeps it, and what is not there cannot go."""
    put = {parked_key(row.key): parked_text(row) for row in parked}
    gone = {parked_key(key): None for key in resolved}
    if not put and not gone:
        return {}
    there = rows.content(PARKED, known)
    wanted = {**put, **{key: None for key in gone if key in there}}
    if read is None:
        return wanted
    before = {parked_key(row.key): parked_text(row) for row in read}
    kept = {key for key, text in there.items() if before.get(key) != text}
    return {key: text for key, text in wanted.items() if key not in kept}
