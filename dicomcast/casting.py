"""Making FHIR match one delta: find what stands there, draft, read who speaks, plan, write.

A cast can be repeated at any time: what is right already is not written again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from dicomcast.bundle import Method, Write
from dicomcast.dicom.feed import Feed
from dicomcast.errors import Conflict, Rejected, Stumbled, Unanswered
from dicomcast.fhir import FhirServer, Identifier, Written, version_of
from dicomcast.identity import endpoint_id, origin, owns, study_id
from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.endpoint import endpoint
from dicomcast.mapping.patient import patient
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.values import JSON, study_identifier
from dicomcast.memory import Memory
from dicomcast.merge import Draft, Links, draft, merge_study
from dicomcast.model import Issue, Outcome, StudyDelta, StudyKey
from dicomcast.overlay import leads_to, overlay
from dicomcast.patients import Patients, identifier_of

__all__ = ["Caster"]

# How often one study is looked at anew because somebody else wrote it meanwhile.
_CONFLICTS = 5
# With more speakers to read than this, one read of the whole study is cheaper.
_SINGLE_READS = 3


class _Overtaken(Conflict):
    """Somebody created the study between our look and our write: what they wrote is not what we merged with."""


class Caster:
    """Casts the studies of one source. `fence` is called before each write, and raises where we may not write."""

    def __init__(
        self, feed: Feed, fhir: FhirServer, rules: Rules, *, mode: str = "own", fence: Callable[[], object]
    ) -> None:
        self._feed = feed
        self._fhir = fhir
        self._rules = rules
        self._fence = fence
        self._memory = Memory(fhir)
        self._patients = Patients(fhir, self._memory, feed, rules, mode)
        self._tells_creates: bool | None = None
        self._endpoints: dict[str, str] = {}
        self._endpoint_lock = asyncio.Lock()

    async def prepare(self, deltas: Sequence[StudyDelta]) -> None:
        """Forget what was seen before, and look up with few searches what casting these will ask for.

        A search that the server chokes on may be one study's fault: then each looks up for itself.
        """
        self._memory.clear()
        with contextlib.suppress(Rejected, Stumbled):
            await self._memory.look_up("ImagingStudy", {_study_identifier(delta.key) for delta in deltas})
            await self._memory.look_up("Patient", self._patient_identifiers(deltas))

    def forget_endpoints(self) -> None:
        """Make sure of them again: what was refused may have referred to one that is gone."""
        self._endpoints.clear()

    async def cast(self, delta: StudyDelta, *, complete: bool = False) -> Outcome:
        """Make FHIR match a delta; a snapshot without instances is read from the archive first.

        `complete` says that a study which is not in FHIR yet is all in the delta, because the feed was followed
        from its beginning; else such a study is read whole.

        Raises:
            Rejected: this study cannot be cast; others can.
            Retriable: a peer is not there; nothing is known of the study.
            Fatal: a peer refuses our credentials.
        """
        wrote = False
        for _ in range(_CONFLICTS):
            try:
                outcome = await self._cast(await self._whole(delta), complete=complete)
                return Outcome.CREATED if wrote and outcome is Outcome.UNCHANGED else outcome
            except _Overtaken as error:
                conflict: Conflict = error
                delta, wrote = StudyDelta(delta.key, snapshot=True), True
            except Conflict as error:
                conflict = error
            self._memory.clear()
        if isinstance(conflict, Unanswered):
            raise conflict
        raise Rejected(f"study {delta.key.study_uid}: {conflict}, again and again", reason="conflict")

    def _patient_identifiers(self, deltas: Iterable[StudyDelta]) -> set[Identifier]:
        """The Patients that the studies of a window will ask for: mapped from one instance of each, as a guess."""
        found = set()
        for delta in deltas:
            metadata = next((one.metadata for one in delta.instances.values() if one.metadata is not None), None)
            desired = patient(Dataset(metadata), self._rules, delta.key.study_uid) if metadata else None
            if desired is not None:
                found.add(identifier_of(desired))
        return found

    async def _whole(self, delta: StudyDelta) -> StudyDelta:
        return await self._feed.snapshot(delta.key) if delta.snapshot and not delta.instances else delta

    async def _cast(self, delta: StudyDelta, *, complete: bool) -> Outcome:
        matches = await self._memory.get("ImagingStudy", _study_identifier(delta.key))
        existing = _ours(matches, delta.key)
        # Where studies without PatientID are skipped, what was skipped before belongs to a study that is made now.
        complete = complete and self._rules.surrogate
        if not (complete or delta.snapshot) and delta.instances and not (existing and owns(delta.key, existing)):
            delta = await self._feed.snapshot(delta.key)
        if existing is None and not delta.instances:
            return Outcome.SKIPPED
        endpoint_reference = await self._endpoint(delta.key.partition)
        content = await self._draft(existing, delta, endpoint_reference)
        if existing is None and content.speaker is None:
            # Gone before it was read, or without a UID that FHIR can hold.
            if self._rules.strict and content.issues:
                raise _strictly_refused(delta.key, content.issues)
            return Outcome.SKIPPED
        desired = patient(content.dataset, self._rules, delta.key.study_uid) if content.dataset else None
        if content.dataset is not None and desired is None:
            return Outcome.SKIPPED  # no PatientID, and PATIENT__MISSING_ID is skip
        async with self._patients.held(_subjects(existing, desired)):
            writes = await self._plan(existing, content, delta.key, desired, endpoint_reference, bool(matches))
            if self._rules.strict and content.issues:
                raise _strictly_refused(delta.key, content.issues)
            if not writes:
                return Outcome.UNCHANGED
            self._fence()
            answers = await self._fhir.write(writes)
            self._refuse_overtaken(delta.key, writes, answers)
            for write, written in zip(writes, answers, strict=True):
                self._memory.remember(write, written)
        return _outcome(existing, writes)

    def _refuse_overtaken(self, key: StudyKey, writes: Sequence[Write], answers: Sequence[Written]) -> None:
        """A create that finds something there is answered with 200 (R4 http.html#upsert, #ccreate).

        Some servers answer 200 to every PUT. One that was seen to answer 201 is not of these; of one that we do
        not know yet the first 200 is taken at its word, which costs a read.
        """
        known = self._tells_creates
        for write, written in zip(writes, answers, strict=True):
            if write.method is Method.DELETE or write.version:
                continue
            if write.method is Method.PUT:
                self._tells_creates = bool(self._tells_creates) or written.status == 201
            study = write.resource["resourceType"] == "ImagingStudy"
            if study and written.status == 200 and (write.method is Method.POST or known is not False):
                raise _Overtaken(
                    f"study {key.study_uid}: somebody else created its ImagingStudy meanwhile", peer="fhir"
                )

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
        if existing is not None and self._fhir.says_the_same(study, existing):
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
        if origin(str(existing.get("meta", {}).get("source", "")))[0] == self._feed.source:
            theirs = [one for one in existing.get("identifier", []) if one != desired["identifier"][0]]
            ours = {name: value for name, value in desired.items() if name != "meta"}
            after = overlay(existing, ours | {"identifier": [*desired["identifier"], *theirs]}, ())
            if after != existing:
                self._fence()
                await self._fhir.write([Write(Method.PUT, after, version=version_of(existing))])
        return f"Endpoint/{existing['id']}"


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


def _strictly_refused(key: StudyKey, issues: Sequence[Issue]) -> Rejected:
    broken = ", ".join(sorted({f"{issue.tag} {issue.rule}" for issue in issues}))
    return Rejected(f"study {key.study_uid}: MAPPING__STRICT refuses it: {broken}", reason="invalid-value")


def _outcome(existing: JSON | None, writes: list[Write]) -> Outcome:
    if writes[-1].method is Method.DELETE:
        return Outcome.DELETED
    return Outcome.CREATED if existing is None else Outcome.UPDATED
