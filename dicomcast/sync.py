"""The whole flow: windows of the feed are grouped into deltas, each delta is cast, the window is settled.

The live tail, a replay and the retry of a parked study differ only in where the deltas come from, and in
whether the cursor moves.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

import structlog

from dicomcast.ahead import ahead
from dicomcast.casting import Caster
from dicomcast.dicom.feed import Feed
from dicomcast.errors import NonePasses
from dicomcast.fhir import FhirServer
from dicomcast.grouping import deltas
from dicomcast.model import Checkpoint, Outcome, Parked, StudyDelta, StudyKey, Window
from dicomcast.parking import due_now, waits
from dicomcast.settling import Cast, Settler, Task
from dicomcast.spans import SILENT, Spans
from dicomcast.state import StateStore
from dicomcast.tenure import Tenure

__all__ = ["Synchronizer"]

_log = structlog.get_logger()

# So many parked studies are retried between two windows: the feed does not wait for all of them.
_RETRIED = 8
# So many windows are read for one study that passes, where study after study fails.
_AHEAD = 8
# A study of which something stands in FHIR now.
_THERE = (Outcome.CREATED, Outcome.UPDATED, Outcome.UNCHANGED)
# … and one of which nothing does.
_NOWHERE = (Outcome.DELETED, Outcome.SKIPPED)


class Synchronizer:
    """Keeps a FHIR server in step with a feed.

    `clock` gives the present time, aware, in UTC; `count` hears of each study that was cast.
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
        count: Callable[[Outcome], None] = lambda _: None,
        concurrency: int = 4,
        window: int = 2500,
        spans: Spans = SILENT,
    ) -> None:
        self._feed = feed
        self._fhir = fhir
        self._store = store
        self._tenure = tenure
        self._caster = caster
        self._clock = clock
        self.window = window
        self._spans = spans
        self._settler = Settler(
            caster,
            probe=self._probe,
            ask_again=self._ask_again,
            count=count,
            fence=lambda: tenure.epoch,
            clock=clock,
            concurrency=concurrency,
            spans=spans,
        )

    @property
    def interrupted(self) -> bool:
        """Whether we were stopped while a write was under way, which may still come."""
        return self._settler.interrupted

    async def drain(self, checkpoint: Checkpoint) -> AsyncGenerator[tuple[Checkpoint, list[Cast]], None]:
        """Settle window after window up to the present end of the feed; each is yielded once it is settled."""
        assert checkpoint.cursor is not None, "the worker starts a feed at WORKER__START first"
        position = checkpoint.cursor.position
        whole = position.get("whole", 0)
        kept = {"whole": whole, "kind": self._feed.kind}
        if "backfill" in position:
            kept["backfill"] = position["backfill"]
        windows: list[Window] = []
        held: NonePasses | None = None
        reading = self._feed.windows(checkpoint.cursor, self.window)
        # A sweep compares with what is settled, so it must not be read ahead.
        async with aclosing(reading if self._feed.sweeps else ahead(reading)) as reading:
            async for window in reading:
                windows.append(window)
                end = replace(window.end, position={**window.end.position, **kept})
                try:
                    checkpoint, casts = await self._settle(
                        checkpoint, replace(_joined(windows), end=end), complete=end.sequence <= whole
                    )
                except NonePasses as error:
                    if len(windows) > _AHEAD:
                        raise
                    held = error  # Whose trouble it is may show in the next window.
                    continue
                windows, held = [], None
                yield checkpoint, casts
        if held is not None:
            raise held

    async def _settle(self, checkpoint: Checkpoint, window: Window, *, complete: bool) -> tuple[Checkpoint, list[Cast]]:
        with self._spans.span("window", {"dicomcast.entries": len(window.entries)}) as span:
            settled, casts = await self._settled(checkpoint, window, complete)
            span.note({"dicomcast.studies": len(casts), "dicomcast.sequence": window.end.sequence})
            return settled, casts

    async def _settled(self, checkpoint: Checkpoint, window: Window, complete: bool) -> tuple[Checkpoint, list[Cast]]:
        rows, now = await self._rows(), self._clock()
        folded, tasks = list[Cast](), list[Task]()
        for delta in deltas(self._feed.source, window):
            row = rows.get(delta.key)
            if row is not None and waits(row, now):
                folded.append(self._fold(delta, row))
            else:
                tasks.append(_task(delta, row))
        await self._expect(task.delta.key for task in tasks)
        casts = folded + await self._settler.settle(tasks, complete=complete)
        checkpoint = await self._store.advance(
            checkpoint,
            to=window.end,
            parked=_parked(casts),
            resolved=_resolved(casts),
            read=_read(rows, casts),
            epoch=self._tenure.epoch,
        )
        if window.seen:
            await self._store.record(self._feed.source, _held(window.seen, casts), epoch=self._tenure.epoch)
        if casts and self._feed.sweeps:
            _log.info("window.settled", sequence=window.end.sequence, studies=len(casts))
        elif casts:
            entries = len(window.entries)
            _log.info("window.settled", sequence=window.end.sequence, entries=entries, studies=len(casts))
        return checkpoint, casts

    async def _expect(self, keys: Iterable[StudyKey]) -> None:
        """Note that these studies may be in FHIR soon: should we end before they are settled, and the archive lose them
        meanwhile, nothing else would tell that they have to go.
        """
        if self._feed.sweeps and (unknown := {key.study_uid: "" for key in keys if key.study_uid}):
            await self._store.record(self._feed.source, unknown, epoch=self._tenure.epoch)

    async def replay(self, first: int, last: int | None) -> AsyncIterator[tuple[int, list[Cast]]]:
        """Cast a stretch of the feed once more, parked studies too, and tell how far. The cursor stays where it is."""
        async for window in self._feed.replay(first, last, self.window):
            casts = await self.cast_beside_the_feed(deltas(self._feed.source, window), afresh=True)
            _log.info("studies.settled", studies=len(casts))
            yield max((entry.sequence for entry in window.entries), default=window.end.sequence), casts

    async def replay_studies(self, study_uids: Collection[str]) -> list[Cast]:
        """Cast snapshots of studies, in every partition that may hold them."""
        return await self.retry(await self.keys_of_studies(study_uids))

    async def retry_parked(self) -> list[Cast]:
        """Cast snapshots of some of the parked studies whose time has come."""
        due = await self._store.due(self._feed.source, self._clock(), _RETRIED)
        return await self.retry([row.key for row in due])

    async def retry(self, keys: Collection[StudyKey]) -> list[Cast]:
        """Cast snapshots of these studies; one that cannot be named cannot be read either, and stays as it is."""
        some = [StudyDelta(key, snapshot=True) for key in keys if key.study_uid]
        casts = await self.cast_beside_the_feed(some, failed_before=True, afresh=True)
        if casts:
            _log.info("studies.settled", studies=len(casts))
        return casts

    async def hand_over(self, keys: Collection[StudyKey]) -> list[Parked]:
        """Ask the worker that is active to cast these studies at its next turn; returns the rows that say so."""
        rows, now = await self._rows(), self._clock()
        asked = [due_now(key, rows.get(key), now) for key in keys if key.study_uid]
        await self._store.settle(self._feed.source, parked=asked)
        return asked

    async def _ask_again(self, key: StudyKey) -> Parked:
        (asked,) = await self.hand_over([key])
        return asked

    async def keys_of(self, first: int, last: int | None) -> set[StudyKey]:
        """The studies of a stretch of the feed."""
        found: set[StudyKey] = set()
        async for window in self._feed.replay(first, last, self.window):
            found.update(delta.key for delta in deltas(self._feed.source, window))
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

    async def read(self, key: StudyKey) -> StudyDelta:
        """All that the archive holds of a study now, to be cast soon."""
        return await self._caster.read(key)

    async def cast_beside_the_feed(
        self,
        some: Sequence[StudyDelta],
        *,
        seen: Mapping[str, str] = MappingProxyType({}),
        failed_before: bool = False,
        afresh: bool = False,
    ) -> list[Cast]:
        """Cast these, parked or not; the cursor stays where it is.

        `seen` is what the feed had to note of them before they were read, the rest is as for `Settler.settle`.
        """
        if not some:
            return []
        with self._spans.span("studies", {"dicomcast.studies": len(some)}):
            rows = await self._rows()
            tasks = [_task(delta, rows.get(delta.key)) for delta in some]
            await self._expect(delta.key for delta in some)
            casts = await self._settler.settle(tasks, failed_before=failed_before, afresh=afresh)
            await self._store.settle(
                self._feed.source,
                parked=_parked(casts),
                resolved=_resolved(casts),
                read=_read(rows, casts),
                epoch=self._tenure.epoch,
            )
            # What is nowhere is taken out: else what was never there would look like an archive that has lost it.
            noted = {**{cast.key.study_uid: None for cast in casts if cast.outcome in _NOWHERE}, **seen}
            if self._feed.sweeps and noted:
                await self._store.record(self._feed.source, noted, epoch=self._tenure.epoch)
            return casts

    async def _probe(self) -> None:
        """Whether both peers answer at all."""
        await self._feed.probe()
        await self._fhir.probe()


