"""Patient, element by element: DICOM attributes in, the FHIR element out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dicomcast.mapping.patient import patient
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.table import select
from dicomcast.model import MissingId
from tests.metadata import dataset, metadata, rules_broken

SITE = "urn:oid:2.25.1"
RULES = Rules(SITE, issuers={"NORTH": "urn:oid:2.25.7"})
MR = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR", "display": "Medical record number"}
    ]
}


def mapped(element: str, **attributes: Any) -> Any:
    """One element of the Patient that these attributes make."""
    resource = patient(dataset(**{"PatientID": "P1", **attributes}), RULES, "1.2.3")
    assert resource is not None
    return resource.get(element)


def test_identifier_of_the_site() -> None:
    """PatientID (0010,0020), trimmed, is the usual medical record number; without issuer the system is the site's."""
    assert mapped("identifier", PatientID=" P 1\x00") == [{"use": "usual", "type": MR, "system": SITE, "value": "P 1"}]


ISO = {"UniversalEntityID": "1.2.36", "UniversalEntityIDType": "ISO"}


@pytest.mark.parametrize(
    ("name", "qualifiers", "system", "assigner"),
    [
        ("", ISO, "urn:oid:1.2.36", None),
        ("South", ISO, "urn:oid:1.2.36", "South"),
        ("South", {**ISO, "LocalNamespaceEntityID": "NORTH"}, "urn:oid:1.2.36", "NORTH"),
        ("", {"LocalNamespaceEntityID": "NORTH"}, "urn:oid:2.25.7", "NORTH"),
        ("", {"UniversalEntityID": "NORTH", "UniversalEntityIDType": "DNS"}, "urn:oid:2.25.7", "NORTH"),
        ("NORTH", {}, "urn:oid:2.25.7", "NORTH"),
        ("NORTH", {"UniversalEntityID": "x", "UniversalEntityIDType": "ISO"}, "urn:oid:2.25.7", "NORTH"),
        ("South", {}, SITE, "South"),
        ("", {"LocalNamespaceEntityID": "South"}, SITE, "South"),
    ],
)
def test_identifier_system_and_assigner(name: str, qualifiers: Any, system: str, assigner: Any) -> None:
    """(0010,0024) by its universal id, else (0010,0021) by table, else the site; its name is the assigner."""
    sequence = {"IssuerOfPatientIDQualifiersSequence": [metadata(**qualifiers)]} if qualifiers else {}
    (identifier,) = mapped("identifier", IssuerOfPatientID=name, **sequence)
    assert identifier["system"] == system
    assert identifier.get("assigner") == ({"display": assigner} if assigner else None)


@pytest.mark.parametrize(
    ("code", "expected", "issues"),
    [
        ("PI", {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "PI"}, []),
        ("an", {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "AN"}, []),
        ("MR", MR["coding"][0], []),
        ("", MR["coding"][0], []),
        ("BARCODE 7", MR["coding"][0], [("00400035", "unknown-code")]),
    ],
)
def test_identifier_type(code: str, expected: Any, issues: Any) -> None:
    """IdentifierTypeCode (0040,0035) of (0010,0024) is a code of table 0203; else it is a medical record number."""
    one = dataset(PatientID="P1", IssuerOfPatientIDQualifiersSequence=[metadata(IdentifierTypeCode=code)])
    resource = patient(one, RULES, "1.2.3")
    assert resource is not None
    assert resource["identifier"][0]["type"] == {"coding": [expected]}
    assert rules_broken(one) == issues


@pytest.mark.parametrize(
    ("issuer", "issues"),
    [
        ({}, []),
        ({"IssuerOfPatientID": "NORTH"}, []),
        ({"IssuerOfPatientID": "SOUTH"}, [("00100021", "unknown-issuer")]),
        ({"IssuerOfPatientID": "NOR\ufffdTH"}, [("00100021", "damaged-text"), ("00100021", "unknown-issuer")]),
        (
            {
                "IssuerOfPatientIDQualifiersSequence": [
                    metadata(UniversalEntityID="1.2.03", UniversalEntityIDType="ISO")
                ]
            },
            [("00400032", "not-an-oid"), ("00100024", "unknown-issuer")],
        ),
        (
            {"IssuerOfPatientIDQualifiersSequence": [metadata(UniversalEntityID="a.example")]},
            [("00100024", "unknown-issuer")],
        ),
    ],
)
def test_issuer_that_is_named_but_not_known(issuer: Any, issues: Any) -> None:
    """It is told, and its PatientID is the site's, or counts as missing: it may be another hospital's."""
    for known_to_be_ours, values in ((True, {"P1"}), (False, {"P1"} if not issues else {"urn:oid:1.2.3"})):
        one = dataset(PatientID="P1", **issuer)
        resource = patient(one, replace(RULES, unknown_issuer_is_site=known_to_be_ours), "1.2.3")
        assert resource is not None
        assert {identifier["value"] for identifier in resource["identifier"]} == values
        assert rules_broken(one) == issues


