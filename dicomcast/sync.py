"""The whole flow: windows of the feed are grouped into deltas, each delta is cast, the window is settled.

`cast` makes FHIR match a delta, and is the same for the live tail, a replay, and the retry of a parked
study. It can be repeated at any time: what is right already is not written again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from dicomcast.bundle import Method, Write
from dicomcast.dicom.feed import Feed
from dicomcast.errors import Conflict, Rejected
from dicomcast.fhir import FhirServer, Identifier, version_of
from dicomcast.grouping import group
from dicomcast.identity import endpoint_id, origin, owns, study_id
from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.endpoint import endpoint
from dicomcast.mapping.patient import patient
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.values import JSON, study_identifier
from dicomcast.memory import Memory
from dicomcast.merge import Draft, Links, draft, merge_study
from dicomcast.model import Checkpoint, Outcome, Parked, Stage, StudyDelta, StudyKey, Window
from dicomcast.overlay import leads_to, overlay
from dicomcast.patients import Patients, identifier_of
from dicomcast.state import StateStore

__all__ = ["Cast", "Synchronizer"]

_log = structlog.get_logger()

# How often one study is looked at anew because somebody else wrote it meanwhile.
_CONFLICTS = 5
# With more speakers to read than this, one read of the whole study is cheaper.
_SINGLE_READS = 3
_FIRST_RETRY, _LAST_RETRY = timedelta(minutes=1), timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Cast:
    """What came of one delta; `parked` is the row to keep where it could not be cast."""

    key: StudyKey
    outcome: Outcome
    parked: Parked | None = None


class Synchronizer:
    """Keeps a FHIR server in step with a feed. `clock` gives the present time, aware, in UTC."""

    def __init__(
        self,
        feed: Feed,
        fhir: FhirServer,
        store: StateStore,
        rules: Rules,
        *,
        clock: Callable[[], datetime],
        mode: str = "own",
        concurrency: int = 4,
        window: int = 2500,
    ) -> None:
        self._feed = feed
        self._fhir = fhir
        self._store = store
        self._rules = rules
        self._clock = clock
        self._window = window
        self._memory = Memory(fhir)
        self._patients = Patients(fhir, self._memory, feed, rules, mode)
        self._at_once = asyncio.Semaphore(concurrency)
        self._endpoints: dict[str, str] = {}
        self._endpoint_lock = asyncio.Lock()

    async def drain(self, checkpoint: Checkpoint) -> AsyncIterator[tuple[Checkpoint, list[Cast]]]:
        """Settle window after window up to the present end of the feed; each is yielded once it is settled."""
        assert checkpoint.cursor is not None, "the worker starts a feed at WORKER__START first"
        async for window in self._feed.windows(checkpoint.cursor, self._window):
            casts = await self._cast_window(window)
            checkpoint = await self._store.advance(
                checkpoint, to=window.end, parked=_parked(casts), resolved=_resolved(casts)
            )
            _log.info("window.settled", sequence=window.end.sequence, entries=len(window.entries), studies=len(casts))
            yield checkpoint, casts

    async def replay(self, first: int, last: int | None) -> AsyncIterator[list[Cast]]:
        """Cast a stretch of the feed once more. The cursor stays where it is."""
        async for window in self._feed.replay(first, last, self._window):
            yield await self._settle_rows(await self._cast_window(window))

    async def replay_studies(self, study_uids: Collection[str]) -> list[Cast]:
        """Cast snapshots of studies, in every partition that may hold them."""
        partitions = await self._feed.partitions()
        keys = [StudyKey(self._feed.source, partition, uid) for uid in study_uids for partition in partitions]
        return await self._cast_snapshots(keys)

    async def retry_parked(self) -> list[Cast]:
        """Cast snapshots of the parked studies whose time has come."""
        due = await self._store.due(self._feed.source, self._clock())
        return await self._cast_snapshots([row.key for row in due]) if due else []

    async def _cast_snapshots(self, keys: list[StudyKey]) -> list[Cast]:
        rows = {row.key: row for row in await self._store.parked(self._feed.source)}
        self._memory.clear()
        casts = await _all([self._settle(StudyDelta(key, snapshot=True), rows.get(key)) for key in keys])
        return await self._settle_rows(casts)

    async def _settle_rows(self, casts: list[Cast]) -> list[Cast]:
        await self._store.settle(self._feed.source, parked=_parked(casts), resolved=_resolved(casts))
        return casts

    async def _cast_window(self, window: Window) -> list[Cast]:
        deltas = group(self._feed.source, window.entries)
        rows = {row.key: row for row in await self._store.parked(self._feed.source)}
        self._memory.clear()
        await self._memory.look_up("ImagingStudy", {_study_identifier(delta.key) for delta in deltas})
        await self._memory.look_up("Patient", self._patient_identifiers(deltas))
        return await _all([self._fold(delta, rows[delta.key]) for delta in deltas if delta.key in rows]) + await _all(
            [self._settle(delta, None) for delta in deltas if delta.key not in rows]
        )

    def _patient_identifiers(self, deltas: Sequence[StudyDelta]) -> set[Identifier]:
        """The Patients that the studies of a window will ask for: mapped from one instance of each, as a guess."""
        found = set()
        for delta in deltas:
            metadata = next((one.metadata for one in delta.instances.values() if one.metadata is not None), None)
            desired = patient(Dataset(metadata), self._rules, delta.key.study_uid) if metadata else None
            if desired is not None:
                found.add(identifier_of(desired))
        return found

    async def _fold(self, delta: StudyDelta, row: Parked) -> Cast:
        """Later entries of a parked study wait with it: its retry reads what is true then."""
        last = max(row.last_sequence, *delta.sequences)
        return Cast(delta.key, Outcome.PARKED, replace(row, last_sequence=last, last_seen=self._clock()))

    async def _settle(self, delta: StudyDelta, row: Parked | None) -> Cast:
        async with self._at_once:
            try:
                if delta.fault:
                    raise Rejected(delta.fault, reason="entry-not-understood")
                cast = Cast(delta.key, await self.cast(delta))
            except Rejected as error:
                cast = Cast(delta.key, Outcome.PARKED, self._park(delta, row, error))
                _log.warning("study.parked", study=delta.key.study_uid, reason=error.reason, error=str(error))
        _log.debug("study.cast", study=delta.key.study_uid, outcome=cast.outcome.value)
        return cast

    def _park(self, delta: StudyDelta, row: Parked | None, error: Rejected) -> Parked:
        now = self._clock()
        attempts = row.attempts + 1 if row else 1
        sequences = [*delta.sequences, *((row.first_sequence, row.last_sequence) if row else ())] or [0]
        wait = min(_FIRST_RETRY * 2 ** min(attempts - 1, 16), _LAST_RETRY)
        return Parked(
            key=delta.key,
            first_sequence=min(sequences),
            last_sequence=max(sequences),
            stage=Stage.FEED if delta.fault else Stage.WRITE if error.status else Stage.MAP,
            reason=error.reason,
            message=str(error)[:256],
            status=error.status,
            codes=error.codes,
            attempts=attempts,
            first_seen=row.first_seen if row else now,
            last_seen=now,
            # A study that cannot even be named has nothing to be read again.
            next_attempt=now + wait if delta.key.study_uid else None,
        )

    async def cast(self, delta: StudyDelta) -> Outcome:
        """Make FHIR match a delta; a snapshot without instances is read from the archive first.

        Raises:
            Rejected: this study cannot be cast; others can.
            Retriable: a peer is not there; nothing is known of the study.
            Fatal: a peer refuses our credentials.
        """
        for _ in range(_CONFLICTS):
            try:
                return await self._cast(await self._whole(delta))
            except Conflict as error:
                conflict = error
                self._memory.clear()
        raise Rejected(f"study {delta.key.study_uid}: {conflict}, again and again", reason="conflict")

    async def _whole(self, delta: StudyDelta) -> StudyDelta:
        return await self._feed.snapshot(delta.key) if delta.snapshot and not delta.instances else delta

    async def _cast(self, delta: StudyDelta) -> Outcome:
        matches = await self._memory.get("ImagingStudy", _study_identifier(delta.key))
        existing = _ours(matches, delta.key)
        if existing is None and not delta.instances:
            return Outcome.SKIPPED
        endpoint_reference = await self._endpoint(delta.key.partition)
        content = await self._draft(existing, delta, endpoint_reference)
        desired = patient(content.dataset, self._rules, delta.key.study_uid) if content.dataset else None
        if content.dataset is not None and desired is None:
            return Outcome.SKIPPED  # no PatientID, and PATIENT__MISSING_ID is skip
        async with self._patients.held(_subjects(existing, desired)):
            writes = await self._plan(existing, content, delta.key, desired, endpoint_reference, bool(matches))
            if not writes:
                return Outcome.UNCHANGED
            for write, written in zip(writes, await self._fhir.write(writes), strict=True):
                self._memory.remember(write, written)
        return _outcome(existing, writes)

    async def _draft(self, existing: JSON | None, delta: StudyDelta, endpoint_reference: str) -> Draft:
        """Draft the study, and read who speaks where the delta does not say."""
        for _ in range(3):
            content = draft(existing, delta, self._rules, endpoint_reference)
            if not content.missing:
                return content
            if len(content.missing) > _SINGLE_READS:
                break
            read = await asyncio.gather(*(self._feed.instance(delta.key, key) for key in content.missing))
            found = {one.key: one for one in read if one is not None}
            if len(found) < len(content.missing):
                break
            delta = replace(delta, instances={**delta.instances, **found})
        snapshot = await self._feed.snapshot(delta.key)
        return draft(existing, snapshot, self._rules, endpoint_reference)

    async def _plan(
        self,
        existing: JSON | None,
        content: Draft,
        key: StudyKey,
        desired: JSON | None,
        endpoint_reference: str,
        matched: bool,
    ) -> list[Write]:
        """What has to be written: Patients first, the study behind them."""
        if content.speaker is None and existing is not None and owns(key, existing):
            gone = Write(Method.DELETE, existing, version=version_of(existing))
            return [*await self._patients.leave(existing, key), gone]
        links = Links(None, endpoint_reference, self._feed.base_url(key.partition))
        writes: list[Write] = []
        if desired is not None:
            provisional = merge_study(existing, content, key, self._rules, links, study_id(key))
            subject, writes = await self._patients.resolve(desired, provisional.get("started", ""), key)
            links = replace(links, subject=subject)
            if existing is not None and not leads_to(existing.get("subject"), subject["reference"]):
                writes = [*writes, *await self._patients.leave(existing, key)]
        study = merge_study(existing, content, key, self._rules, links, study_id(key))
        if study == existing:
            return writes
        return [*writes, self._write_study(existing, study, key, matched)]

    def _write_study(self, existing: JSON | None, study: JSON, key: StudyKey, matched: bool) -> Write:
        if existing is not None:
            return Write(Method.PUT, study, version=version_of(existing))
        if self._fhir.creates_by_put("ImagingStudy"):
            return Write(Method.PUT, study)
        # Another partition's study of the same UID would satisfy the condition: then it is no condition.
        return Write(Method.POST, study, unless=None if matched else _study_identifier(key))

    async def _endpoint(self, partition: str) -> str:
        """The reference of a partition's Endpoint, which is made sure of once."""
        async with self._endpoint_lock:
            if partition not in self._endpoints:
                self._endpoints[partition] = await self._ensure_endpoint(partition)
        return self._endpoints[partition]

    async def _ensure_endpoint(self, partition: str) -> str:
        desired = endpoint(self._feed.base_url(partition))
        own = endpoint_id(self._feed.source, partition)
        identifier = identifier_of(desired)
        found = await self._memory.get("Endpoint", identifier)
        by_id = await self._fhir.read("Endpoint", own) if not found else None
        existing = found[0] if found else by_id
        if existing is None:
            by_put = self._fhir.creates_by_put("Endpoint")
            write = Write(Method.PUT if by_put else Method.POST, desired | {"id": own}, unless=identifier)
            written = (await self._fhir.write([write]))[0]
            return f"Endpoint/{written.id or own}"
        after = overlay(existing, {name: value for name, value in desired.items() if name != "meta"}, ())
        if after != existing:
            await self._fhir.write([Write(Method.PUT, after, version=version_of(existing))])
        return f"Endpoint/{existing['id']}"


