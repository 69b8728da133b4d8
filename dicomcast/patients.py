"""Whose study it is: finding, creating and keeping up the Patient that a study refers to.

A Patient that this source created follows its newest study (StudyDate, StudyTime, UID), which
`meta.source` names. When that study leaves, the newest of those that remain speaks. The Patient of
an EHR is referred to and left alone, unless the site wants otherwise (PATIENT__MODE). The one whom
studies without PatientID share (PATIENT__UNKNOWN) is left alone always: none of them speaks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dicomcast.adoption import Adoptions
from dicomcast.bundle import Method, Write, escape, reference
from dicomcast.dicom.feed import Feed
from dicomcast.errors import Rejected
from dicomcast.fhir import FhirServer, Identifier, has_identifier, identifiers_of, version_of
from dicomcast.identity import origin_of, patient_id, patient_source, patient_spoken_for, sourced
from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.disagreement import mismatches
from dicomcast.mapping.patient import PATIENT, patient, subject_of
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.values import JSON, study_identifier
from dicomcast.memory import Memory
from dicomcast.merge import Draft
from dicomcast.model import Issue, StudyDelta, StudyKey
from dicomcast.overlay import leads_to, listed, objects, overlay, replace_ours, target_of
from dicomcast.reading import Reader

__all__ = ["Patients", "Turn", "identifier_of"]

# (started, StudyInstanceUID, partition): the greatest is the newest study of a Patient.
Turn = tuple[str, str, str]

_GONE: Turn = ("", "", "")
# All that choosing an heir takes, since a study may be megabytes; the one that is chosen is read.
_BRIEFLY = "identifier,started,meta,endpoint"
# How many replaced-by links are followed.
_HOPS = 5


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a study says of its Patient, and when it was."""

    desired: JSON
    turn: Turn


def identifier_of(resource: Any) -> Identifier:
    """The identifier by which we know a Patient that we mapped, or that `subject` refers to; ("", "") if none."""
    identifiers = resource.get("identifier") if isinstance(resource, dict) else None
    first = next(iter(identifiers), None) if isinstance(identifiers, list) else identifiers
    system, value = (first.get("system", ""), first.get("value")) if isinstance(first, dict) else ("", "")
    return (system, value) if isinstance(system, str) and isinstance(value, str) and value else ("", "")


def turn_of(started: str, key: StudyKey) -> Turn:
    """When a study gets to speak: by its local date and time, as DICOM states them."""
    return started[:19], key.study_uid, key.partition


