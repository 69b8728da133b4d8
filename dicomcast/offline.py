"""Mapping without servers: datasets in, a transaction Bundle out that any FHIR server of a version takes."""

from __future__ import annotations

from collections.abc import Iterable

from dicomcast.bundle import Method, Write, transaction
from dicomcast.identity import patient_id, study_id
from dicomcast.mapping.patient import patient
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.values import JSON
from dicomcast.merge import Links, draft, merge_study
from dicomcast.model import Instance, InstanceKey, Issue, StudyDelta, StudyKey
from dicomcast.versions import R4, Version

__all__ = ["bundle_of"]


def bundle_of(
    instances: Iterable[tuple[str, Instance]], rules: Rules, *, version: Version = R4
) -> tuple[JSON, list[Issue]]:
    """The Patients and ImagingStudies of (StudyInstanceUID, instance) pairs, and what is odd in the data."""
    studies: dict[str, dict[InstanceKey, Instance]] = {}
    for study_uid, instance in instances:
        studies.setdefault(study_uid, {})[instance.key] = instance
    writes: dict[str, Write] = {}
    issues: list[Issue] = []
    for study_uid, held in sorted(studies.items()):
        key = StudyKey("", "", study_uid)
        content = draft(None, StudyDelta(key, held, snapshot=True), rules, "")
        desired = patient(content.dataset, rules, study_uid) if content.dataset is not None else None
        if desired is None:
            issues += content.issues
            continue
        identifier = desired["identifier"][0]
        desired["id"] = patient_id(identifier.get("system", ""), identifier["value"])
        logical = {name: value for name, value in identifier.items() if name in ("system", "value")}
        subject = {"reference": f"Patient/{desired['id']}", "type": "Patient", "identifier": logical}
        study = merge_study(None, content, key, rules, Links(subject, "", ""), study_id(key))
        writes.setdefault(desired["id"], Write(Method.PUT, version.write(desired)))
        writes[study["id"]] = Write(Method.PUT, version.write(study))
        issues += content.issues
    return transaction(list(writes.values())), issues
