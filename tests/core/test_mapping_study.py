"""ImagingStudy on study level, element by element: DICOM attributes in, the FHIR element out."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dicomcast.mapping.rows import Facts
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.study import STUDY
from tests.metadata import code, dataset, metadata

RULES = Rules("urn:oid:2.25.1", issuers={"NORTH": "urn:oid:2.25.7"})
ACSN = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN", "display": "Accession ID"}]
}
CHEST_CT = code("24627-2", "LN", "CT Chest")
CHEST_CT_CONCEPT = {
    "coding": [{"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}],
    "text": "CT Chest",
}


def study(element: str, **attributes: Any) -> Any:
    """One element of the study that these attributes make."""
    return STUDY.elements(Facts(dataset(**attributes), RULES, "1.2.3")).get(element)


def test_identifier_study_uid() -> None:
    """StudyInstanceUID (0020,000D) is the official identifier, of type DCM 110180, as the EU and MADO profiles want."""
    assert study("identifier") == [
        {
            "use": "official",
            "system": "urn:dicom:uid",
            "value": "urn:oid:1.2.3",
            "type": {
                "coding": [
                    {
                        "system": "http://dicom.nema.org/resources/ontology/DCM",
                        "code": "110180",
                        "display": "Study Instance UID",
                    }
                ]
            },
        }
    ]


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        ({}, {}),
        (
            {"UniversalEntityID": "1.2.36", "UniversalEntityIDType": "ISO", "LocalNamespaceEntityID": "RIS"},
            {"system": "urn:oid:1.2.36", "assigner": {"display": "RIS"}},
        ),
        ({"LocalNamespaceEntityID": "NORTH"}, {"system": "urn:oid:2.25.7", "assigner": {"display": "NORTH"}}),
        ({"LocalNamespaceEntityID": "Elsewhere"}, {"assigner": {"display": "Elsewhere"}}),
    ],
)
def test_identifier_accession(issuer: Any, expected: Any) -> None:
    """AccessionNumber (0008,0050), with system and assigner of its issuer (0008,0051)."""
    sequence = {"IssuerOfAccessionNumberSequence": [metadata(**issuer)]} if issuer else {}
    identifiers = study("identifier", AccessionNumber=" A4711 ", **sequence)
    assert identifiers[1:] == [{"type": ACSN, "value": "A4711", **expected}]


def test_identifier_study_id_is_not_written() -> None:
    """StudyID (0020,0010) is only unique for a device."""
    assert len(study("identifier", StudyID="17")) == 1


def test_started() -> None:
    """StudyDate (0008,0020) and StudyTime (0008,0030), in the zone of the instance or the site."""
    at = {"StudyDate": "20240715", "StudyTime": "0831"}
    assert study("started", **at) == "2024-07-15"
    assert study("started", **at, TimezoneOffsetFromUTC="+0900") == "2024-07-15T08:31:00+09:00"
    berlin = Rules("", timezone=ZoneInfo("Europe/Berlin"))
    assert STUDY.elements(Facts(dataset(**at), berlin, "1.2.3"))["started"] == "2024-07-15T08:31:00+02:00"


def test_based_on() -> None:
    """One logical reference to a ServiceRequest for each accession number, of the study and of the requests in it."""
    north = metadata(LocalNamespaceEntityID="NORTH")
    found = study(
        "basedOn",
        AccessionNumber="A1",
        RequestAttributesSequence=[metadata(AccessionNumber="A1"), metadata(AccessionNumber="A2")],
        ReferencedRequestSequence=[metadata(AccessionNumber="A3", IssuerOfAccessionNumberSequence=[north]), {}],
    )
    assert found == [
        {"type": "ServiceRequest", "identifier": {"type": ACSN, "value": "A1"}},
        {"type": "ServiceRequest", "identifier": {"type": ACSN, "value": "A2"}},
        {
            "type": "ServiceRequest",
            "identifier": {
                "type": ACSN,
                "system": "urn:oid:2.25.7",
                "value": "A3",
                "assigner": {"display": "NORTH"},
            },
        },
    ]


def test_referrer() -> None:
    """ReferringPhysicianName (0008,0090) identified by (0008,0096); there is only one."""
    identification = metadata(PersonIdentificationCodeSequence=[code("4711", "L", "id")], InstitutionName="Practice")
    found = study(
        "referrer",
        ReferringPhysicianName=["Doe^Jane", "Roe^Rick"],
        ReferringPhysicianIdentificationSequence=[identification],
    )
    assert found == {
        "type": "Practitioner",
        "identifier": {"value": "4711", "assigner": {"display": "Practice"}},
        "display": "Jane Doe",
    }


def test_interpreter() -> None:
    """NameOfPhysiciansReadingStudy (0008,1060), each a reference; identified by (0008,1062)."""
    found = study(
        "interpreter",
        NameOfPhysiciansReadingStudy=["Doe^Jane", "Roe^Rick"],
        PhysiciansReadingStudyIdentificationSequence=[
            metadata(PersonIdentificationCodeSequence=[code("4711", "L", "id")])
        ],
    )
    assert found == [
        {
            "type": "Practitioner",
            "identifier": {"value": "4711", "assigner": {"display": "L"}},
            "display": "Jane Doe",
        },
        {"type": "Practitioner", "display": "Rick Roe"},
    ]


def test_procedure_code() -> None:
    """ProcedureCodeSequence (0008,1032): a concept for each item; procedureReference is never written."""
    attributes = {"ProcedureCodeSequence": [CHEST_CT, code("X1", "99ACME", "Chest routine")]}
    assert study("procedureCode", **attributes) == [CHEST_CT_CONCEPT, {"text": "Chest routine"}]
    assert study("procedureReference", **attributes) is None


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"InstitutionalDepartmentName": "Radiology", "PerformedLocation": "Room 2"}, {"display": "Radiology"}),
        ({"PerformedLocation": "Room 2"}, {"display": "Room 2"}),
        ({}, None),
    ],
)
def test_location(attributes: Any, expected: Any) -> None:
    """InstitutionalDepartmentName (0008,1040), else PerformedLocation (0040,0243), as a display only."""
    assert study("location", **attributes) == expected


CHEST_PAIN = code("29857009", "SCT", "Chest pain")
DYSPNEA = code("267036007", "SCT", "Dyspnea")
CHEST_PAIN_CODING = {"system": "http://snomed.info/sct", "code": "29857009", "display": "Chest pain"}
DYSPNEA_CODING = {"system": "http://snomed.info/sct", "code": "267036007", "display": "Dyspnea"}


@pytest.mark.parametrize(
    ("words", "coded", "expected"),
    [
        ("pain since Monday", [], [{"text": "pain since Monday"}]),
        ("", [CHEST_PAIN], [{"coding": [CHEST_PAIN_CODING], "text": "Chest pain"}]),
        ("pain since Monday", [CHEST_PAIN], [{"coding": [CHEST_PAIN_CODING], "text": "pain since Monday"}]),
        (
            "pain since Monday",
            [CHEST_PAIN, DYSPNEA],
            [
                {"coding": [CHEST_PAIN_CODING], "text": "Chest pain"},
                {"coding": [DYSPNEA_CODING], "text": "Dyspnea"},
                {"text": "pain since Monday"},
            ],
        ),
        ("", [], None),
    ],
)
@pytest.mark.parametrize("where", ["", "RequestAttributesSequence", "ReferencedRequestSequence"])
def test_reason_code(where: str, words: str, coded: Any, expected: Any) -> None:
    """ReasonForTheRequestedProcedure (0040,1002) and its codes (0040,100A), of the study or of a request in it."""
    reason = {"ReasonForTheRequestedProcedure": words, "ReasonForRequestedProcedureCodeSequence": coded}
    assert study("reasonCode", **({where: [metadata(**reason)]} if where else reason)) == expected


def test_reason_code_without_repeats() -> None:
    """The same reason on the study and on its requests is one."""
    request = metadata(ReasonForTheRequestedProcedure="cough")
    found = study("reasonCode", ReasonForTheRequestedProcedure="cough", RequestAttributesSequence=[request, request])
    assert found == [{"text": "cough"}]


def test_description_and_no_note() -> None:
    """StudyDescription (0008,1030) is the description, trimmed, and never a note."""
    assert study("description", StudyDescription=" CT chest ") == "CT chest"
    assert study("note", StudyDescription="CT chest") is None


@pytest.mark.parametrize("element", ["encounter", "reasonReference", "note", "status", "modality", "endpoint"])
def test_study_elements_that_metadata_do_not_tell(element: str) -> None:
    """What is opt-in, unmapped or counted over instances does not come from one instance."""
    assert study(element, AdmissionID="7", ModalitiesInStudy="CT", StudyDescription="CT") is None


def test_study_without_attributes() -> None:
    """Empty metadata make a study that has its identifier and nothing else."""
    assert list(STUDY.elements(Facts(dataset(StudyDescription=[], AccessionNumber=""), RULES, "1.2.3"))) == [
        "identifier"
    ]
