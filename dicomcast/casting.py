"""Making FHIR match one delta: find what stands there, draft, read who speaks, plan, write.

A cast can be repeated at any time: what is right already is not written again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence

import structlog
import tenacity

from dicomcast.adoption import Adoptions
from dicomcast.bundle import Method, Write
from dicomcast.dicom.feed import Feed
from dicomcast.endpoints import Endpoints
from dicomcast.errors import (
    Conflict,
    LeftOut,
    NotTogether,
    Overtaken,
    Rejected,
    Retriable,
    Unanswered,
    Unauthorized,
)
from dicomcast.fhir import FhirServer, Identifier, Written, version_of
from dicomcast.http import wait_before_retry
from dicomcast.identity import origin_of, owns, study_id
from dicomcast.locks import Locks
from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.patient import identified, patient
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.values import JSON, study_identifier
from dicomcast.memory import Memory
from dicomcast.merge import Draft, Links, annotated, draft, hung_on, merge_study
from dicomcast.model import Issue, MissingId, Outcome, Severity, StudyDelta, StudyKey
from dicomcast.overlay import leads_to
from dicomcast.patients import Patients, identifier_of
from dicomcast.reading import Reader
from dicomcast.together import Together

__all__ = ["Caster", "Interrupted"]

_log = structlog.get_logger()

Writer = FhirServer | Together
# How often one study is looked at anew because somebody else wrote it meanwhile.
_CONFLICTS = 5


class Interrupted(asyncio.CancelledError):
    """Cancelled while a write was under way: what comes of it is not known, and may come later."""


class Caster:
    """Casts the studies of one source."""

    def __init__(
        self,
        feed: Feed,
        fhir: FhirServer,
        rules: Rules,
        *,
        mode: str = "own",
        note: Callable[[Issue], None] = lambda _: None,
        together: Together | None = None,
    ) -> None:
        """`note` hears of each issue once a cast; `together` is who writes, several studies at once if there are."""
        self._feed = feed
        self._fhir = fhir
        self._rules = rules
        self._note = note
        self._together = together or Together(fhir)
        self._prepared = False
        self._memory = Memory(fhir)
        self._adoptions = Adoptions(fhir, feed.source)
        self._reader = Reader(feed, rules, fhir.base_url)
        self._patients = Patients(fhir, self._memory, self._adoptions, feed, self._reader, rules, mode)
        self._studies, self._people = Locks(), Locks()
        self._tells_creates: bool | None = None
        self._endpoints = Endpoints(fhir, self._memory, feed)

    @property
    def shares(self) -> bool:
        """Whether several studies may be written together at present: what they share was made sure of."""
        return self._prepared and self._together.possible

    async def prepare(self, deltas: Sequence[StudyDelta], *, afresh: bool = False) -> None:
        """Forget what was seen before, and look up with few searches what casting these will ask for.

        What we wrote ourselves a short while ago is taken to stand there still, unless it is wanted `afresh`. A search
        that fails may be one study's fault: then each looks up for itself, where that shows.
        """
        if afresh:
            self._memory.clear()
        else:
            self._memory.renew()
        self._adoptions.clear()
        self._prepared = False
        try:
            await self._memory.look_up("ImagingStudy", {_study_identifier(delta.key) for delta in deltas})
            await self._memory.look_up("Patient", self._patient_identifiers(deltas))
            for partition in sorted({delta.key.partition for delta in deltas if delta.instances}):
                await self._endpoints.reference(partition)
            self._prepared = True
        except (Rejected, Retriable):
            return
        except Unauthorized as error:
            if error.status != 403:
                raise

    async def read(self, key: StudyKey) -> StudyDelta:
        """All that the archive holds of a study now, read ahead of its cast."""
        return await self._reader.whole(key, None)

    def forget_endpoints(self) -> None:
        """Make sure of them again: what was refused may have referred to one that is gone."""
        self._endpoints.forget()

    async def cast(self, delta: StudyDelta, *, complete: bool = False, shared: bool = False) -> Outcome:
        """Make FHIR match a delta; a snapshot without instances is read from the archive first.

        `complete` says that a study which is not in FHIR yet is all in the delta, because the feed was followed
        from its beginning; else such a study is read whole. What is `shared` may be written together with others.

        Raises:
            Rejected: this study cannot be cast, or not all of it; others can.
            Overtaken: somebody else created it meanwhile; it has to be cast from a snapshot.
            NotTogether: it was written with others, or not; it has to be cast by itself.
            Retriable: a peer is not there; nothing is known of the study.
            Fatal: a peer refuses our credentials, or somebody else is active.
        """
        if shared:
            return await self._cast_shared(delta, complete)
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_may_pass),
            wait=wait_before_retry,
            stop=tenacity.stop_after_attempt(_CONFLICTS),
            sleep=self._look_again,
            reraise=True,
        )
        try:
            return await retrying(self._cast_alone, delta, complete, self._fhir)
        except Conflict as error:
            self._memory.clear()
            if isinstance(error, Unanswered | Overtaken):
                raise
            said = f"study {delta.key.study_uid}: {error}, again and again"
            raise Rejected(said, reason="conflict", peer="fhir", status=error.status, codes=error.codes) from None

    async def _cast_shared(self, delta: StudyDelta, complete: bool) -> Outcome:
        """Once, and with whatever was seen before: who was written by others meanwhile is cast by itself."""
        try:
            return await self._cast_alone(delta, complete, self._together)
        except Conflict as error:
            if isinstance(error, Overtaken):
                self._memory.clear()
                raise
            raise NotTogether(str(error), peer=error.peer, status=error.status, codes=error.codes) from None

    async def _look_again(self, seconds: float) -> None:
        await self._fhir.rest(seconds)
        self._memory.clear()
        self._adoptions.clear()

    def _patient_identifiers(self, deltas: Iterable[StudyDelta]) -> set[Identifier]:
        """The Patients that the studies of a window will ask for: mapped from one instance of each, as a guess."""
        found = set()
        for delta in deltas:
            metadata = next((one.metadata for one in delta.instances.values() if one.metadata is not None), None)
            if metadata:
                found.add(identifier_of(identified(Dataset(metadata), self._rules, delta.key.study_uid)))
        return found - {("", "")}

    async def _cast_alone(self, delta: StudyDelta, complete: bool, writer: Writer) -> Outcome:
        """Two partitions may hold a study of the same UID, and want the same resource."""
        async with self._studies.held([_study_identifier(delta.key)]):
            return await self._cast(delta, complete, writer)

    async def _cast(self, delta: StudyDelta, complete: bool, writer: Writer) -> Outcome:
        shared = isinstance(writer, Together)
        matches = await self._memory.get("ImagingStudy", _study_identifier(delta.key))
        holders = [await self._holders(one) for one in matches]
        existing = _ours(matches, holders, delta.key)
        held = existing is not None and delta.key.partition in holders[matches.index(existing)]
        # Where studies without PatientID are skipped, what was skipped before belongs to a study that is made now.
        complete = complete and self._rules.missing_id is not MissingId.SKIP
        known = complete or (existing is not None and owns(delta.key, existing))
        # What a strict site refuses must not depend on which instances happened to come together.
        refusable = self._rules.strict and existing is not None
        # A snapshot that says nothing is one that has yet to be read.
        # Who read a large study ahead did not know which of its instances stay listed.
        unaware = bool(delta.counts) and bool(annotated(existing, self._rules))
        if unaware or (delta.snapshot != bool(delta.instances) and (delta.snapshot or refusable or not known)):
            delta = await self._reader.whole(delta.key, existing, shared=shared)
        if not held and not delta.instances:
            return Outcome.SKIPPED
        endpoint_reference = await self._endpoints.reference(delta.key.partition)
        content = await self._reader.draft(existing, delta, endpoint_reference, shared=shared)
        desired = patient(content.dataset, self._rules, delta.key.study_uid) if content.dataset else None
        issues = content.issues
        if content.dataset is not None and desired is None:
            # No PatientID, and PATIENT__MISSING_ID is skip: such a study is not in FHIR, whoever came first.
            nothing = StudyDelta(delta.key, snapshot=True)
            content = draft(existing, nothing, self._rules, endpoint_reference, self._fhir.base_url)
        outcome = Outcome.SKIPPED
        if held or content.speaker is not None:
            async with self._people.held(_subjects(existing, desired)):
                writes = await self._plan(existing, content, delta.key, desired, endpoint_reference, bool(matches))
                if not (self._rules.strict and issues):
                    outcome = await self._write(existing, delta.key, writes, writer)
        self._tell(delta.key, issues)
        return outcome

    async def _write(self, existing: JSON | None, key: StudyKey, writes: list[Write], writer: Writer) -> Outcome:
        if not writes:
            return Outcome.UNCHANGED
        try:
            answers = await writer.write(writes)
        except asyncio.CancelledError:
            raise Interrupted from None
        self._refuse_overtaken(key, writes, answers, created=existing is None)
        for write, written in zip(writes, answers, strict=True):
            self._memory.remember(write, written)
        return _outcome(existing, writes)

    def _tell(self, key: StudyKey, issues: Sequence[Issue]) -> None:
        """Log and metrics hear what is odd in the data; what was left out for it parks the study, so that it is seen.

        Raises:
            Rejected: something was left out, or MAPPING__STRICT refuses the study.
        """
        if not issues:
            return
        for issue in set(issues):
            self._note(issue)
        said = ", ".join(sorted({f"{issue.tag} {issue.rule}" for issue in issues}))
        _log.info("study.issues", study=key.study_uid, issues=said)
        if self._rules.strict:
            raise Rejected(f"study {key.study_uid}: MAPPING__STRICT refuses it: {said}", reason="invalid-value")
        if any(issue.severity is Severity.ERROR for issue in issues):
            raise LeftOut(
                f"study {key.study_uid}: cast without the instances that FHIR cannot hold: {said}",
                reason="instance-left-out",
            )

    def _refuse_overtaken(
        self, key: StudyKey, writes: Sequence[Write], answers: Sequence[Written], *, created: bool
    ) -> None:
        """A create that finds something there is answered with 200 (R4 http.html#upsert, #ccreate).

        Some servers answer 200 to every PUT. One that was seen to answer 201 is not of these; of one that we do
        not know yet the first 200 is taken at its word, which costs a read.
        """
        known = self._tells_creates
        for write, written in zip(writes, answers, strict=True):
            if not write.new:
                continue
            if write.method is Method.PUT:
                self._tells_creates = bool(self._tells_creates) or written.status == 201
            kind = write.resource["resourceType"]
            # A Patient's conditional create that finds one wrote nothing, and the study refers to what it found.
            blind = write.method is Method.PUT if kind == "Patient" else True
            if blind and written.status == 200 and (write.method is Method.POST or known is not False):
                said = f"study {key.study_uid}: somebody else created its {kind} meanwhile"
                raise Overtaken(said, peer="fhir", created=created)

    async def _plan(
        self,
        existing: JSON | None,
        content: Draft,
        key: StudyKey,
        desired: JSON | None,
        endpoint_reference: str,
        matched: bool,
    ) -> list[Write]:
        """What has to be written, in an order in which a Patient never follows a study that is refused or gone.

        New Patients, those that the study leaves, the study, and the Patients that follow it. Where the study and its
        Patient disagree is added to the draft's issues.
        """
        rules = self._fhir.version.rules(self._rules)
        links = Links(None, endpoint_reference, self._feed.base_url(key.partition), self._fhir.base_url)
        study = merge_study(existing, content, key, rules, links, study_id(key))
        if content.speaker is None and existing is not None:
            left = await self._patients.leave(existing, key)
            if owns(key, existing):
                return [*left, Write(Method.DELETE, existing, version=version_of(existing))]
            return [*left, self._write_study(existing, study, key, matched)]
        writes: list[Write] = []
        after: list[Write] = []
        if desired is not None:
            subject, people, odd = await self._patients.resolve(desired, study.get("started", ""), key)
            content.issues += odd
            writes, after = [one for one in people if one.new], [one for one in people if not one.new]
            study = hung_on(subject, study, links.base)
            if existing is not None and not leads_to(existing.get("subject"), subject["reference"], links.base):
                writes = [*writes, *await self._patients.leave(existing, key)]
        if existing is None or not self._fhir.says_the_same(study, existing):
            writes.append(self._write_study(existing, study, key, matched))
        return [*writes, *after]

    async def _holders(self, study: JSON) -> Collection[str]:
        """The partitions that a study is of: the one that it was created for, or those that hold series of others'."""
        source, partition = origin_of(study)
        return [partition] if source == self._feed.source else await self._adoptions.holders(study)

    def _write_study(self, existing: JSON | None, study: JSON, key: StudyKey, matched: bool) -> Write:
        if existing is not None:
            return Write(Method.PUT, study, version=version_of(existing))
        if self._fhir.creates_by_put("ImagingStudy"):
            return Write(Method.PUT, study, new=True)
        # Another partition's study of the same UID would satisfy the condition: then it is no condition.
        return Write(Method.POST, study, unless=None if matched else _study_identifier(key), new=True)


def _study_identifier(key: StudyKey) -> Identifier:
    identifier = study_identifier(key.study_uid)
    return identifier["system"], identifier["value"]


def _subjects(existing: JSON | None, desired: JSON | None) -> list[Identifier]:
    """The Patients that a cast may write: the one it had and the one it gets."""
    had = identifier_of((existing or {}).get("subject"))
    return ([had] if had[1] else []) + ([identifier_of(desired)] if desired is not None else [])


def _ours(matches: list[JSON], holders: Sequence[Collection[str]], key: StudyKey) -> JSON | None:
    """The ImagingStudy to work on: the one we created; else the only one of somebody else, which is adopted.

    What another partition has adopted (`holders`) is not taken from it.
    """
    mine = [one for one in matches if owns(key, one)]
    if len(mine) > 1:
        mine = [one for one in mine if one["id"] == study_id(key)] or mine
    free = [one for one, who in zip(matches, holders, strict=True) if not who or key.partition in who]
    foreign = [one for one in free if origin_of(one)[0] != key.source]
    candidates = mine or foreign
    if len(candidates) > 1:
        raise Rejected(
            f"study {key.study_uid}: {len(candidates)} ImagingStudies in FHIR have its UID; delete all but one",
            reason="multiple-match",
        )
    return candidates[0] if candidates else None


def _may_pass(error: BaseException) -> bool:
    """Somebody else was faster, or it is not known whether we were: look again."""
    return isinstance(error, Conflict) and not isinstance(error, Overtaken)


def _outcome(existing: JSON | None, writes: list[Write]) -> Outcome:
    if any(one.method is Method.DELETE for one in writes):
        return Outcome.DELETED
    return Outcome.CREATED if existing is None else Outcome.UPDATED
