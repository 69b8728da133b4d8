"""The judge knows R5: good resources pass, one defect in a good one is found, and R4 is no R5."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.test_judge import BUNDLE, ENDPOINT, INSTANCE, PATIENT, STUDY
from tests.defects import GONE, broken
from tests.judge import JUDGES, R5, problems

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_SCT = "http://snomed.info/sct"
_CT = {"coding": [{"system": _DCM, "code": "CT"}, {"system": "https://ris.example", "code": "7"}], "text": "scan"}
_ABSENT = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}

ENDPOINT_R5 = {
    "resourceType": "Endpoint",
    "id": "e1",
    "status": "active",
    "connectionType": [
        {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
                    "code": "dicom-wado-rs",
                }
            ]
        }
    ],
    "environmentType": [{"text": "production"}],
    "payload": [{"type": [{"text": "DICOM WADO-RS"}], "mimeType": ["application/dicom"]}],
    "address": "https://dicom.example",
}
STUDY_R5 = STUDY | {
    "modality": [_CT, {"coding": [{"system": _DCM, "code": "MR"}]}],
    "partOf": [{"reference": "Procedure/1"}],
    "procedure": [{"concept": {"text": "CT chest"}}, {"reference": {"reference": "PlanDefinition/1"}}],
    "reason": [{"concept": {"text": "cough"}}],
    "series": [
        {
            "uid": "1.2.3",
            "number": 0,
            "modality": _CT,
            "bodySite": {"concept": {"coding": [{"system": _SCT, "code": "816094009"}]}},
            "laterality": {"coding": [{"system": _SCT, "code": "7771000", "display": "Left"}]},
            "numberOfInstances": 2,
            "instance": [INSTANCE | {"number": 1}, INSTANCE | {"uid": "1.2.3.5", "title": "last"}],
        },
        {
            "uid": "1.2.4",
            "modality": {"extension": [_ABSENT]},
            "numberOfInstances": 1,
            "instance": [INSTANCE | {"uid": "1.2.4.1"}],
        },
    ],
}
BUNDLE_R5 = broken(broken(BUNDLE, "entry.1.resource", STUDY_R5), "entry.2.resource", ENDPOINT_R5)
BUNDLE_R5["entry"][1]["resource"]["subject"] = BUNDLE["entry"][1]["resource"]["subject"]
GOOD = {"patient": PATIENT, "endpoint": ENDPOINT_R5, "study": STUDY_R5, "bundle": BUNDLE_R5}

# Which good resource, where in it, and what stands there instead.
DEFECTS: list[tuple[str, str, Any]] = [
    ("study", "status", GONE),
    ("study", "status", "done"),
    ("study", "subject", GONE),
    ("study", "modality", STUDY["modality"]),
    ("study", "modality", _CT),
    ("study", "modality", []),
    ("study", "modality.1", _CT),
    ("study", "modality.0.coding.0.code", "C  T"),
    ("study", "interpreter", [{"display": "Rick Roe"}]),
    ("study", "procedureCode", [{"text": "CT chest"}]),
    ("study", "reasonCode", [{"text": "cough"}]),
    ("study", "procedureReference", {"reference": "Procedure/1"}),
    ("study", "partOf", {"reference": "Procedure/1"}),
    ("study", "partOf.0.reference", "Procedure/1 2"),
    ("study", "procedure.0", {"text": "CT chest"}),
    ("study", "procedure.0", {}),
    ("study", "procedure.1.reference", "PlanDefinition/1"),
    ("study", "procedure.1", {"concept": {"text": "CT chest"}}),
    ("study", "reason.0.concept", "cough"),
    ("study", "reason.0.concept.text", " cough"),
    ("study", "identifier.0.value", "urn:oid:1.2.03"),
    ("study", "numberOfInstances", 2),
    ("study", "series.0.modality", GONE),
    ("study", "series.0.modality", {"system": _DCM, "code": "CT"}),
    ("study", "series.0.modality.coding.0", None),
    ("study", "series.0.bodySite", {"system": _SCT, "code": "816094009"}),
    ("study", "series.0.bodySite", {"coding": [{"system": _SCT, "code": "816094009"}]}),
    ("study", "series.0.bodySite.concept.coding.0.system", "SCT"),
    ("study", "series.0.laterality", {"system": _SCT, "code": "7771000"}),
    ("study", "series.0.laterality.coding.0.code", "419161000"),
    ("study", "series.0.instance.0.sopClass", "urn:oid:1.2.840.10008.5.1.4.1.1.2"),
    ("study", "series.0.instance.0.sopClass", {"coding": [INSTANCE["sopClass"]]}),
    ("study", "series.0.uid", "1." * 33),
    ("study", "series.0.number", -1),
    ("study", "_stood", {"modality": [_CT]}),
    ("study", "series.0._stood", {"modality": _CT}),
    ("patient", "gender", "M"),
    ("patient", "birthDate", "1977-13"),
    ("patient", "name.0.given", []),
    ("patient", "identifier.0", {}),
    ("patient", "name.0.middle", ["T"]),
    ("endpoint", "status", "test"),
    ("endpoint", "status", GONE),
    ("endpoint", "connectionType", GONE),
    ("endpoint", "connectionType", ENDPOINT["connectionType"]),
    ("endpoint", "connectionType.0", ENDPOINT["connectionType"]),
    ("endpoint", "payloadType", ENDPOINT["payloadType"]),
    ("endpoint", "payloadMimeType", ["application/dicom"]),
    ("endpoint", "payload", {"type": [{"text": "DICOM WADO-RS"}]}),
    ("endpoint", "payload.0.type", {"text": "DICOM WADO-RS"}),
    ("endpoint", "payload.0.mimeType", "application/dicom"),
    ("endpoint", "address", GONE),
    ("bundle", "type", "collection"),
    ("bundle", "entry.0", {}),
    ("bundle", "entry.0.resource.gender", "M"),
    ("bundle", "entry.1.resource", BUNDLE["entry"][1]["resource"]),
    ("bundle", "entry.1.resource.series.0.modality", GONE),
    ("bundle", "entry.1.request.method", "put"),
    ("bundle", "entry.1.request.ifMatch", "7"),
    ("bundle", "entry.2.resource", ENDPOINT),
    ("bundle", "entry.2.request.url", "Endpoint/e2"),
]


@pytest.mark.parametrize("name", GOOD)
def test_good_resources_pass(name: str) -> None:
    """What is valid R5 has no problems: more codings, references beside concepts, what is new in R5."""
    assert problems(GOOD[name], R5) == []


@pytest.mark.parametrize(("name", "path", "value"), DEFECTS)
def test_one_defect_is_found(name: str, path: str, value: Any) -> None:
    """One defect in a good resource is a problem, and so is what R4 has there."""
    assert problems(broken(GOOD[name], path, value), R5), f"{name}.{path} = {value!r} passed"


@pytest.mark.parametrize("judge", sorted(JUDGES.keys() - {"fhirkit"}))
def test_no_judge_is_idle(judge: str) -> None:
    """Each judge that knows R5 finds defects of every kind of resource."""
    found = {
        name
        for name, path, value in DEFECTS
        for problem in problems(broken(GOOD[name], path, value), R5)
        if f"{judge}: " in problem
    }
    assert found == set(GOOD)


@pytest.mark.parametrize("name", ["endpoint", "study", "bundle"])
def test_r5_is_no_r4(name: str) -> None:
    """A good resource of R5 does not pass for R4."""
    assert problems(GOOD[name]) != []
