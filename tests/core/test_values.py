"""Dates, times, person names, codes and issuers: DICOM value representations as FHIR data types."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.values import codeable_concept, codes, fhir_date, fhir_datetime, issuer, names, without_empty
from tests.metadata import code, dataset, metadata, rules_broken

TOKYO = ZoneInfo("Asia/Tokyo")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("day", "time", "offset", "site", "expected"),
    [
        ("20240715", "083117", "+0900", None, "2024-07-15T08:31:17+09:00"),
        ("20240715", "083117.658000", "-0430", None, "2024-07-15T08:31:17-04:30"),
        ("20240715", "083117", "+0000", None, "2024-07-15T08:31:17Z"),
        ("20240715", "083117", "+1400", None, "2024-07-15T08:31:17+14:00"),
        ("20240715", "083117", "-1200", None, "2024-07-15T08:31:17-12:00"),
        ("20240715", "0831", "+0900", None, "2024-07-15T08:31:00+09:00"),
        ("20240715", "08", "+0900", None, "2024-07-15"),
        ("20240715", None, "+0900", None, "2024-07-15"),
        ("20240715", "083117", None, None, "2024-07-15"),
        ("20240715", "083117", None, TOKYO, "2024-07-15T08:31:17+09:00"),
        ("20240715", "083117", None, BERLIN, "2024-07-15T08:31:17+02:00"),
        ("20240115", "083117", None, BERLIN, "2024-01-15T08:31:17+01:00"),
        ("20240115", "083117", None, UTC, "2024-01-15T08:31:17Z"),
        ("20240715", "083117", "-0500", BERLIN, "2024-07-15T08:31:17-05:00"),
        ("1997.04.24", "14:04:38", "+0100", None, "1997-04-24T14:04:38+01:00"),
        ("20161231", "235960", "+0000", None, "2016-12-31T23:59:59Z"),
        (None, "083117", "+0900", None, ""),
        # Before standard time a zone has seconds in its offset, which FHIR cannot write.
        ("18800101", "083117", None, BERLIN, "1880-01-01"),
    ],
)
def test_date_and_time_with_offset(day: Any, time: Any, offset: Any, site: Any, expected: str) -> None:
    """A time is told with the offset of the instance, else of the site on that date; else only the date, never UTC."""
    stated = {"StudyDate": day, "StudyTime": time, "TimezoneOffsetFromUTC": offset}
    one = dataset(**{keyword: value for keyword, value in stated.items() if value is not None})
    assert fhir_datetime(one, "StudyDate", "StudyTime", site) == expected
    assert rules_broken(one) == []


@pytest.mark.parametrize(
    ("attributes", "expected", "issue"),
    [
        ({"StudyDate": "20240230"}, "", ("00080020", "not-a-date")),
        ({"StudyDate": "00000000"}, "", ("00080020", "not-a-date")),
        ({"StudyTime": "240000"}, "2024-07-15", ("00080030", "not-a-time")),
        ({"StudyTime": "abc"}, "2024-07-15", ("00080030", "not-a-time")),
        ({"TimezoneOffsetFromUTC": "UTC-04:00"}, "2024-07-15T08:31:17+09:00", ("00080201", "not-an-offset")),
        ({"TimezoneOffsetFromUTC": "+1430"}, "2024-07-15T08:31:17+09:00", ("00080201", "not-an-offset")),
        ({"TimezoneOffsetFromUTC": "-1230"}, "2024-07-15T08:31:17+09:00", ("00080201", "not-an-offset")),
    ],
)
def test_broken_date_time_or_offset(attributes: Any, expected: str, issue: tuple[str, str]) -> None:
    """What is no date, time or offset is left out and told, and the rest is used: here a site in Tokyo."""
    one = dataset(**{"StudyDate": "20240715", "StudyTime": "083117", **attributes})
    assert fhir_datetime(one, "StudyDate", "StudyTime", TOKYO) == expected
    assert rules_broken(one) == [issue]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("19770531", "1977-05-31"),
        ("197705", "1977-05"),
        ("1977", "1977"),
        ("1977.05.31", "1977-05-31"),
        ("1977-05-31", "1977-05-31"),
        ("19000229", ""),
        ("197713", ""),
        ("31051977", ""),
    ],
)
def test_date_of_any_precision(value: str, expected: str) -> None:
    """A year, or a year and month, is a FHIR date as it is; an impossible date is none."""
    assert fhir_date(dataset(PatientBirthDate=value), "PatientBirthDate") == expected


def test_person_name_with_all_components() -> None:
    """family^given^middle^prefix^suffix; given, middle, prefix and suffix are split at blanks."""
    (person,) = names(dataset(PatientName="Adams^John Robert^Quincy^Rev. Dr.^B.A. M.Div."), "PatientName")
    assert person == [
        {
            "text": "Rev. Dr. John Robert Quincy Adams B.A. M.Div.",
            "family": "Adams",
            "given": ["John", "Robert", "Quincy"],
            "prefix": ["Rev.", "Dr."],
            "suffix": ["B.A.", "M.Div."],
        }
    ]


REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"


def _represented(kind: str, **name: Any) -> dict[str, Any]:
    return {"extension": [{"url": REPRESENTATION, "valueCode": kind}], **name}


YAMADA = [
    _represented("ABC", text="Tarou Yamada", family="Yamada", given=["Tarou"]),
    _represented("IDE", family="山田", given=["太郎"]),
    _represented("SYL", family="やまだ", given=["たろう"]),
]


@pytest.mark.parametrize(
    "value",
    [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"},
        {"Alphabetic": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
    ],
)
def test_person_name_in_three_representations(value: Any) -> None:
    """Three component groups are three HumanNames, marked ABC, IDE and SYL; the first has the text."""
    assert names(dataset(PatientName=value), "PatientName") == [YAMADA]


def test_person_name_as_plain_string() -> None:
    """Some services send a PN as a string: it is split at = first."""
    element = {"00100010": {"vr": "PN", "Value": ["Yamada^Tarou=山田^太郎=やまだ^たろう"]}}
    assert names(Dataset(element), "PatientName") == [YAMADA]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("REMOVED1", [{"text": "REMOVED1", "family": "REMOVED1"}]),
        ("CDMAN V4", [{"text": "CDMAN V4", "family": "CDMAN V4"}]),
        ("Doe, John", [{"text": "Doe, John", "family": "Doe, John"}]),
        ("Doe^Jane^^^", [{"text": "Jane Doe", "family": "Doe", "given": ["Jane"]}]),
        ("  Doe ^ Jane  ", [{"text": "Jane Doe", "family": "Doe", "given": ["Jane"]}]),
        ("^Jane", [{"text": "Jane", "given": ["Jane"]}]),
        (
            "A^B^C^D^E^F^G",
            [{"text": "D B C A E", "family": "A", "given": ["B", "C"], "prefix": ["D"], "suffix": ["E"]}],
        ),
        ("Do\x00e\ufffd^Ja\ud800ne\x1b", [{"text": "Jane Doe", "family": "Doe", "given": ["Jane"]}]),
        ({"Ideographic": "山田^太郎"}, [_represented("IDE", text="太郎 山田", family="山田", given=["太郎"])]),
    ],
)
def test_person_name_edge_cases(value: Any, expected: Any) -> None:
    """No caret, padding, too many components, what cannot be printed: nothing is guessed."""
    assert names(dataset(PatientName=value), "PatientName") == [expected]


@pytest.mark.parametrize("value", ["", "^^^^", "=", {}, {"Alphabetic": ""}, {"Alphabetic": None}])
def test_person_name_that_is_none(value: Any) -> None:
    """An empty name is no name, and nobody is called ""."""
    assert [name for name in names(dataset(PatientName=value), "PatientName") if name] == []


@pytest.mark.parametrize(
    ("value", "scheme", "system", "code_"),
    [
        ("77477000", "SCT", "http://snomed.info/sct", "77477000"),
        ("P5-08000", "SRT", "http://snomed.info/sct", "77477000"),
        ("T-D1100", "SNM3", "http://snomed.info/sct", "69536005"),
        ("T-04000", "99SDM", "http://snomed.info/sct", "76752008"),
        ("T-D3000", "SCT", "http://snomed.info/sct", "816094009"),
        ("T-D4000", "SRT", "http://snomed.info/sct", "818981001"),
        ("113701", "DCM", "http://dicom.nema.org/resources/ontology/DCM", "113701"),
        ("24627-2", "LN", "http://loinc.org", "24627-2"),
        ("mGy.cm", "UCUM", "http://unitsofmeasure.org", "mGy.cm"),
        ("RPID16", "RADLEX", "http://www.radlex.org", "RPID16"),
        ("7149", "FMA", "http://sig.biostr.washington.edu/projects/fm/AboutFM.html", "7149"),
        ("131328", "MDC", "urn:iso:std:iso:11073:10101", "131328"),
        ("C12345", "NCIt", "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl", "C12345"),
        ("C0040405", "UMLS", "http://www.nlm.nih.gov/research/umls", "C0040405"),
        ("R07.4", "I10", "http://hl7.org/fhir/sid/icd-10", "R07.4"),
        ("R07.9", "I10C", "http://hl7.org/fhir/sid/icd-10-cm", "R07.9"),
        ("BW24ZZZ", "I10P", "http://www.cms.gov/Medicare/Coding/ICD10", "BW24ZZZ"),
        ("71250", "C4", "http://www.ama-assn.org/go/cpt", "71250"),
        ("197604", "RXNORM", "http://www.nlm.nih.gov/research/umls/rxnorm", "197604"),
        ("786.50", "I9C", "http://hl7.org/fhir/sid/icd-9-cm", "786.50"),
    ],
)
def test_code_of_a_known_scheme(value: str, scheme: str, system: str, code_: str) -> None:
    """A designator becomes the URI of its system; SNOMED RT codes become SNOMED CT concepts."""
    concept = codeable_concept(Dataset(code(value, scheme, "the meaning")))
    assert concept == {
        "coding": [{"system": system, "code": code_, "display": "the meaning"}],
        "text": "the meaning",
    }


@pytest.mark.parametrize(
    ("value", "scheme"),
    [("ZZ-99999", "SRT"), ("HEADROUTINE", "99ACME"), ("X1", ""), ("two  blanks", "LN"), ("", "SCT")],
)
def test_code_that_cannot_be_told_as_code(value: str, scheme: str) -> None:
    """An unmapped SRT code, a private scheme, no scheme, a code that FHIR forbids: only its meaning is told."""
    assert codeable_concept(Dataset(code(value, scheme, "Head routine"))) == {"text": "Head routine"}


@pytest.mark.parametrize("value", ["ZZ-99999", "12345", "0123456", "77477000.", "1" * 19])
def test_what_calls_itself_snomed_ct(value: str) -> None:
    """What is no SNOMED CT identifier, and no SNOMED RT code, is never told under SNOMED CT's system."""
    item = Dataset(code(value, "SCT", "Head routine"))
    assert codeable_concept(item) == {"text": "Head routine"}
    assert rules_broken(item) == [("00080100", "not-a-snomed-code")]


