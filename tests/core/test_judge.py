"""The judge is judged: good resources pass, and one defect in a good one is found."""

from __future__ import annotations

from typing import Any

import pytest

from tests.defects import GONE, broken
from tests.judge import JUDGES, problems

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_ABC = {"url": "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation", "valueCode": "ABC"}
_IDE = _ABC | {"valueCode": "IDE"}
_NOTED = {"extension": [{"url": "https://ehr.example/noted", "valueBoolean": True}]}
_MR = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "meta": {"source": "https://dicom.example/studies?StudyInstanceUID=1.2"},
    "identifier": [
        {"use": "usual", "type": _MR, "system": "urn:oid:2.25.1", "value": "P 1", "assigner": {"display": "Here"}},
        {"use": "old", "system": "urn:uuid:6f1c7f0a-3c0e-5d5e-9d5b-0d1c0a5dca57", "value": "P2"},
    ],
    "name": [
        {"extension": [_ABC], "use": "official", "text": "Tarou Yamada", "family": "Yamada", "given": ["Tarou"]},
        {
            "extension": [_IDE],
            "use": "official",
            "family": "山\u3000田",
            "given": ["太郎", None],
            "_given": [None, _NOTED],
        },
    ],
    "gender": "male",
    "birthDate": "1977-05",
    "_birthDate": _NOTED,
}
ENDPOINT = {
    "resourceType": "Endpoint",
    "id": "e1",
    "status": "active",
    "connectionType": {
        "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
        "code": "dicom-wado-rs",
    },
    "name": "archive",
    "payloadType": [{"text": "DICOM WADO-RS"}],
    "payloadMimeType": ["application/dicom"],
    "address": "https://dicom.example",
}
INSTANCE = {"uid": "1.2.3.4", "sopClass": {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"}}
STUDY = {
    "resourceType": "ImagingStudy",
    "id": "s1",
    "meta": {"source": "https://dicom.example"},
    "identifier": [
        {"use": "official", "system": "urn:dicom:uid", "value": "urn:oid:1.2"},
        {"use": "secondary", "system": "urn:dicom:uid", "value": "1.2.03"},
    ],
    "status": "available",
    "modality": [{"system": _DCM, "code": "CT"}, {"system": _DCM, "code": "MR"}],
    "subject": {"reference": "Patient/p1", "type": "Patient"},
    "started": "2024-01-02T03:04:05+01:00",
    "endpoint": [{"reference": "Endpoint/e1"}],
    "numberOfSeries": 2,
    "numberOfInstances": 3,
    "note": [{"text": "two lines\nof\tothers"}],
    "series": [
        {
            "uid": "1.2.3",
            "number": 0,
            "modality": {"system": _DCM, "code": "CT"},
            "numberOfInstances": 2,
            "instance": [INSTANCE | {"number": 1}, INSTANCE | {"uid": "1.2.3.5", "title": "last"}],
        },
        {
            "uid": "1.2.4",
            "modality": {
                "extension": [
                    {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}
                ]
            },
            "numberOfInstances": 1,
            "instance": [INSTANCE | {"uid": "1.2.4.1"}],
        },
    ],
}
_FULL_URL = "urn:uuid:00000000-0000-4000-8000-000000000001"
_NEW = {name: value for name, value in PATIENT.items() if name != "id"}
BUNDLE = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {
            "fullUrl": _FULL_URL,
            "resource": _NEW,
            "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn%3Aoid%3A2.25.1%7CP1"},
        },
        {
            "resource": STUDY | {"subject": {"reference": _FULL_URL}},
            "request": {"method": "PUT", "url": "ImagingStudy/s1", "ifMatch": 'W/"7"'},
        },
        {"resource": ENDPOINT, "request": {"method": "PUT", "url": "Endpoint/e1"}},
        {"request": {"method": "DELETE", "url": "ImagingStudy/s2", "ifMatch": 'W/"1"'}},
    ],
}
GOOD = {"patient": PATIENT, "endpoint": ENDPOINT, "study": STUDY, "bundle": BUNDLE}