class Patients:
    """The Patients of one source."""

    def __init__(
        self,
        fhir: FhirServer,
        memory: Memory,
        adoptions: Adoptions,
        feed: Feed,
        reader: Reader,
        rules: Rules,
        mode: str,
    ) -> None:
        self._fhir = fhir
        self._memory = memory
        self._adoptions = adoptions
        self._feed = feed
        self._reader = reader
        self._rules = rules
        self._mode = mode

    async def resolve(self, desired: JSON, started: str, key: StudyKey) -> tuple[JSON, list[Write], list[Issue]]:
        """The `subject` of a study, what has to be written so that it is there and right, and where they disagree.

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
        issues = [issue for one in matches if not self._follows_ours(one) for issue in mismatches(desired, one)]
        return subject_of(desired, target), writes, issues

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
            # By a search, since the id of an EHR's Patient may be a record number, and servers log URLs.
            matches = await self._fhir.search("Patient", {"_id": target}) if target else []
            following = next((one for one in matches if one.get("id") == target), None)
            if following is None:
                break
            found = following
        raise Rejected(
            f"study {key.study_uid}: its Patient is replaced by one that is not there, or in a circle",
            reason="broken-patient-link",
        )

    def _replaced_by(self, resource: JSON) -> str | None:
        """The id of the Patient to be used in lieu of this one, None for none, "" for one on another server."""
        for link in objects(resource.get("link")):
            if link.get("type") == "replaced-by":
                kind, _, resource_id = target_of(link.get("other"), self._fhir.base_url).partition("/")
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
        resource = claim.desired | {"id": patient_id(*identifier)}
        if not self._rules.is_nobody(*identifier):
            resource["meta"] = {"source": self._source(claim)}
        if self._fhir.creates_by_put("Patient"):
            return Write(Method.PUT, resource, new=True)
        # What a server takes for the same identifier and we do not (p1 and P1) would satisfy the condition: then none.
        near = self._memory.near("Patient", identifier)
        return Write(Method.POST, resource, unless=None if near else identifier, new=True)

    def _source(self, claim: _Claim) -> str:
        started, study_uid, partition = claim.turn
        return patient_source(self._feed.base_url(partition), study_uid, started)

    def _ours(self, resource: JSON) -> bool:
        return origin_of(resource)[0] == self._feed.source

    def _follows_ours(self, existing: JSON) -> bool:
        """Whether a Patient tells what our studies tell, and not what somebody else knows, or the first study told."""
        return self._mode == "update" or (self._mode == "own" and self._ours(existing))

    async def _keep_up(self, existing: JSON, claim: _Claim, key: StudyKey) -> list[Write]:
        if self._rules.is_nobody(*identifier_of(claim.desired)):
            return []
        if self._ours(existing) and self._mode in ("own", "update"):
            spoke = patient_spoken_for(existing)
            if claim.turn < spoke:
                if spoke[1:] != claim.turn[1:] and await self._is_there(existing, spoke):
                    return []
                claim = await self._heir(existing, key, above=claim.turn) or claim
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
            after["meta"] = sourced(existing.get("meta"), self._source(claim))
        return _changed(existing, after)

    async def leave(self, study: JSON, key: StudyKey) -> list[Write]:
        """What a study's Patient becomes when the study goes: never deleted, and the next study speaks."""
        identifier = identifier_of(study.get("subject"))
        if self._mode not in ("own", "update") or not identifier[1] or self._rules.is_nobody(*identifier):
            return []
        for existing in await self._find(identifier):
            hangs = self._hangs(study, existing) and self._ours(existing)
            if hangs and patient_spoken_for(existing)[1:] == (key.study_uid, key.partition):
                heir = await self._heir(existing, key, above=_GONE)
                return self._write(existing, heir) if heir else self._orphan(existing, key)
        return []

    def _orphan(self, existing: JSON, key: StudyKey) -> list[Write]:
        """No study speaks any more, so that the next one does, however old it is."""
        meta = sourced(existing.get("meta"), self._feed.base_url(key.partition))
        return _changed(existing, existing | {"meta": meta})

    async def _heir(self, existing: JSON, leaving: StudyKey, *, above: Turn) -> _Claim | None:
        """What the newest other study of a Patient says, if it is newer than `above`."""
        candidates = []
        for study in await self._studies(existing):
            for key, endpoint in (await self._keys(study, [study])).items():
                turn = turn_of(_started(study), key)
                if key != leaving and turn > above:
                    candidates.append((turn, key, endpoint, study["id"]))
        for turn, key, endpoint, study_id in sorted(candidates, reverse=True):
            desired = await self._claimed(study_id, key, endpoint)
            if desired is not None and has_identifier(existing, identifier_of(desired)):
                return _Claim(desired, turn)
        return None

    async def _studies(self, existing: JSON) -> list[JSON]:
        """The studies that hang on a Patient, in brief where the server can."""
        query = {"subject": f"Patient/{existing['id']}"}
        try:
            return await self._fhir.search("ImagingStudy", query | {"_elements": _BRIEFLY})
        except Rejected:
            return await self._fhir.search("ImagingStudy", query)

    async def _keys(self, study: JSON, elements: list[Any]) -> dict[StudyKey, str]:
        """The studies of our archive that an ImagingStudy is, and the Endpoint that says so: "" for one of ours.

        In one that others created, `elements` are those that may name it.
        """
        source, partition = origin_of(study)
        if source == self._feed.source:
            return {StudyKey(source, partition, _study_uid(study)): ""}
        found = await self._adoptions.named(elements)
        return {StudyKey(self._feed.source, name, _study_uid(study)): target for name, target in found.items()}

    async def _is_there(self, existing: JSON, spoke: Turn) -> bool:
        """Whether the study that a Patient follows is in FHIR and hangs on it: it may have been refused or be gone."""
        _, study_uid, partition = spoke
        identifier = study_identifier(study_uid)
        for study in await self._memory.get("ImagingStudy", (identifier["system"], identifier["value"])):
            if self._hangs(study, existing):
                keys = await self._keys(study, listed(study.get("series")))
                if any(key.partition == partition for key in keys):
                    return True
        return False

    def _hangs(self, study: JSON, existing: JSON) -> bool:
        return leads_to(study.get("subject"), f"Patient/{existing['id']}", self._fhir.base_url)

    async def _claimed(self, study_id: str, key: StudyKey, endpoint: str) -> JSON | None:
        study = await self._fhir.read("ImagingStudy", study_id) or {}
        try:
            metadata = await self._spoken(await self._reader.draft(study, StudyDelta(key), endpoint), key)
        except Rejected:  # It is parked itself, or will be, and must not stop the study that leaves.
            return None
        return patient(metadata, self._rules, key.study_uid) if metadata is not None else None

    async def _spoken(self, content: Draft, key: StudyKey) -> Dataset | None:
        """The metadata of the instance that speaks, which were read already where the study lists none."""
        if content.dataset is not None or content.speaker is None:
            return content.dataset
        instance = await self._feed.instance(key, content.speaker)
        return Dataset(instance.metadata) if instance is not None and instance.metadata is not None else None


def _is_other(resource: JSON, identifier: Identifier) -> bool:
    """Whether a Patient that we wrote has an identifier only from OtherPatientIDs, which may be anybody's."""
    carried = objects(resource.get("identifier"))
    found = [one for one in carried if (one.get("system", ""), one.get("value")) == identifier]
    return bool(found) and all(one.get("use") == "secondary" for one in found)


def _with_identifier(existing: JSON, desired: JSON) -> JSON:
    ours = identifiers_of(desired)
    identifiers = replace_ours(
        existing.get("identifier"),
        desired["identifier"],
        lambda one: (one.get("system", ""), one.get("value", "")) in ours,
    )
    return desired | {"identifier": identifiers}


def _changed(existing: JSON, after: JSON) -> list[Write]:
    return [] if after == existing else [Write(Method.PUT, after, version=version_of(existing))]


def _study_uid(study: JSON) -> str:
    identifiers = objects(study.get("identifier"))
    values = (str(one.get("value")) for one in identifiers if one.get("system") == "urn:dicom:uid")
    return next((value.removeprefix("urn:oid:") for value in values), "")


def _started(study: JSON) -> str:
    started = study.get("started")
    return started if isinstance(started, str) else ""
