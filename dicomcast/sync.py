"""The whole flow: windows of the feed are grouped into deltas, each delta is cast, the window is settled.

The live tail, a replay and the retry of a parked study differ only in where the deltas come from, and in
whether the cursor moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from dicomcast.casting import Caster
from dicomcast.dicom.feed import Feed
from dicomcast.errors import LeaseLost, Rejected, Retriable
from dicomcast.fhir import FhirServer
from dicomcast.grouping import group
from dicomcast.model import Checkpoint, Outcome, Parked, StudyDelta, StudyKey
from dicomcast.parking import due_now, park
from dicomcast.state import StateStore
from dicomcast.tenure import Tenure

__all__ = ["Cast", "Synchronizer"]

_log = structlog.get_logger()

# A delta, and the row that its study has if it is parked.
_Task = tuple[StudyDelta, Parked | None]


@dataclass(frozen=True, slots=True)
class Cast:
    """What came of one delta; `parked` is the row to keep where it could not be cast."""

    key: StudyKey
    outcome: Outcome
    parked: Parked | None = None


class Synchronizer:
    """Keeps a FHIR server in step with a feed.

    `clock` gives the present time, aware, in UTC.
    """

    def __init__(
        self,
        feed: Feed,
        fhir: FhirServer,
        store: StateStore,
        tenure: Tenure,
        caster: Caster,
        *,
        clock: Callable[[], datetime],
        concurrency: int = 4,
        window: int = 2500,
    ) -> None:
        self._feed = feed
        self._fhir = fhir
        self._store = store
        self._tenure = tenure
        self._caster = caster
        self._clock = clock
        self._window = window
        self._at_once = asyncio.Semaphore(concurrency)

    async def drain(self, checkpoint: Checkpoint) -> AsyncIterator[tuple[Checkpoint, list[Cast]]]:
        """Settle window after window up to the present end of the feed; each is yielded once it is settled."""
        assert checkpoint.cursor is not None, "the worker starts a feed at WORKER__START first"
        whole = {"whole": True} if checkpoint.cursor.position.get("whole") else {}
        async for window in self._feed.windows(checkpoint.cursor, self._window):
            rows = await self._rows()
            deltas = group(self._feed.source, window.entries)
            folded = [self._fold(delta, rows[delta.key]) for delta in deltas if delta.key in rows]
            tasks: list[_Task] = [(delta, None) for delta in deltas if delta.key not in rows]
            casts = folded + await self._cast_all(tasks, complete=bool(whole))
            end = replace(window.end, position={**window.end.position, **whole})
            checkpoint = await self._store.advance(
                checkpoint, to=end, parked=_parked(casts), resolved=_resolved(casts), epoch=self._tenure.epoch
            )
            _log.info("window.settled", sequence=window.end.sequence, entries=len(window.entries), studies=len(casts))
            yield checkpoint, casts

    async def replay(self, first: int, last: int | None) -> AsyncIterator[list[Cast]]:
        """Cast a stretch of the feed once more, parked studies too. The cursor stays where it is."""
        async for window in self._feed.replay(first, last, self._window):
            yield await self._cast_beside_the_feed(group(self._feed.source, window.entries))

    async def replay_studies(self, study_uids: Collection[str]) -> list[Cast]:
        """Cast snapshots of studies, in every partition that may hold them."""
        return await self.retry(await self.keys_of_studies(study_uids))

    async def retry_parked(self) -> list[Cast]:
        """Cast snapshots of the parked studies whose time has come."""
        return await self.retry([row.key for row in await self._store.due(self._feed.source, self._clock())])

    async def retry(self, keys: Collection[StudyKey]) -> list[Cast]:
        """Cast snapshots of these studies; one that cannot be named cannot be read either, and stays as it is."""
        return await self._cast_beside_the_feed([StudyDelta(key, snapshot=True) for key in keys if key.study_uid])

    async def hand_over(self, keys: Collection[StudyKey]) -> None:
        """Ask the worker that is active to cast these studies at its next turn."""
        rows, now = await self._rows(), self._clock()
        await self._store.settle(self._feed.source, parked=[due_now(key, rows.get(key), now) for key in keys])

    async def keys_of(self, first: int, last: int | None) -> set[StudyKey]:
        """The studies of a stretch of the feed."""
        found: set[StudyKey] = set()
        async for window in self._feed.replay(first, last, self._window):
            found.update(delta.key for delta in group(self._feed.source, window.entries))
        return found

    async def keys_of_studies(self, study_uids: Collection[str]) -> list[StudyKey]:
        """A study in every partition that may hold it."""
        partitions = await self._feed.partitions()
        return [StudyKey(self._feed.source, partition, uid) for uid in study_uids for partition in partitions]

    async def _rows(self) -> dict[StudyKey, Parked]:
        return {row.key: row for row in await self._store.parked(self._feed.source)}

    def _fold(self, delta: StudyDelta, row: Parked) -> Cast:
        """Later entries of a parked study wait with it: its retry reads what is true then."""
        last = max(row.last_sequence, *delta.sequences)
        return Cast(delta.key, Outcome.PARKED, replace(row, last_sequence=last, last_seen=self._clock()))

    async def _cast_beside_the_feed(self, deltas: Sequence[StudyDelta]) -> list[Cast]:
        """A parked study has missed entries, so it is read whole."""
        if not deltas:
            return []
        rows = await self._rows()
        whole = [_whole(delta) if delta.key in rows else delta for delta in deltas]
        casts = await self._cast_all([(delta, rows.get(delta.key)) for delta in whole], complete=False)
        await self._store.settle(
            self._feed.source, parked=_parked(casts), resolved=_resolved(casts), epoch=self._tenure.epoch
        )
        return casts

    async def _cast_all(self, tasks: Sequence[_Task], *, complete: bool) -> list[Cast]:
        """Cast them all to their end: what is in hand is finished before an error stops the feed."""
        await self._caster.prepare([delta for delta, _ in tasks])
        settling = (self._settle(*task, complete=complete) for task in tasks)
        results = await asyncio.gather(*settling, return_exceptions=True)
        casts, failed = [], []
        for task, result in zip(tasks, results, strict=True):
            if isinstance(result, Cast):
                casts.append(result)
            elif isinstance(result, Retriable) and not result.throttled:
                failed.append(task)
            elif isinstance(result, BaseException):
                raise result
        return casts + [await self._settle_alone(*task) for task in failed]

    async def _settle(self, delta: StudyDelta, row: Parked | None, *, complete: bool = False) -> Cast:
        async with self._at_once:
            try:
                if delta.fault:
                    raise Rejected(delta.fault, reason="entry-not-understood")
                cast = Cast(delta.key, await self._caster.cast(delta, complete=complete))
            except Rejected as error:
                return self._step_aside(delta, row, error)
            except LeaseLost:
                # A write of ours may have come after our successor's: it has to look at this study once more.
                await self.hand_over([delta.key])
                raise
        _log.debug("study.cast", study=delta.key.study_uid, outcome=cast.outcome.value)
        return cast

    async def _settle_alone(self, delta: StudyDelta, row: Parked | None) -> Cast:
        """A study without an answer is its peer's trouble, unless the peers are well and it has none again.

        Raises:
            Retriable: a peer is away, or throttles.
        """
        await self._probe()
        try:
            return await self._settle(delta, row)
        except Retriable as error:
            if error.throttled:
                raise
            await self._probe()
            return self._step_aside(delta, row, error)

    async def _probe(self) -> None:
        """Whether both peers answer at all."""
        await self._feed.latest()
        await self._fhir.open()

    def _step_aside(self, delta: StudyDelta, row: Parked | None, error: Rejected | Retriable) -> Cast:
        self._caster.forget_endpoints()
        parked = park(delta, row, error, self._clock())
        _log.warning("study.parked", study=delta.key.study_uid, reason=parked.reason, error=parked.message)
        return Cast(delta.key, Outcome.PARKED, parked)


def _whole(delta: StudyDelta) -> StudyDelta:
    return StudyDelta(delta.key, snapshot=True, sequences=delta.sequences)


def _parked(casts: list[Cast]) -> list[Parked]:
    return [cast.parked for cast in casts if cast.parked is not None]


def _resolved(casts: list[Cast]) -> list[StudyKey]:
    return [cast.key for cast in casts if cast.parked is None]