def _joined(windows: Sequence[Window]) -> Window:
    """Windows that are settled as one; of a study that was seen more than once the last word counts."""
    return Window(
        tuple(entry for window in windows for entry in window.entries),
        windows[-1].end,
        tuple(uid for window in windows for uid in window.studies),
        {uid: fingerprint for window in windows for uid, fingerprint in window.seen.items()},
    )


def _held(seen: Mapping[str, str], casts: Iterable[Cast]) -> dict[str, str | None]:
    """What to note of studies that are settled: one that is gone is taken out, unless it has come back meanwhile."""
    there = {cast.key.study_uid for cast in casts if cast.outcome in _THERE}
    return {uid: fingerprint or ("" if uid in there else None) for uid, fingerprint in seen.items()}


def _task(delta: StudyDelta, row: Parked | None) -> Task:
    """A parked study has missed entries, so it is read whole."""
    return Task(_whole(delta) if row is not None and delta.key.study_uid else delta, row)


def _whole(delta: StudyDelta) -> StudyDelta:
    return StudyDelta(delta.key, snapshot=True, sequences=delta.sequences)


def _read(rows: dict[StudyKey, Parked], casts: list[Cast]) -> Collection[Parked]:
    """The rows as they stood when the casts began, and those that were stored on the way and are done with."""
    return (rows | {cast.key: cast.asked for cast in casts if cast.asked is not None}).values()


def _parked(casts: list[Cast]) -> list[Parked]:
    return [cast.parked for cast in casts if cast.parked is not None]


def _resolved(casts: list[Cast]) -> list[StudyKey]:
    return [cast.key for cast in casts if cast.parked is None]