@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        ("2.25.99", {"coding": [{"system": "urn:oid:2.25.99", "code": "C1", "display": "Head"}], "text": "Head"}),
        ("no uid", {"text": "Head"}),
    ],
)
def test_private_code_with_a_stated_scheme(uid: str, expected: Any) -> None:
    """A private scheme is named by the UID that its instance states for it (0008,0110), at any depth."""
    schemes = [
        metadata(CodingSchemeDesignator="99OTHER", CodingSchemeUID="2.25.98"),
        metadata(CodingSchemeDesignator="99ACME", CodingSchemeUID=uid),
    ]
    request = metadata(ReasonForRequestedProcedureCodeSequence=[code("C1", "99ACME", "Head")])
    one = dataset(CodingSchemeIdentificationSequence=schemes, RequestAttributesSequence=[request])
    (item,) = one.items("00400275")
    assert codes(item, "ReasonForRequestedProcedureCodeSequence") == [expected]


@pytest.mark.parametrize("keyword", ["CodeValue", "LongCodeValue", "URNCodeValue"])
def test_code_value_of_any_length(keyword: str) -> None:
    """(0008,0100), (0008,0119) for long ones, (0008,0120) for URNs."""
    item = dataset(**{keyword: "77477000"}, CodingSchemeDesignator="SCT")
    assert codeable_concept(item) == {"coding": [{"system": "http://snomed.info/sct", "code": "77477000"}]}


