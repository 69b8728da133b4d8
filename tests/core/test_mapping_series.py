"""ImagingStudy.series and .instance, and Endpoint, element by element: DICOM attributes in, the FHIR element out."""

from __future__ import annotations

from typing import Any

import pytest

from dicomcast.mapping.endpoint import endpoint
from dicomcast.mapping.instance import INSTANCE
from dicomcast.mapping.rows import Facts
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.series import SERIES
from tests.metadata import CT, SECONDARY_CAPTURE, SR, code, dataset, metadata, rules_broken

RULES = Rules("urn:oid:2.25.1", issuers={"NORTH": "urn:oid:2.25.7"})


def series(element: str, **attributes: Any) -> Any:
    """One element of the series that these attributes make."""
    return SERIES.elements(Facts(dataset(**attributes), RULES)).get(element)


def instance(element: str, **attributes: Any) -> Any:
    """One element of the instance that these attributes make."""
    return INSTANCE.elements(Facts(dataset(**attributes), RULES)).get(element)


@pytest.mark.parametrize(
    ("value", "expected", "issues"),
    [
        ("3", 3, []),
        (3, 3, []),
        (0, 0, []),
        (2147483647, 2147483647, []),
        (2147483648, None, [("00200011", "out-of-range")]),
        (-1, None, [("00200011", "out-of-range")]),
        ("3a", None, [("00200011", "not-an-integer")]),
    ],
)
def test_series_number(value: Any, expected: Any, issues: Any) -> None:
    """SeriesNumber (0020,0011) as an unsigned integer; a negative one is legal in DICOM, and dropped."""
    one = dataset(SeriesNumber=value, Modality="CT")
    assert SERIES.elements(Facts(one, RULES)).get("number") == expected
    assert rules_broken(one) == issues


DCM = "http://dicom.nema.org/resources/ontology/DCM"
UNKNOWN = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}


@pytest.mark.parametrize(
    ("attributes", "expected", "issues"),
    [
        ({"Modality": "CT"}, {"system": DCM, "code": "CT", "display": "Computed Tomography"}, []),
        ({"Modality": "ct "}, {"system": DCM, "code": "CT", "display": "Computed Tomography"}, []),
        ({"Modality": "QQ", "SOPClassUID": CT}, {"system": DCM, "code": "QQ"}, []),
        ({"SOPClassUID": SR}, {"system": DCM, "code": "SR", "display": "Structured Report Document"}, ["missing"]),
        ({"SOPClassUID": SECONDARY_CAPTURE}, UNKNOWN, ["missing"]),
        ({}, UNKNOWN, ["missing"]),
    ],
)
def test_series_modality(attributes: Any, expected: Any, issues: Any) -> None:
    """Modality (0008,0060); missing, what the SOP class implies; else its absence is stated, for it is 1..1."""
    one = dataset(**attributes)
    assert SERIES.elements(Facts(one, RULES))["modality"] == expected
    assert rules_broken(one) == [("00080060", rule) for rule in issues]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"SeriesDescription": " axial ", "SeriesDescriptionCodeSequence": [code("24627-2", "LN", "CT Chest")]},
            "axial",
        ),
        ({"SeriesDescriptionCodeSequence": [code("24627-2", "LN", "CT Chest")]}, "CT Chest"),
        ({"SeriesDescription": ""}, None),
    ],
)
def test_series_description(attributes: Any, expected: Any) -> None:
    """SeriesDescription (0008,103E), else the meaning of (0008,103F)."""
    assert series("description", **attributes) == expected


SCT = "http://snomed.info/sct"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"AnatomicRegionSequence": [code("T-D1100", "SRT", "Head")], "BodyPartExamined": "NECK"},
            {"system": SCT, "code": "69536005", "display": "Head"},
        ),
        ({"AnatomicRegionSequence": [code("1", "99ACME", "Left ear")]}, {"display": "Left ear"}),
        (
            {"AnatomicRegionSequence": [{}], "BodyPartExamined": "CHEST"},
            {"system": SCT, "code": "816094009", "display": "Chest"},
        ),
        ({"BodyPartExamined": "whole body"}, {"system": SCT, "code": "38266002", "display": "Entire body"}),
        ({"BodyPartExamined": "PATTERN"}, {"display": "PATTERN"}),
        ({}, None),
    ],
)
def test_series_body_site(attributes: Any, expected: Any) -> None:
    """AnatomicRegionSequence (0008,2218), else BodyPartExamined (0018,0015); without a concept as it was sent."""
    assert series("bodySite", **attributes) == expected


@pytest.mark.parametrize(
    ("side", "expected", "issues"),
    [
        ("L", {"system": SCT, "code": "419161000", "display": "Unilateral left"}, []),
        ("R", {"system": SCT, "code": "419465000", "display": "Unilateral right"}, []),
        ("B", {"system": SCT, "code": "51440002", "display": "Bilateral"}, []),
        ("U", None, []),
        ("", None, []),
        ("X", None, [("00200060", "unknown-code")]),
    ],
)
def test_series_laterality(side: str, expected: Any, issues: Any) -> None:
    """Laterality (0020,0060) in the codes that FHIR R4 names for it; unpaired is no laterality."""
    one = dataset(Laterality=side, Modality="CT")
    assert SERIES.elements(Facts(one, RULES)).get("laterality") == expected
    assert rules_broken(one) == issues


