"""Whose study it is: finding, creating and keeping up the Patient that a study refers to.

A Patient that this source created follows its newest study (StudyDate, StudyTime, UID), which
`meta.source` names. When that study leaves, the newest of those that remain speaks. The Patient of
an EHR is referred to and left alone, unless the site wants otherwise (PATIENT__MODE).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from dicomcast.bundle import Method, Write, escape, reference
from dicomcast.dicom.feed import Feed
from dicomcast.errors import Rejected
from dicomcast.fhir import FhirServer, Identifier, has_identifier, version_of
from dicomcast.identity import origin, patient_id, patient_source, patient_spoken_for
from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.patient import PATIENT, patient
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.values import JSON
from dicomcast.memory import Memory
from dicomcast.merge import draft
from dicomcast.model import StudyDelta, StudyKey
from dicomcast.overlay import leads_to, overlay, replace_ours

__all__ = ["Patients", "Turn", "identifier_of"]

# (started, StudyInstanceUID, partition): the greatest is the newest study of a Patient.
Turn = tuple[str, str, str]

_GONE: Turn = ("", "", "")
# How many replaced-by links are followed.
_HOPS = 5


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a study says of its Patient, and when it was."""

    desired: JSON
    turn: Turn


def identifier_of(resource: JSON) -> Identifier:
    """The identifier by which we know a Patient that we mapped, or that `subject` refers to."""
    identifiers = resource.get("identifier", {})
    first = identifiers[0] if isinstance(identifiers, list) else identifiers
    return first.get("system", ""), first.get("value", "")


def turn_of(started: str, key: StudyKey) -> Turn:
    """When a study gets to speak: by its local date and time, as DICOM states them."""
    return started[:19], key.study_uid, key.partition


