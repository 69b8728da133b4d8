"""What real archives send that is not as it should be, and what becomes of it: a value or an issue, never an exception.

A row is: what is odd, the attribute and its element of DICOM JSON, the element of FHIR that comes of it (None for
none), and the rule that is told to be broken ("" for none). What pydicom's `Dataset.from_json` makes of the same is
often that the whole dataset is lost, or another value without a word.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from dicomcast.dicom.files import instance_of
from dicomcast.errors import Rejected
from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.rows import Facts
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.table import TABLES, select
from dicomcast.mapping.tags import tag
from dicomcast.model import Issue, Severity
from tests.metadata import code

RULES = Rules("urn:oid:2.25.1")
ROWS = {f"{row.path}.{row.element.partition(':')[0]}": table for table in TABLES for row in table.rows}

CONCEPT = [{"coding": [{"system": "http://loinc.org", "code": "1-8", "display": "a"}], "text": "a"}]
CODE = code("1-8", "LN", "a")
JANE = [{"use": "official", "text": "Jane Doe", "family": "Doe", "given": ["Jane"]}]
YAMADA = {"use": "official", "text": "太郎 山田", "family": "山田", "given": ["太郎"]}
IDEOGRAPHIC = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation", "valueCode": "IDE"}]
}
UNKNOWN = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
CT = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT", "display": "Computed Tomography"}

STARTED, DESCRIPTION = "ImagingStudy.started", "ImagingStudy.description"
TITLE, SOP_CLASS = "ImagingStudy.series.instance.title", "ImagingStudy.series.instance.sopClass"
NUMBER, PERSON = "ImagingStudy.series.number", "Patient.name"
PROCEDURE = "ImagingStudy.procedureCode"


def one(value: Any, vr: str = "LO") -> dict[str, Any]:
    """An element of one value."""
    return {"vr": vr, "Value": [value]}


TABLE: list[tuple[str, str, Any, str, Any, str]] = [
    # DA
    ("DA with dashes", "StudyDate", one("2022-08-22", "DA"), STARTED, "2022-08-22T08:31:00Z", ""),
    ("DA with dots (ACR-NEMA)", "StudyDate", one("2022.08.22", "DA"), STARTED, "2022-08-22T08:31:00Z", ""),
    ("DA of zeros", "StudyDate", one("00000000", "DA"), STARTED, None, "not-a-date"),
    ("DA of a year", "StudyDate", one("2022", "DA"), STARTED, None, "not-a-date"),
    ("DA of a year of birth", "PatientBirthDate", one("1977", "DA"), "Patient.birthDate", "1977", ""),
    ("DA of an impossible date", "StudyDate", one("20220230", "DA"), STARTED, None, "not-a-date"),
    ("DA of the first day", "StudyDate", one("00010101", "DA"), STARTED, None, "implausible"),
    ("DA of the last day", "StudyDate", one("99991231", "DA"), STARTED, None, "implausible"),
    ("DA as a number", "StudyDate", one(20220822, "DA"), STARTED, "2022-08-22T08:31:00Z", ""),
    ("DA null", "StudyDate", one(None, "DA"), STARTED, None, ""),
    # TM, on 2022-08-22 at +00:00
    ("TM without seconds", "StudyTime", one("0831", "TM"), STARTED, "2022-08-22T08:31:00Z", ""),
    ("TM of a leap second", "StudyTime", one("235960", "TM"), STARTED, "2022-08-22T23:59:59Z", ""),
    ("TM with colons (ACR-NEMA)", "StudyTime", one("08:31:17", "TM"), STARTED, "2022-08-22T08:31:17Z", ""),
    ("TM of hours", "StudyTime", one("08", "TM"), STARTED, "2022-08-22", ""),
    ("TM behind midnight", "StudyTime", one("240000", "TM"), STARTED, "2022-08-22", "not-a-time"),
    ("TM of letters", "StudyTime", one("abc", "TM"), STARTED, "2022-08-22", "not-a-time"),
    ("offset with a name", "TimezoneOffsetFromUTC", one("UTC-04:00"), STARTED, "2022-08-22", "not-an-offset"),
    ("offset too large", "TimezoneOffsetFromUTC", one("+1430"), STARTED, "2022-08-22", "not-an-offset"),
    # IS
    ("IS as text", "SeriesNumber", one("3", "IS"), NUMBER, 3, ""),
    ("IS as a number", "SeriesNumber", one(3, "IS"), NUMBER, 3, ""),
    ("IS as a whole float", "SeriesNumber", one(3.0, "IS"), NUMBER, 3, ""),
    ("IS with blanks", "SeriesNumber", one(" 3 ", "IS"), NUMBER, 3, ""),
    ("IS as a fraction", "SeriesNumber", one(3.7, "IS"), NUMBER, None, "not-an-integer"),
    ("IS as text of a fraction", "SeriesNumber", one("3.7", "IS"), NUMBER, None, "not-an-integer"),
    ("IS of letters", "SeriesNumber", one("abc", "IS"), NUMBER, None, "not-an-integer"),
    ("IS of digits and letters", "SeriesNumber", one("1A", "IS"), NUMBER, None, "not-an-integer"),
    ("IS with commas", "SeriesNumber", one("1.06,0.206", "IS"), NUMBER, None, "not-an-integer"),
    ("IS empty", "SeriesNumber", one("", "IS"), NUMBER, None, ""),
    ("IS beyond 32 bits", "SeriesNumber", one(2**40, "IS"), NUMBER, None, "out-of-range"),
    ("IS below zero", "SeriesNumber", one("-1", "IS"), NUMBER, None, "out-of-range"),
    ("IS NaN", "SeriesNumber", one(float("nan"), "IS"), NUMBER, None, "not-text"),
    ("IS infinite", "SeriesNumber", one(float("inf"), "IS"), NUMBER, None, "not-text"),
    ("IS true", "SeriesNumber", one(True, "IS"), NUMBER, None, "not-text"),
    # The value representation
    ("UI as LO", "SOPClassUID", one("1.2.3"), SOP_CLASS,
     {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.3"}, ""),
    ("PN as LO text", "PatientName", one("Doe^Jane"), PERSON, JANE, ""),
    ("unknown VR", "StudyDescription", one("CT", "XX"), DESCRIPTION, "CT", ""),
    ("VR in lower case", "StudyDescription", one("CT", "lo"), DESCRIPTION, "CT", ""),
    ("no VR", "StudyDescription", {"Value": ["CT"]}, DESCRIPTION, "CT", ""),
    # The element
    ("element null", "StudyDescription", None, DESCRIPTION, None, ""),
    ("element of text", "StudyDescription", "CT", DESCRIPTION, None, "not-an-element"),
    ("element a list", "StudyDescription", ["CT"], DESCRIPTION, None, "not-an-element"),
    ("Value null", "StudyDescription", {"vr": "LO", "Value": None}, DESCRIPTION, None, ""),
    ("Value no list", "StudyDescription", {"vr": "LO", "Value": "CT"}, DESCRIPTION, "CT", "value-not-a-list"),
    ("no Value", "StudyDescription", {"vr": "LO"}, DESCRIPTION, None, ""),
    ("Value empty", "StudyDescription", {"vr": "LO", "Value": []}, DESCRIPTION, None, ""),
    ("Value of null", "StudyDescription", one(None), DESCRIPTION, None, ""),
    ("Value of an empty text", "StudyDescription", one(""), DESCRIPTION, None, ""),
    ("Value of an object", "StudyDescription", one({}), DESCRIPTION, None, "not-text"),
    # Text
    ("LO as a number", "PatientID", one(123), "Patient.identifier", "123", ""),
    ("several values where one may be", "StudyDescription", {"vr": "LO", "Value": ["a", "b"]}, DESCRIPTION, "a\\b",
     "backslash"),
    ("half of a PatientID is another patient's", "PatientID", {"vr": "LO", "Value": ["P", "1"]}, "Patient.identifier",
     "P\\1", "backslash"),
    ("a backslash where several values may be", "NameOfPhysiciansReadingStudy", one("Doe^Jane\\Roe^Rick", "PN"),
     "ImagingStudy.interpreter",
     [{"type": "Practitioner", "display": "Jane Doe"}, {"type": "Practitioner", "display": "Rick Roe"}], "backslash"),
    ("a backslash where one value may be", "StudyDescription", one("a\\b"), DESCRIPTION, "a\\b", "backslash"),
    ("a backslash in what identifies", "PatientID", one("a\\b"), "Patient.identifier", "a\\b", "backslash"),
    ("a backslash where it may be", "DocumentTitle", one("a\\b", "ST"), TITLE, "a\\b", ""),
    ("LO of more than 64 characters", "StudyDescription", one("x" * 70), DESCRIPTION, "x" * 70, ""),
    ("CS in lower case", "Modality", one("ct", "CS"), "ImagingStudy.series.modality", CT, ""),
    ("CS unknown", "PatientSex", one("X", "CS"), "Patient.gender", None, "unknown-code"),
    ("control characters", "StudyDescription", one("C\x00T\x1b"), DESCRIPTION, "CT", "damaged-text"),
    ("half of a surrogate pair", "StudyDescription", one("C\ud83dT"), DESCRIPTION, "CT", "damaged-text"),
    ("a character that was lost before", "StudyDescription", one("C\ufffdT"), DESCRIPTION, "CT", "damaged-text"),
    ("nothing but what was lost", "StudyDescription", one("\ufffd"), DESCRIPTION, None, "damaged-text"),
    ("padding", "StudyDescription", one("\0 CT \0"), DESCRIPTION, "CT", ""),
    ("a character that was lost in a name", "PatientName", one("Doe^\ufffdJane", "PN"), PERSON, JANE, "damaged-text"),
    ("padding of what identifies", "PatientID", one(" 123\0"), "Patient.identifier", "123", ""),
    ("a character that was lost in what identifies", "PatientID", one("12\ufffd3"), "Patient.identifier",
     "urn:oid:1.2", "damaged-text"),
    ("a control character in what identifies", "PatientID", one("123\x1b"), "Patient.identifier", "urn:oid:1.2",
     "damaged-text"),
    ("a NUL in what identifies", "PatientID", one("12\x003"), "Patient.identifier", "urn:oid:1.2", "damaged-text"),
    ("LO that is no number", "StudyDescription", one(float("nan")), DESCRIPTION, None, "not-text"),
    ("another request's number", "AccessionNumber", one("A\ufffd1"), "ImagingStudy.basedOn", None, "damaged-text"),
    ("another character set", "SpecificCharacterSet", one("GB18030", "CS"), DESCRIPTION, "CT", ""),
    # UI
    ("UI empty", "SOPClassUID", one("", "UI"), SOP_CLASS, UNKNOWN, "missing"),
    ("UI null", "SOPClassUID", one(None, "UI"), SOP_CLASS, UNKNOWN, "missing"),
    ("UI padded with NUL", "SOPClassUID", one("1.2.3\x00", "UI"), SOP_CLASS,
     {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.3"}, ""),
    ("UI with leading zeros", "SOPClassUID", one("1.02", "UI"), SOP_CLASS,
     {"display": "1.02"}, "not-a-uid"),
    ("UI of more than 64 characters", "SOPClassUID", one("1." + "2" * 70, "UI"), SOP_CLASS,
     {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1." + "2" * 70}, ""),
    ("UI of which a digit was lost", "SOPClassUID", one("1.2\ufffd.3", "UI"), SOP_CLASS, UNKNOWN, "damaged-text"),
    ("UI that is none", "SOPClassUID", one("hello", "UI"), SOP_CLASS,
     {"display": "hello"}, "not-a-uid"),
    # PN
    ("PN", "PatientName", one({"Alphabetic": "Doe^Jane"}, "PN"), PERSON, JANE, ""),
    ("PN as text", "PatientName", one("Doe^Jane", "PN"), PERSON, JANE, ""),
    ("PN an empty object", "PatientName", one({}, "PN"), PERSON, None, ""),
    ("PN null", "PatientName", one(None, "PN"), PERSON, None, ""),
    ("PN an empty text", "PatientName", one("", "PN"), PERSON, None, ""),
    ("PN a list", "PatientName", one(["Doe^Jane"], "PN"), PERSON, None, "not-a-person-name"),
    ("PN Alphabetic null", "PatientName", one({"Alphabetic": None}, "PN"), PERSON, None, ""),
    ("PN ideographic", "PatientName", one({"Ideographic": "山田^太郎"}, "PN"), PERSON, [IDEOGRAPHIC | YAMADA], ""),
    ("PN text of one group behind =", "PatientName", one("=山田^太郎", "PN"), PERSON, [IDEOGRAPHIC | YAMADA], ""),
    ("PN text of several values", "PatientName", one("Doe^Jane\\Roe^Rick", "PN"), PERSON, JANE, "backslash"),
    # By reference
    ("BulkDataURI on LO", "StudyDescription", {"vr": "LO", "BulkDataURI": "https://dicom.example/1"}, DESCRIPTION, None,
     "bulk-data"),
    ("InlineBinary on LO", "StudyDescription", {"vr": "LO", "InlineBinary": "!"}, DESCRIPTION, None, "bulk-data"),
    # SQ
    ("SQ item", "ProcedureCodeSequence", one(CODE, "SQ"), PROCEDURE, CONCEPT, ""),
    ("SQ item of text", "ProcedureCodeSequence", one("1-8", "SQ"), PROCEDURE, None, "not-an-item"),
    ("SQ item with an odd element", "ProcedureCodeSequence", one({**CODE, "00080104": "a"}, "SQ"), PROCEDURE,
     [{"coding": [{"system": "http://loinc.org", "code": "1-8"}]}], ""),
    ("SQ empty item", "ProcedureCodeSequence", one({}, "SQ"), PROCEDURE, None, ""),
    ("SQ no list", "ProcedureCodeSequence", {"vr": "SQ", "Value": CODE}, PROCEDURE, CONCEPT, "value-not-a-list"),
]  # fmt: skip

# What the row is about stands in a study like this.
USUAL = {
    tag("StudyDate"): one("20220822", "DA"),
    tag("TimezoneOffsetFromUTC"): one("+0000", "SH"),
    tag("StudyTime"): one("0831", "TM"),
    tag("Modality"): one("CT", "CS"),
}


@pytest.mark.parametrize(
    ("keyword", "element", "where", "expected", "rule"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_bad_input(keyword: str, element: Any, where: str, expected: Any, rule: str) -> None:
    """The value that is expected, and the one issue that is told of the attribute, or none."""
    metadata = {**USUAL, tag(keyword): element}
    if keyword == "SpecificCharacterSet":
        metadata[tag("StudyDescription")] = one("CT")
    dataset = Dataset(metadata)
    found = ROWS[where].elements(Facts(dataset, RULES, "1.2")).get(where.rpartition(".")[2])
    assert (found[0]["value"] if where == "Patient.identifier" else found) == expected
    told = [issue for issue in dataset.issues if issue.tag == tag(keyword)]
    assert told == ([Issue(tag(keyword), rule, Severity.WARNING)] if rule else [])


@pytest.mark.parametrize("element", [one("abc", "DS"), one("1,5", "DS"), one("", "US"), one("", "FD"), one(5, "AT"), 7])
def test_what_is_not_mapped_is_not_read(element: Any) -> None:
    """Garbage in an attribute that no element is made of costs nothing: it is dropped unread."""
    slice_thickness = "00180050"
    assert select({tag("StudyInstanceUID"): one("1.2", "UI"), slice_thickness: element}) == {
        tag("StudyInstanceUID"): one("1.2", "UI")
    }


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("0020000d", True),
        ("StudyInstanceUID", True),
        ("020000D", False),
        ("0020000D0", False),
        ("studyinstanceuid", False),
    ],
)
def test_tags_as_they_are_written(key: str, known: bool) -> None:
    """A tag in lower case, or a keyword, is understood; seven digits are not taken for another tag."""
    assert (tag("StudyInstanceUID") in select({key: one("1.2", "UI")})) is known


def test_tags_in_items_as_they_are_written() -> None:
    """Who writes tags in lower case, or keywords, does so in the items of sequences too; a name is no item."""
    identification = {"CodingSchemeDesignator": one("99ACME"), "0008010c": one("2.25.9", "UI")}
    procedure = {"CodeValue": one("1"), "codingschemedesignator": one("?"), "00080102": one("99ACME")}
    selected = select(
        {
            "0020000d": one("1.2", "UI"),
            "ProcedureCodeSequence": one(procedure, "SQ"),
            "00080110": one(identification, "SQ"),
            "00100010": one({"Alphabetic": "Doe^Jane"}, "PN"),
        }
    )
    elements = ROWS[PROCEDURE].elements(Facts(Dataset(selected), RULES, "1.2"))
    assert elements["procedureCode"] == [{"coding": [{"system": "urn:oid:2.25.9", "code": "1"}]}]
    assert ROWS[PERSON].elements(Facts(Dataset(selected), RULES, "1.2"))["name"] == JANE


def test_depth_does_not_matter() -> None:
    """JSON that is as deep as a parser takes it is read like any other."""
    deep: Any = "end"
    for _ in range(sys.getrecursionlimit() * 2):
        deep = {"00081032": {"vr": "SQ", "Value": [deep]}}
    assert set(select({"0020000d": one("1.2", "UI"), **deep})) == {"0020000D", "00081032"}


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("element", [None, {}, one(None, "UI"), one("\x00", "UI"), one({}, "UI"), "1.2"])
def test_the_three_uids_are_the_least(keyword: str, element: Any) -> None:
    """Without one of the three UIDs there is no instance; with them alone there is (golden file three-uids)."""
    uids = {tag(f"{level}InstanceUID"): one("1.2", "UI") for level in ("Study", "Series", "SOP")}
    assert instance_of(uids)[0] == "1.2"
    with pytest.raises(Rejected, match="no StudyInstanceUID, SeriesInstanceUID or SOPInstanceUID"):
        instance_of({**uids, tag(keyword): element})
