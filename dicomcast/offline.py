"""Mapping without servers: datasets in, a transaction Bundle out that any FHIR server of a version takes."""

from __future__ import annotations

from collections.abc import Iterable

from dicomcast.bundle import Method, Write, transaction
from dicomcast.identity import endpoint_id, patient_id, patient_source, study_id
from dicomcast.mapping.disagreement import mismatches
from dicomcast.mapping.endpoint import endpoint
from dicomcast.mapping.patient import patient, subject_of
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.values import JSON
from dicomcast.merge import Links, draft, merge_study
from dicomcast.model import Instance, InstanceKey, Issue, StudyDelta, StudyKey
from dicomcast.versions import R4, Version

__all__ = ["bundle_of"]

# (started, StudyInstanceUID, what it says of its Patient)
_Claim = tuple[str, str, JSON]


def bundle_of(
    instances: Iterable[tuple[str, Instance]], rules: Rules, *, archive: str = "", version: Version = R4
) -> tuple[JSON, dict[str, list[Issue]]]:
    """The Patients and ImagingStudies of (StudyInstanceUID, instance) pairs, and what is odd in each study.

    With the base URL of an `archive` they are what `run` writes for it, its Endpoint first. A Patient is what the
    newest of its studies says; where another says something else is an issue of that other.
    """
    rules = version.rules(rules)
    studies: dict[str, dict[InstanceKey, Instance]] = {}
    for study_uid, instance in instances:
        studies.setdefault(study_uid, {})[instance.key] = instance
    writes: dict[str, Write] = {}
    issues: dict[str, list[Issue]] = {}
    people: dict[str, list[_Claim]] = {}
    if archive:
        service = endpoint(archive) | {"id": endpoint_id(archive, "")}
        writes[service["id"]] = Write(Method.PUT, version.write(service))
    for study_uid, held in sorted(studies.items()):
        key = StudyKey(archive, "", study_uid)
        at = f"Endpoint/{endpoint_id(archive, '')}" if archive else ""
        content = draft(None, StudyDelta(key, held, snapshot=True), rules, at)
        desired = patient(content.dataset, rules, study_uid) if content.dataset is not None else None
        issues[study_uid] = content.issues
        if desired is None:
            continue
        system, value = desired["identifier"][0].get("system", ""), desired["identifier"][0]["value"]
        desired["id"] = patient_id(system, value)
        subject = subject_of(desired, f"Patient/{desired['id']}")
        study = merge_study(None, content, key, rules, Links(subject, at, archive), study_id(key))
        started = study.get("started", "")[:19]
        if archive and not rules.is_nobody(system, value):
            desired["meta"] = {"source": patient_source(archive, study_uid, started)}
        claims = people.setdefault(desired["id"], [])
        claims.append((started, study_uid, desired))
        # The Patient stands before the first of its studies, and is what the newest says.
        writes[desired["id"]] = Write(Method.PUT, version.write(_newest(claims)))
        writes[study["id"]] = Write(Method.PUT, version.write(study))
    for claims in people.values():
        for _, study_uid, desired in claims:
            issues[study_uid] += mismatches(desired, _newest(claims))
    return transaction(list(writes.values())), issues


def _newest(claims: list[_Claim]) -> JSON:
    return max(claims, key=lambda claim: claim[:2])[2]