async def _all(tasks: list) -> list[Cast]:  # type: ignore[type-arg]
    """Run them all to their end, then raise what stopped one: what is in hand is finished first."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if isinstance(result, Cast)]


def _parked(casts: list[Cast]) -> list[Parked]:
    return [cast.parked for cast in casts if cast.parked is not None]


def _resolved(casts: list[Cast]) -> list[StudyKey]:
    return [cast.key for cast in casts if cast.parked is None]


def _study_identifier(key: StudyKey) -> Identifier:
    identifier = study_identifier(key.study_uid)
    return identifier["system"], identifier["value"]


def _subjects(existing: JSON | None, desired: JSON | None) -> list[Identifier]:
    """The Patients that a cast may write: the one it had and the one it gets."""
    subject = (existing or {}).get("subject", {})
    had = [identifier_of(subject)] if isinstance(subject.get("identifier"), dict) else []
    return had + ([identifier_of(desired)] if desired is not None else [])


def _ours(matches: list[JSON], key: StudyKey) -> JSON | None:
    """The ImagingStudy to work on: the one we created; else the only one of somebody else, which is adopted."""
    mine = [one for one in matches if owns(key, one)]
    if len(mine) > 1:
        mine = [one for one in mine if one["id"] == study_id(key)] or mine
    foreign = [one for one in matches if origin(str(one.get("meta", {}).get("source", "")))[0] != key.source]
    candidates = mine or foreign
    if len(candidates) > 1:
        raise Rejected(
            f"study {key.study_uid}: {len(candidates)} ImagingStudies in FHIR have its UID; delete all but one",
            reason="multiple-match",
        )
    return candidates[0] if candidates else None


def _outcome(existing: JSON | None, writes: list[Write]) -> Outcome:
    if writes[-1].method is Method.DELETE:
        return Outcome.DELETED
    return Outcome.CREATED if existing is None else Outcome.UPDATED