def test_two_patients_that_differ_by_a_lost_character() -> None:
    """What is left of a damaged PatientID is not taken for somebody else's, and without surrogates it is skipped."""
    one = dataset(PatientID="12\ufffd3")
    assert patient(one, replace(RULES, missing_id=MissingId.SKIP), "1.2.3") is None
    assert rules_broken(one) == [("00100020", "damaged-text")]


def test_no_patient_id() -> None:
    """Without PatientID the study's UID stands in, as a temporary identifier; a site can do without such Patients."""
    one = dataset(PatientID="  ", PatientName="Doe^Jane")
    surrogate = patient(one, RULES, "1.2.3")
    assert surrogate is not None
    assert surrogate["identifier"] == [{"use": "temp", "system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]
    assert rules_broken(one) == [("00100020", "missing")]
    assert patient(one, Rules(SITE, missing_id=MissingId.SKIP), "1.2.3") is None


@pytest.mark.parametrize("patient_id", ["", "nobody"])
def test_the_shared_patient_is_its_identifier(patient_id: str) -> None:
    """A study without PatientID hangs on the Patient that the site names, and so does one with that PatientID."""
    nobody = Rules(SITE, missing_id=MissingId.UNKNOWN, unknown="nobody")
    one = dataset(PatientID=patient_id, PatientName="Doe^Jane", PatientSex="F", PatientBirthDate="19700101")
    assert patient(one, nobody, "1.2.3") == {
        "resourceType": "Patient",
        "identifier": [{"system": SITE, "value": "nobody"}],
    }


def test_who_has_an_id_is_not_the_shared_patient() -> None:
    """An equal PatientID of another issuer is somebody, and so is any PatientID where studies share no Patient."""
    nobody = Rules(SITE, missing_id=MissingId.UNKNOWN, unknown="nobody", issuers={"NORTH": "urn:oid:1.2"})
    issued = dataset(PatientID="nobody", IssuerOfPatientID="NORTH", PatientSex="F")
    named = dataset(PatientID="nobody", PatientSex="F")
    for one, site in ((issued, nobody), (named, Rules(SITE, unknown="nobody"))):
        found = patient(one, site, "1.2.3")
        assert found is not None and found["gender"] == "female"


def test_other_patient_ids_are_not_identifiers() -> None:
    """OtherPatientIDs may be anybody's: they are not written, so nothing can match on them."""
    other = metadata(PatientID="P2", IssuerOfPatientID="NORTH")
    assert len(mapped("identifier", OtherPatientIDsSequence=[other])) == 1


def test_name() -> None:
    """The first PatientName (0010,0010) is the official name, in all its representations; further ones are not used."""
    yamada = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}
    found = mapped("name", PatientName=[yamada, "Doe^Jane"])
    assert [(one["use"], one["family"], one["given"]) for one in found] == [
        ("official", "Yamada", ["Tarou"]),
        ("official", "山田", ["太郎"]),
    ]
    assert mapped("name", PatientName="") is None
    assert mapped("name", PatientName=[None, "Doe^Jane"])[0]["text"] == "Jane Doe"


def test_further_names() -> None:
    """PatientBirthName (0010,1005) is the maiden name; NameToUse (0010,0012) is how to address them, as text."""
    found = mapped(
        "name",
        PatientName="Doe^Jane",
        PatientBirthName="Roe^Jane",
        **{"00100011": [{"00100012": {"vr": "LT", "Value": [" Janie "]}}, {}]},
    )
    assert found == [
        {"use": "official", "text": "Jane Doe", "family": "Doe", "given": ["Jane"]},
        {"use": "maiden", "text": "Jane Roe", "family": "Roe", "given": ["Jane"]},
        {"use": "usual", "text": "Janie"},
    ]


def test_names_to_use_are_kept_when_metadata_are_read() -> None:
    """Only mapped attributes are kept of what an archive sends: names to use, which pydicom does not know, too."""
    whole = metadata(StudyInstanceUID="1.2", PatientName="Doe^Jane", PatientAddress="Main Street 1") | {
        "00100011": {"vr": "SQ", "Value": [{"00100012": {"vr": "LT", "Value": ["Janie"]}}]}
    }
    assert set(select(whole)) == {"0020000D", "00100010", "00100011"}


@pytest.mark.parametrize(
    ("sex", "gender", "issues"),
    [
        ("M", "male", []),
        ("F", "female", []),
        ("O", "other", []),
        ("f", "female", []),
        ("", None, []),
        ("X", None, [("00100040", "unknown-code")]),
    ],
)
def test_gender(sex: str, gender: Any, issues: Any) -> None:
    """PatientSex (0010,0040): M, F and O; what is absent or unknown is omitted, never guessed."""
    one = dataset(PatientID="P1", PatientSex=sex)
    resource = patient(one, RULES, "1.2.3")
    assert resource is not None
    assert resource.get("gender") == gender
    assert rules_broken(one) == issues


@pytest.mark.parametrize(
    ("born", "expected"),
    [("19770531", "1977-05-31"), ("1977", "1977"), ("197705", "1977-05"), ("20240715", "2024-07-15"), ("", None)],
)
def test_birth_date(born: str, expected: Any) -> None:
    """PatientBirthDate (0010,0030), of any precision, up to the day of the study."""
    one = dataset(PatientID="P1", PatientBirthDate=born, StudyDate="20240715")
    resource = patient(one, RULES, "1.2.3")
    assert resource is not None
    assert resource.get("birthDate") == expected
    assert rules_broken(one) == []


@pytest.mark.parametrize(
    ("born", "studied"),
    [
        ("19000101", {"StudyDate": "20240715"}),
        ("99991231", {}),
        ("9999", {}),
        ("18000101", {"StudyDate": "20240715"}),
        ("11111111", {"StudyDate": "20240715"}),
        ("18491231", {"StudyDate": "20240715"}),
        ("1849", {}),
        ("20240716", {"StudyDate": "20240715"}),
        ("202408", {"StudyDate": "20240715"}),
        ("2025", {"StudyDate": "20240715"}),
        ("20240716", {"SeriesDate": "20240715"}),
        ("20240716", {"StudyDate": "19000101", "SeriesDate": "20240715"}),
    ],
)
def test_birth_date_that_cannot_be(born: str, studied: Any) -> None:
    """Born before 1850, after the study, or on a date that stands for "unknown": omitted, and told."""
    one = dataset(PatientID="P1", PatientBirthDate=born, **studied)
    resource = patient(one, RULES, "1.2.3")
    assert resource is not None
    assert "birthDate" not in resource
    assert rules_broken(one) == [("00100030", "implausible")]


@pytest.mark.parametrize(
    ("born", "studied", "expected"),
    [
        ("18500101", {"StudyDate": "19000201"}, "1850-01-01"),
        ("19000102", {"StudyDate": "19800101"}, "1900-01-02"),
        ("2024", {"StudyDate": "20240715"}, "2024"),
        ("19770531", {}, "1977-05-31"),
        ("19770531", {"StudyDate": "19000101"}, "1977-05-31"),
        ("19770531", {"StudyDate": "20240230"}, "1977-05-31"),
    ],
)
def test_birth_date_at_the_edges(born: str, studied: Any, expected: str) -> None:
    """A study's date that is unknown or a dummy itself is no reason to doubt a birth date."""
    assert mapped("birthDate", PatientBirthDate=born, **studied) == expected


@pytest.mark.parametrize(
    "attributes",
    [
        {"PatientDeathDateInAlternativeCalendar": "20200101"},
        {"PatientAddress": "Main Street 1"},
        {"PatientTelephoneNumbers": "555"},
        {"PatientComments": "difficult"},
        {"OtherPatientNames": "Roe^Jane"},
        {"PatientBirthTime": "0831"},
        {"PatientSpeciesDescription": "canine"},
        {"TypeOfPatientID": "BARCODE"},
    ],
)
def test_attributes_that_are_never_written(attributes: Any) -> None:
    """What is stale, private beyond need, or no attribute of a Patient in FHIR leaves no trace."""
    assert patient(dataset(PatientID="P1", **attributes), RULES, "1.2.3") == {
        "resourceType": "Patient",
        "identifier": [{"use": "usual", "type": MR, "system": SITE, "value": "P1"}],
    }