LEFT = {"system": SCT, "code": "419161000", "display": "Unilateral left"}


@pytest.mark.parametrize(
    ("modality", "laterality", "images", "expected"),
    [
        ("MG", None, ["L", "L"], LEFT),
        ("MG", "", ["l", "L"], LEFT),
        ("MG", None, ["L", "R"], None),
        ("MG", None, ["L", ""], None),
        ("MG", None, ["U", "U"], None),
        ("MG", "L", ["R", "R"], LEFT),
        ("MG", "U", ["L", "L"], None),
        ("DX", None, ["L"], LEFT),
        ("CT", None, ["L", "L"], None),
    ],
)
def test_series_laterality_of_its_images(modality: str, laterality: Any, images: Any, expected: Any) -> None:
    """Without Laterality, ImageLaterality (0020,0062), if all images state the same, where modalities have it."""
    stated = {} if laterality is None else {"Laterality": laterality}
    told = [dataset(ImageLaterality=side) for side in images]
    one = dataset(Modality=modality, **stated)
    assert SERIES.elements(Facts(one, RULES, images=told)).get("laterality") == expected


def test_series_specimen() -> None:
    """SpecimenIdentifier (0040,0551) with its issuer (0040,0562): a logical reference, an archive owns no Specimen."""
    north = metadata(LocalNamespaceEntityID="NORTH")
    items = [
        metadata(SpecimenIdentifier="S1", IssuerOfTheSpecimenIdentifierSequence=[north]),
        metadata(SpecimenIdentifier="S2"),
        metadata(SpecimenUID="2.25.5"),
    ]
    assert series("specimen", SpecimenDescriptionSequence=items) == [
        {
            "type": "Specimen",
            "identifier": {"system": "urn:oid:2.25.7", "value": "S1", "assigner": {"display": "NORTH"}},
        },
        {"type": "Specimen", "identifier": {"value": "S2"}},
    ]


def test_series_started() -> None:
    """SeriesDate (0008,0021) and SeriesTime (0008,0031), by the rules of `started`."""
    at = {"SeriesDate": "20240715", "SeriesTime": "083210", "TimezoneOffsetFromUTC": "-0400"}
    assert series("started", **at) == "2024-07-15T08:32:10-04:00"


def test_series_performer() -> None:
    """Performing physicians (0008,1050) are PRF, operators (0008,1070) SPRF."""
    participation = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
    found = series("performer", PerformingPhysicianName="Doe^Jane", OperatorsName=["Roe^Rick", "Poe^Pat"])
    assert found == [
        {
            "function": {"coding": [{"system": participation, "code": kind, "display": meaning}]},
            "actor": {"type": "Practitioner", "display": name},
        }
        for kind, meaning, name in (
            ("PRF", "performer", "Jane Doe"),
            ("SPRF", "secondary performer", "Rick Roe"),
            ("SPRF", "secondary performer", "Pat Poe"),
        )
    ]


def test_instance_sop_class() -> None:
    """SOPClassUID (0008,0016) is a URI in R4's way of coding it."""
    assert instance("sopClass", SOPClassUID=CT) == {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{CT}"}


def test_instance_sop_class_that_is_missing() -> None:
    """sopClass is 1..1: its absence is stated, or the server would refuse the whole study."""
    one = dataset(SOPClassUID="")
    assert INSTANCE.elements(Facts(one, RULES)) == {"sopClass": UNKNOWN}
    assert rules_broken(one) == [("00080016", "missing")]


@pytest.mark.parametrize(("value", "expected"), [("12", 12), (0, 0), (-1, None), ("1.5", None), ("", None)])
def test_instance_number(value: Any, expected: Any) -> None:
    """InstanceNumber (0020,0013) as an unsigned integer."""
    assert instance("number", InstanceNumber=value) == expected


TITLES = {
    "DocumentTitle": "Discharge letter",
    "ConceptNameCodeSequence": [code("18748-4", "LN", "Diagnostic imaging report")],
    "ContentLabel": "FINDINGS",
    "ContentDescription": "marked by hand",
}


@pytest.mark.parametrize(
    ("absent", "expected"),
    list(enumerate(["Discharge letter", "Diagnostic imaging report", "FINDINGS", "marked by hand", None])),
)
def test_instance_title(absent: int, expected: Any) -> None:
    """DocumentTitle, else the document's concept, else ContentLabel, else ContentDescription; ImageType never."""
    left = dict(list(TITLES.items())[absent:])
    assert instance("title", ImageType=["ORIGINAL", "PRIMARY"], **left) == expected


def test_endpoint() -> None:
    """A DICOMweb base URL as R4 Endpoint, without /studies; its payload is anything that DICOM is."""
    base = "https://dicom.example/v2/partitions/north"
    assert endpoint(base) == {
        "resourceType": "Endpoint",
        "meta": {"source": base},
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": base}],
        "status": "active",
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "dicom-wado-rs",
        },
        "name": f"DICOM WADO-RS endpoint {base}",
        "payloadType": [
            {
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/endpoint-payload-type", "code": "any"}],
                "text": "DICOM WADO-RS",
            }
        ],
        "payloadMimeType": ["application/dicom", "application/dicom+json"],
        "address": base,
    }