class Patients:
    """The Patients of one source."""

    def __init__(self, fhir: FhirServer, memory: Memory, feed: Feed, rules: Rules, mode: str) -> None:
        self._fhir = fhir
        self._memory = memory
        self._feed = feed
        self._rules = rules
        self._mode = mode
        # Weak, so that a lock is there for as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[Identifier, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, identifiers: Iterable[Identifier]) -> AsyncIterator[None]:
        """Two studies of one Patient must not be cast at once; sorted, so that nobody waits for each other."""
        async with AsyncExitStack() as stack:
            for identifier in sorted(set(identifiers)):
                lock = self._locks.setdefault(identifier, asyncio.Lock())
                await stack.enter_async_context(lock)
            yield

    async def resolve(self, desired: JSON, started: str, key: StudyKey) -> tuple[JSON, list[Write]]:
        """The `subject` of a study, and what has to be written so that it is there and right.

        Raises:
            Rejected: more than one Patient has the identifier, or none and the mode is `link`, or it leads to none
                that is in use.
        """
        identifier = identifier_of(desired)
        matches = await self._surviving(await self._find(identifier), key)
        if len(matches) > 1:
            raise Rejected(
                f"study {key.study_uid}: {len(matches)} Patients have its patient identifier; merge them in FHIR",
                reason="multiple-match",
            )
        claim = _Claim(desired, turn_of(started, key))
        writes = await self._keep_up(matches[0], claim, key) if matches else [self._create(claim, key)]
        target = reference(writes[0]) if writes and not matches else f"Patient/{matches[0]['id']}"
        logical = {name: value for name, value in desired["identifier"][0].items() if name in ("system", "value")}
        return {"reference": target, "type": "Patient", "identifier": logical}, writes

    async def _surviving(self, matches: list[JSON], key: StudyKey) -> list[JSON]:
        """The Patients that are used in lieu of those that were found (R4 patient.html, link)."""
        ends = {}
        for match in matches:
            end = await self._follow(match, key)
            ends[end["id"]] = end
        return list(ends.values())

    async def _follow(self, found: JSON, key: StudyKey) -> JSON:
        for _ in range(_HOPS):
            target = self._replaced_by(found)
            if target is None:
                if found.get("active") is False:
                    raise Rejected(
                        f"study {key.study_uid}: its Patient is not active in FHIR", reason="inactive-patient"
                    )
                return found
            following = await self._fhir.read("Patient", target) if target else None
            if following is None:
                break
            found = following
        raise Rejected(
            f"study {key.study_uid}: its Patient is replaced by one that is not there, or in a circle",
            reason="broken-patient-link",
        )

    def _replaced_by(self, resource: JSON) -> str | None:
        """The id of the Patient to be used in lieu of this one, None for none, "" for one on another server."""
        for link in resource.get("link", []):
            if isinstance(link, dict) and link.get("type") == "replaced-by":
                literal = str(link.get("other", {}).get("reference", "")).removeprefix(f"{self._fhir.base_url}/")
                kind, _, resource_id = literal.partition("/")
                return resource_id if kind == "Patient" else ""
        return None

    async def _find(self, identifier: Identifier) -> list[JSON]:
        """The Patients of an identifier. Not every server can search for every character: we know our own by its id."""
        found = await self._memory.get("Patient", identifier)
        matches = [one for one in found if not (self._ours(one) and _is_other(one, identifier))]
        if matches or escape(identifier[1]) == identifier[1]:
            return matches
        own = await self._fhir.read("Patient", patient_id(*identifier))
        return [own] if own is not None and has_identifier(own, identifier) else []

    def _create(self, claim: _Claim, key: StudyKey) -> Write:
        if self._mode == "link":
            raise Rejected(
                f"study {key.study_uid}: no Patient has its patient identifier, and PATIENT__MODE is link",
                reason="patient-not-found",
            )
        identifier = identifier_of(claim.desired)
        resource = claim.desired | {"id": patient_id(*identifier), "meta": {"source": self._source(claim)}}
        if self._fhir.creates_by_put("Patient"):
            return Write(Method.PUT, resource)
        return Write(Method.POST, resource, unless=identifier)

    def _source(self, claim: _Claim) -> str:
        started, study_uid, partition = claim.turn
        return patient_source(self._feed.base_url(partition), study_uid, started)

    def _ours(self, resource: JSON) -> bool:
        return origin(str(resource.get("meta", {}).get("source", "")))[0] == self._feed.source

    async def _keep_up(self, existing: JSON, claim: _Claim, key: StudyKey) -> list[Write]:
        if self._ours(existing) and self._mode in ("own", "update"):
            spoke = patient_spoken_for(existing)
            if spoke[1:] == claim.turn[1:] and claim.turn < spoke:
                claim = await self._heir(existing, key, above=claim.turn) or claim
            elif claim.turn < spoke:
                return []
            return self._write(existing, claim)
        if self._mode == "update":
            # What DICOM does not know is no reason to erase what the EHR knows.
            known = {name: value for name, value in claim.desired.items() if name != "identifier"}
            writes = _changed(existing, overlay(existing, known, ()))
            # The newest study speaks here too; nothing on the resource says which, so it is looked for.
            return [] if writes and await self._heir(existing, key, above=claim.turn) else writes
        return []

    def _write(self, existing: JSON, claim: _Claim) -> list[Write]:
        after = overlay(existing, _with_identifier(existing, claim.desired), PATIENT.owned(self._rules))
        if patient_spoken_for(existing) != claim.turn:
            after["meta"] = existing.get("meta", {}) | {"source": self._source(claim)}
        return _changed(existing, after)

    async def leave(self, study: JSON, key: StudyKey) -> list[Write]:
        """What a study's Patient becomes when the study goes: never deleted, and the next study speaks."""
        subject = study.get("subject", {})
        if self._mode not in ("own", "update") or not isinstance(subject.get("identifier"), dict):
            return []
        for existing in await self._find(identifier_of(subject)):
            named = leads_to(subject, f"Patient/{existing['id']}")
            if named and self._ours(existing) and patient_spoken_for(existing)[1:] == (key.study_uid, key.partition):
                heir = await self._heir(existing, key, above=_GONE)
                return self._write(existing, heir) if heir else self._orphan(existing, key)
        return []

    def _orphan(self, existing: JSON, key: StudyKey) -> list[Write]:
        """No study speaks any more, so that the next one does, however old it is."""
        meta = existing.get("meta", {}) | {"source": self._feed.base_url(key.partition)}
        return _changed(existing, existing | {"meta": meta})

    async def _heir(self, existing: JSON, leaving: StudyKey, *, above: Turn) -> _Claim | None:
        """What the newest other study of a Patient says, if it is newer than `above`."""
        studies = await self._fhir.search("ImagingStudy", {"subject": f"Patient/{existing['id']}"})
        candidates = []
        for study in studies:
            source, partition = origin(str(study.get("meta", {}).get("source", "")))
            key = StudyKey(source, partition, _study_uid(study))
            turn = turn_of(str(study.get("started", "")), key)
            if source == self._feed.source and key != leaving and turn > above:
                candidates.append((turn, key, study))
        for turn, key, study in sorted(candidates, key=lambda one: one[0], reverse=True):
            desired = await self._claimed(study, key)
            if desired is not None and identifier_of(desired) in _identifiers(existing):
                return _Claim(desired, turn)
        return None

    async def _claimed(self, study: JSON, key: StudyKey) -> JSON | None:
        speaker = draft(study, StudyDelta(key), self._rules, "").speaker
        instance = await self._feed.instance(key, speaker) if speaker else None
        if instance is None or instance.metadata is None:
            return None
        return patient(Dataset(instance.metadata), self._rules, key.study_uid)


def _identifiers(resource: JSON) -> set[Identifier]:
    return {(one.get("system", ""), one.get("value", "")) for one in resource.get("identifier", [])}


def _is_other(resource: JSON, identifier: Identifier) -> bool:
    """Whether a Patient that we wrote has an identifier only from OtherPatientIDs, which may be anybody's."""
    identifiers = [one for one in resource.get("identifier", []) if isinstance(one, dict)]
    found = [one for one in identifiers if (one.get("system", ""), one.get("value")) == identifier]
    return bool(found) and all(one.get("use") == "secondary" for one in found)


def _with_identifier(existing: JSON, desired: JSON) -> JSON:
    ours = _identifiers(desired)
    identifiers = replace_ours(
        existing.get("identifier"),
        desired["identifier"],
        lambda one: (one.get("system", ""), one.get("value", "")) in ours,
    )
    return desired | {"identifier": identifiers}


def _changed(existing: JSON, after: JSON) -> list[Write]:
    return [] if after == existing else [Write(Method.PUT, after, version=version_of(existing))]


def _study_uid(study: JSON) -> str:
    values = (str(one.get("value", "")) for one in study.get("identifier", []) if one.get("system") == "urn:dicom:uid")
    return next((value.removeprefix("urn:oid:") for value in values), "")