# Which good resource, where in it, and what stands there instead.
DEFECTS: list[tuple[str, str, Any]] = [
    ("study", "resourceType", "ImagingStudies"),
    ("study", "resourceType", GONE),
    ("study", "id", "s_1"),
    ("study", "id", "s" * 65),
    ("study", "status", GONE),
    ("study", "status", "done"),
    ("study", "subject", GONE),
    ("study", "subject", {}),
    ("study", "subject.reference", "Patient/p 1"),
    ("study", "subject.type", "Group"),
    ("study", "patient", {"reference": "Patient/p1"}),
    ("study", "identifier.0.use", "primary"),
    ("study", "identifier.0.system", "urn:dicom:uid "),
    ("study", "identifier.0.system", "DICOM"),
    ("study", "identifier.0.value", "urn:oid:1.2.03"),
    ("study", "identifier.0.value", "1.2"),
    ("study", "identifier.1", {"use": "official", "system": "urn:dicom:uid", "value": "urn:oid:1.2"}),
    ("study", "modality", []),
    ("study", "modality", None),
    ("study", "modality.1.code", "CT"),
    ("study", "modality.0.code", "C  T"),
    ("study", "started", "2024-01-02T03:04:05"),
    ("study", "started", "2024-01-02T03:04Z"),
    ("study", "started", "2024-02-30"),
    ("study", "started", "20240102"),
    ("study", "description", ""),
    ("study", "description", "   "),
    ("study", "description", "padded "),
    ("study", "description", "page\x0cbreak"),
    ("study", "description", "nul\x00"),
    ("study", "description", "half \ud83d"),
    ("study", "description", 7),
    ("study", "numberOfSeries", 3),
    ("study", "numberOfInstances", 2),
    ("study", "series.0", None),
    ("study", "series.0.uid", GONE),
    ("study", "series.0.uid", "1." * 33),
    ("study", "series.0.uid", "1.2/3"),
    ("study", "series.0.uid", "1.2.4"),
    ("study", "series.0.number", -1),
    ("study", "series.0.number", "1"),
    ("study", "series.0.number", 1.5),
    ("study", "series.0.number", 2**31),
    ("study", "series.0.modality", GONE),
    ("study", "series.0.modality", "CT"),
    ("study", "series.0.numberOfInstances", 3),
    ("study", "series.0.instance.0.uid", GONE),
    ("study", "series.0.instance.0.uid", "1.2.3.5"),
    ("study", "series.0.instance.0.uid", "one two"),
    ("study", "series.0.instance.0.sopClass", GONE),
    ("study", "series.0.instance.0.sopClass.code", "urn:oid:1.2.x"),
    ("study", "series.0.instance.0.sopClass.code", "1.2.840"),
    ("study", "series.1.modality.extension.0.valueCode", GONE),
    ("study", "series.1.modality.extension.0.url", GONE),
    ("study", "series.1.modality.extension.0.valueString", "unknown"),
    ("patient", "gender", "M"),
    ("patient", "birthDate", "1977-13"),
    ("patient", "birthDate", "1977-05-06T00:00:00Z"),
    ("patient", "birthDate", None),
    ("patient", "identifier.0", {}),
    ("patient", "identifier.0.system", "urn:oid:01.2"),
    ("patient", "identifier.1.system", "urn:uuid:6f1c7f0a"),
    ("patient", "name.0.use", "main"),
    ("patient", "name.0.given", []),
    ("patient", "name.0.given", [None]),
    ("patient", "name.0.given", "Tarou"),
    ("patient", "name.0.family", " Yamada"),
    ("patient", "name.0.text", "\x1b(B"),
    ("patient", "name.0.middle", ["T"]),
    ("patient", "deceasedBoolean", "false"),
    ("endpoint", "status", "up"),
    ("endpoint", "status", GONE),
    ("endpoint", "connectionType", GONE),
    ("endpoint", "payloadType", GONE),
    ("endpoint", "address", GONE),
    ("endpoint", "address", "https://dicom.example/a b"),
    ("bundle", "type", "collection"),
    ("bundle", "type", GONE),
    ("bundle", "entry", []),
    ("bundle", "entry", None),
    ("bundle", "entry.0", {}),
    ("bundle", "entry.0.fullUrl", "urn:uuid:00000000-0000-4000-8000-000000000002"),
    ("bundle", "entry.0.resource.id", "p1"),
    ("bundle", "entry.0.resource.gender", "M"),
    ("bundle", "entry.0.resource.name.0.given.0", ""),
    ("bundle", "entry.0.request.url", "Patient/p1"),
    ("bundle", "entry.1.fullUrl", _FULL_URL),
    ("bundle", "entry.1.request", GONE),
    ("bundle", "entry.1.request.method", "put"),
    ("bundle", "entry.1.request.url", "ImagingStudy/s2"),
    ("bundle", "entry.1.request.ifMatch", "7"),
    ("bundle", "entry.1.request.ifMatch", 'W/""'),
    ("bundle", "entry.1.request.ifNoneExist", "identifier=1"),
    ("bundle", "entry.1.resource", GONE),
    ("bundle", "entry.1.resource.resourceType", "Observation"),
    ("bundle", "entry.1.resource.series.0.instance.1.uid", "1." * 40),
    ("bundle", "entry.3.resource", STUDY),
    ("bundle", "entry.3.request.url", "ImagingStudy"),
    ("bundle", "entry.3.request.url", "ImagingStudy/s1"),
]


@pytest.mark.parametrize("name", GOOD)
def test_good_resources_pass(name: str) -> None:
    """What is valid R4 has no problems: several names, extensions, nulls beside extensions, lines of text."""
    assert problems(GOOD[name]) == []


@pytest.mark.parametrize(("name", "path", "value"), DEFECTS)
def test_one_defect_is_found(name: str, path: str, value: Any) -> None:
    """One defect in a good resource is a problem."""
    assert problems(broken(GOOD[name], path, value)), f"{name}.{path} = {value!r} passed"


@pytest.mark.parametrize("resource", [None, [], "Patient", 1, {}, {"resourceType": "Observation"}])
def test_what_dicomcast_does_not_emit_is_a_problem(resource: Any) -> None:
    """Only the four types of resource that dicomcast emits pass at all."""
    assert problems(resource) != []


@pytest.mark.parametrize("judge", JUDGES)
def test_no_judge_is_idle(judge: str) -> None:
    """Each judge finds defects of every kind of resource."""
    speaks = {name for name, path, value in DEFECTS if _says(judge, broken(GOOD[name], path, value))}
    assert speaks == set(GOOD)


def _says(judge: str, resource: Any) -> bool:
    return any(f"{judge}: " in problem for problem in problems(resource))
