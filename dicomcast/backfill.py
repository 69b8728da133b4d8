"""A backfill: every study that the archive holds is cast once from a snapshot, beside the tail.

First all studies are listed, which takes minutes, and the list is stored; a study leaves it when it is settled. So a
backfill that is killed goes on with what is left, and what comes or goes during the days that it takes is the tail's.
The worker has the tail read between two steps: nothing is read from the archive before it and written after it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import structlog

from dicomcast.app import App
from dicomcast.errors import NonePasses, Rejected, Retriable, Unauthorized
from dicomcast.grouping import is_uid
from dicomcast.model import Checkpoint, StudyDelta, StudyKey
from dicomcast.progress import Progress
from dicomcast.settling import Cast, side_by_side

__all__ = ["Backfill"]

_log = structlog.get_logger()

# In a page of the list, and in what is cast at once: studies, and how many instances they have together.
_PAGE, _STUDIES, _INSTANCES = 200, 64, 2500
# With a rate, what is cast at once is what is due within so many seconds.
_SMOOTH = 5.0
# Where study after study fails, so many times more are tried at once: whose trouble it is shows where others pass.
_WIDEST = 8
# How often the log says how far it is, and how long nothing is looked at, in seconds.
_TOLD, _PATIENCE = 60.0, 1.0


class Backfill:
    """The steps of a backfill of an `App`.

    `rate` is how many studies a second are cast at most; `restart` forgets what an earlier run has left; `lag` is how
    long a store may be under way: what the feed has numbered before its cursor was pinned is there after that time.
    `tell` hears of each step; without it the log does, now and then.
    """

    def __init__(
        self,
        app: App,
        *,
        rate: float | None = None,
        restart: bool = False,
        lag: timedelta = timedelta(0),
        concurrency: int = 4,
        tell: Callable[[Progress], None] | None = None,
    ) -> None:
        self._app = app
        self._rate = rate
        self._restart = restart
        self._lag = lag.total_seconds()
        self._concurrency = concurrency
        self._tell = tell
        self._source = app.feed.source
        self._pages: AsyncIterator[list[StudyKey]] | None = None
        self._wider = 1
        self._next = 0.0
        self._told = 0.0
        self.progress = Progress()
        self.complete = False

    async def work(
        self, checkpoint: Checkpoint, hurry: Callable[[], bool], count: Callable[[list[Cast], str], object]
    ) -> Checkpoint:
        """Step after step, until somebody is in a `hurry` or it is complete; `count` hears of what was cast."""
        while not (hurry() or self.complete):
            checkpoint, casts = await self.step(checkpoint, hurry)
            count(casts, "backfill")
        return checkpoint

    async def step(self, checkpoint: Checkpoint, hurry: Callable[[], bool]) -> tuple[Checkpoint, list[Cast]]:
        """List a page of studies, or cast some that are on the list, or wait a little where it is too early.

        What takes long ends sooner once somebody is in a `hurry`.
        """
        assert checkpoint.cursor is not None
        total = checkpoint.cursor.position.get("backfill")
        casts: list[Cast] = []
        if self._restart:
            checkpoint = await self._note(checkpoint, None)
            await self._app.store.delist(self._source, None, epoch=self._epoch)
            self._restart = False
        elif total is None:
            checkpoint = await self._list(checkpoint)
        elif self.progress.total is None:
            await self._begin(total)
        elif self.progress.left and self._rest() > 0:
            await asyncio.sleep(min(self._rest(), _PATIENCE))
        else:
            checkpoint, casts = await self._cast_some(checkpoint, hurry)
        self._report()
        return checkpoint, casts

    @property
    def _epoch(self) -> int:
        return self._app.tenure.epoch

    async def _note(self, checkpoint: Checkpoint, total: int | None) -> Checkpoint:
        """Note beside the cursor, which stays where it is, how many studies there are to cast; None: no backfill."""
        assert checkpoint.cursor is not None
        position = {name: value for name, value in checkpoint.cursor.position.items() if name != "backfill"}
        position |= {} if total is None else {"backfill": total}
        cursor = replace(checkpoint.cursor, position=position)
        return await self._app.store.advance(checkpoint, to=cursor, epoch=self._epoch)

    # --- The list ---

    async def _list(self, checkpoint: Checkpoint) -> Checkpoint:
        """A page more of it; at the end of the list it is noted that it is whole."""
        if self._pages is None:
            self._pages, self.progress = self._studies(), Progress()
        try:
            page = await anext(self._pages, None)
        except BaseException:
            self._pages = None  # It ends with an error, and begins anew.
            raise
        if page is None:
            self._pages = None
            return await self._note(checkpoint, await self._app.store.count_enlisted(self._source))
        if page:
            await self._app.store.enlist(self._source, page, epoch=self._epoch)
            self.progress.listed += len(page)
        return checkpoint

    async def _studies(self) -> AsyncIterator[list[StudyKey]]:
        """The studies of all partitions, in pages, once all that was under way at the start has come."""
        begin = _now() + self._lag
        while _now() < begin:
            await asyncio.sleep(min(begin - _now(), _PATIENCE))
            yield []
        for partition in await self._app.feed.partitions():
            async for page in self._app.feed.studies(partition, _PAGE):
                yield [StudyKey(self._source, partition, uid if is_uid(uid) else "") for uid in page]

    async def _begin(self, total: int) -> None:
        left = await self._app.store.count_enlisted(self._source)
        self.progress = Progress(total, max(total, left), max(total - left, 0))
        _log.info("backfill.listed", studies=total, settled=self.progress.before)
        self.progress.look(_now())

    # --- The casts ---

    async def _cast_some(self, checkpoint: Checkpoint, hurry: Callable[[], bool]) -> tuple[Checkpoint, list[Cast]]:
        """Cast the next ones; with nothing left the backfill is complete, and what is noted of it is gone."""
        most = self._wider * _STUDIES
        most = most if self._rate is None else min(most, max(self._wider, int(self._rate * _SMOOTH)))
        keys = await self._app.store.enlisted(self._source, most)
        if not keys:
            checkpoint, self.complete = await self._note(checkpoint, None), True
            return checkpoint, []
        began = _now()
        some, seen = await self._read(keys, hurry)
        last = len(some) == self.progress.left
        try:
            casts = await self._app.synchronizer.cast_beside_the_feed(some, seen=seen)
        except NonePasses:
            if not last and self._wider < _WIDEST:
                self._wider *= 2
                return checkpoint, []
            if not last or not self.progress.settled:
                raise
            # Nobody is left who could pass beside them, and others have passed.
            casts = await self._app.synchronizer.cast_beside_the_feed(some, seen=seen, failed_before=True)
        await self._app.store.delist(self._source, [delta.key for delta in some], epoch=self._epoch)
        self._wider = 1
        self._next = began + (len(some) / self._rate if self._rate else 0.0)
        self.progress.outcomes.update(cast.outcome for cast in casts)
        self.progress.look(_now())
        return checkpoint, casts

    async def _read(self, keys: list[StudyKey], hurry: Callable[[], bool]) -> tuple[list[StudyDelta], dict[str, str]]:
        """Snapshots of the first of these, as many as should be in memory at once, and what there is to note of them.

        One that cannot be read is left to the cast, which judges whose trouble that is.
        """
        waiting = deque(keys)
        some: list[StudyDelta] = []
        seen: dict[str, str] = {}
        instances = 0

        async def work() -> None:
            nonlocal instances
            while waiting and instances < self._wider * _INSTANCES and not (some and hurry()):
                key = waiting.popleft()
                try:
                    if not key.study_uid:
                        delta = StudyDelta(key, fault="the archive names a StudyInstanceUID that is no UID")
                    else:
                        seen.update(await self._app.feed.still([key.study_uid]))
                        delta = await self._app.synchronizer.read(key)
                except Rejected:
                    delta = StudyDelta(key, snapshot=True)
                except (Retriable, Unauthorized):
                    delta = StudyDelta(key, snapshot=True)
                    waiting.clear()
                instances += len(delta.instances)
                some.append(delta)

        await side_by_side(work, self._concurrency)
        return some, seen

    def _rest(self) -> float:
        return self._next - _now()

    def _report(self) -> None:
        if self._tell is not None:
            self._tell(self.progress)
        elif _now() >= self._told:
            self._told = _now() + _TOLD
            progress = self.progress
            studies = progress.listed if progress.total is None else progress.total
            seconds = progress.eta.total_seconds() if progress.eta is not None else None
            _log.info(
                "backfill.progress", studies=studies, settled=progress.settled, left=progress.left, seconds=seconds
            )


def _now() -> float:
    return asyncio.get_running_loop().time()