def test_code_sequence_without_repeats() -> None:
    """One CodeableConcept for each item, in order; the same one twice is one, an empty item none."""
    one = dataset(ProcedureCodeSequence=[code("A", "DCM", "a"), code("B", "DCM", "b"), code("A", "DCM", "a"), {}])
    assert [concept["text"] for concept in codes(one, "ProcedureCodeSequence")] == ["a", "b"]


TABLE = {"NUHSA": "urn:oid:2.25.7", "hospital.example": "https://hospital.example/mrn"}


@pytest.mark.parametrize(
    ("universal", "kind", "local", "expected"),
    [
        ("1.2.36.146", "ISO", "HOSP", ("urn:oid:1.2.36.146", "HOSP")),
        ("1.2.36.146", "ISO", "", ("urn:oid:1.2.36.146", "")),
        ("1.02.36", "ISO", "", ("", "1.02.36")),
        (
            "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6",
            "UUID",
            "",
            ("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", ""),
        ),
        ("https://hospital.example/ids", "URI", "HOSP", ("https://hospital.example/ids", "HOSP")),
        ("not absolute", "URI", "", ("", "not absolute")),
        ("hospital.example", "DNS", "", ("https://hospital.example/mrn", "hospital.example")),
        ("other.example", "DNS", "", ("", "other.example")),
        ("", "", "NUHSA", ("urn:oid:2.25.7", "NUHSA")),
        ("", "", "Elsewhere", ("", "Elsewhere")),
        ("", "", "", ("", "")),
    ],
)
def test_issuer(universal: str, kind: str, local: str, expected: tuple[str, str]) -> None:
    """ISO, UUID and URI identify by themselves, anything else by the site's table; free text is never a system."""
    item = dataset(UniversalEntityID=universal, UniversalEntityIDType=kind, LocalNamespaceEntityID=local)
    assert issuer(item, TABLE) == expected


def test_without_empty() -> None:
    """FHIR knows no null, no "" and no []; 0 and false are values."""
    assert without_empty({"a": None, "b": "", "c": [], "d": {}, "e": 0, "f": False}) == {"e": 0, "f": False}
