"""The embedded FHIR server as one of R4B and of R5: what it states, takes and refuses."""

from __future__ import annotations

from typing import Any

import pytest

from dicomcast.demo.fhir_validation import Refusal, check_bundle, check_resource
from tests.core.test_judge import ENDPOINT, PATIENT, STUDY
from tests.core.test_judge_r5 import BUNDLE_R5, DEFECTS, ENDPOINT_R5, GOOD, STUDY_R5
from tests.defects import broken
from tests.demo.fhir_client import Client

_R4 = {"Patient": PATIENT, "Endpoint": ENDPOINT, "ImagingStudy": STUDY}
_R5 = {"Patient": PATIENT, "Endpoint": ENDPOINT_R5, "ImagingStudy": STUDY_R5}
# Only the judge of the tests sees these: they are conventions, or hold between elements.
_CONVENTIONS = {
    "modality.1",
    "procedure.1",
    "partOf.0.reference",
    "reason.0.concept.text",
    "identifier.0.value",
    "numberOfInstances",
    "series.0.laterality.coding.0.code",
}


def refused(resource: dict[str, Any], kind: str, version: str) -> int:
    """The status with which a resource is refused, 0 if it is taken."""
    try:
        if kind == "Bundle":
            check_bundle(resource, version)
        else:
            check_resource(resource, kind, version)
    except Refusal as refusal:
        return refusal.status
    return 0


@pytest.mark.parametrize("version", ["4.0.1", "4.3.0", "5.0.0"])
def test_each_version_takes_its_own(version: str) -> None:
    """And refuses what only another one knows; Patient and Bundle are the same in all."""
    good, other = (_R5, _R4) if version == "5.0.0" else (_R4, _R5)
    assert {kind: refused(resource, kind, version) for kind, resource in good.items()} == dict.fromkeys(good, 0)
    assert refused(BUNDLE_R5, "Bundle", version) == 0
    assert [refused(other[kind], kind, version) for kind in ("Endpoint", "ImagingStudy")] == [422, 422]


@pytest.mark.parametrize(("name", "path", "value"), [one for one in DEFECTS if one[0] != "bundle"])
def test_one_defect_is_refused(name: str, path: str, value: Any) -> None:
    """A server of R5 is as strict as one of R4: structure, value sets, emptiness, but no conventions."""
    status = refused(broken(GOOD[name], path, value), GOOD[name]["resourceType"], "5.0.0")
    assert status == (0 if path in _CONVENTIONS and value is not None else 422)


@pytest.mark.parametrize(
    ("kind", "element", "value"),
    [("Device", "status", "unknown"), ("Endpoint", "status", "test"), ("Observation", "status", "done")],
)
def test_value_sets_of_r5(kind: str, element: str, value: str) -> None:
    """R5 took codes out of required value sets."""
    rest = {"Endpoint": ENDPOINT_R5, "Observation": {"code": {"text": "x"}}}.get(kind, {})
    taken = {"Device": "active", "Endpoint": "active", "Observation": "final"}[kind]
    assert refused({**rest, "resourceType": kind, element: value}, kind, "5.0.0") == 422
    assert refused({**rest, "resourceType": kind, element: taken}, kind, "5.0.0") == 0


@pytest.mark.parametrize(("version", "study"), [("4.3.0", STUDY), ("5.0.0", STUDY_R5)])
async def test_search_by_modality(version: str, study: dict[str, Any]) -> None:
    """The modality of a series is found, whether it is a Coding or a CodeableConcept of several."""
    client = Client(version=version)
    assert (await client.get("metadata")).json()["fhirVersion"] == version
    client.store.put(study)
    for modality, found in (("CT", 1), ("http://dicom.nema.org/resources/ontology/DCM|CT", 1), ("MR", 0)):
        assert (await client.search("ImagingStudy", {"modality": modality}))["total"] == found
    await client.close()
