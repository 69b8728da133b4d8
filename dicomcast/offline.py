"""Mapping without servers: datasets in, a transaction Bundle out that any FHIR server of a version takes."""

from __future__ import annotations

from collections.abc import Iterable

from dicomcast.bundle import Method, Write, transaction
from dicomcast.identity import endpoint_id, patient_id, patient_source, study_id
from dicomcast.mapping.endpoint import endpoint
from dicomcast.mapping.patient import patient
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.values import JSON
from dicomcast.merge import Links, draft, merge_study
from dicomcast.model import Instance, InstanceKey, Issue, StudyDelta, StudyKey
from dicomcast.versions import R4, Version

__all__ = ["bundle_of"]


def bundle_of(
    instances: Iterable[tuple[str, Instance]], rules: Rules, *, archive: str = "", version: Version = R4
) -> tuple[JSON, list[Issue]]:
    """The Patients and ImagingStudies of (StudyInstanceUID, instance) pairs, and what is odd in the data.

    With the base URL of an `archive` they are what `run` writes for it, its Endpoint first.
    """
    rules = version.rules(rules)
    studies: dict[str, dict[InstanceKey, Instance]] = {}
    for study_uid, instance in instances:
        studies.setdefault(study_uid, {})[instance.key] = instance
    writes: dict[str, Write] = {}
    turns: dict[str, tuple[str, str]] = {}
    issues: list[Issue] = []
    if archive:
        service = endpoint(archive) | {"id": endpoint_id(archive, "")}
        writes[service["id"]] = Write(Method.PUT, version.write(service))
    for study_uid, held in sorted(studies.items()):
        key = StudyKey(archive, "", study_uid)
        at = f"Endpoint/{endpoint_id(archive, '')}" if archive else ""
        content = draft(None, StudyDelta(key, held, snapshot=True), rules, at)
        desired = patient(content.dataset, rules, study_uid) if content.dataset is not None else None
        if desired is None:
            issues += content.issues
            continue
        identifier = desired["identifier"][0]
        desired["id"] = patient_id(identifier.get("system", ""), identifier["value"])
        logical = {name: value for name, value in identifier.items() if name in ("system", "value")}
        subject = {"reference": f"Patient/{desired['id']}", "type": "Patient", "identifier": logical}
        study = merge_study(None, content, key, rules, Links(subject, at, archive), study_id(key))
        turn = (study.get("started", "")[:19], study_uid)
        if archive:
            desired["meta"] = {"source": patient_source(archive, study_uid, turn[0])}
        if turn >= turns.get(desired["id"], turn):  # a Patient follows its newest study
            turns[desired["id"]] = turn
            writes[desired["id"]] = Write(Method.PUT, version.write(desired))
        writes[study["id"]] = Write(Method.PUT, version.write(study))
        issues += content.issues
    return transaction(list(writes.values())), issues
