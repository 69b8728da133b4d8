"""Files of DICOM and DICOM JSON as metadata: what is wrong in them costs itself alone, and is told."""

from __future__ import annotations

import json
from typing import Any

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicomcast.dicom import files
from dicomcast.errors import Rejected
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.tags import tag
from dicomcast.offline import bundle_of
from tests.made_files import made
from tests.metadata import CT, metadata

RULES = Rules("urn:oid:2.25.1")


def raw(dataset: pydicom.Dataset, keyword: str, vr: str, value: bytes) -> None:
    """Put bytes into a dataset that pydicom would not write."""
    number = Tag(keyword)
    dataset._dict[number] = RawDataElement(number, vr, len(value), value, 0, False, True)


def mapped(content: bytes) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """The study of a file, and the issues as (tag, rule)."""
    found = [one for one in files.instances(content) if not isinstance(one, Rejected)]
    bundle, issues = bundle_of(found, RULES)
    (study,) = [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "ImagingStudy"]
    return study, {(one.tag, one.rule) for found in issues.values() for one in found}


@pytest.mark.parametrize(
    ("value", "rule"), [(b"1A", "not-an-integer"), (b"3.7 ", "not-an-integer"), (b"1\\2", "backslash")]
)
def test_a_value_that_is_none_of_its_vr(value: bytes, rule: str) -> None:
    """It is told, as it is of DICOM JSON, and not just missing."""
    study, issues = mapped(made(lambda dataset: raw(dataset, "SeriesNumber", "IS", value)))
    assert "number" not in study["series"][0]
    assert (tag("SeriesNumber"), rule) in issues


def test_a_wrong_value_in_a_sequence() -> None:
    """It does not cost the sequence that it is in."""
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1-8", "LN", "Chest"
    raw(item, "SelectorISValue", "IS", b"1A")
    study, _ = mapped(made(lambda dataset: setattr(dataset, "ProcedureCodeSequence", [item])))
    assert [one["text"] for one in study["procedureCode"]] == ["Chest"]


def test_a_character_that_its_set_does_not_have() -> None:
    """Text in another character set than its file states is not lost."""

    def spoil(dataset: pydicom.Dataset) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        raw(dataset, "StudyDescription", "LO", b"Sch\xe4del ")

    study, issues = mapped(made(spoil))
    assert (study["description"], issues) == ("Schädel", set())


def dicom_json(study: str, **attributes: Any) -> dict[str, Any]:
    """One image of a study."""
    return metadata(
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.1.1",
        SOPClassUID=CT,
        PatientID="P1",
        **attributes,
    )


@pytest.mark.parametrize("bad", [{}, 7, None, metadata(PatientID="P1")])
def test_an_array_with_one_that_is_no_dataset(bad: Any) -> None:
    """It is named by its place, and the others are mapped."""
    content = json.dumps([dicom_json("1.2"), bad, dicom_json("1.3")]).encode()
    first, second, third = files.instances(content)
    assert [one[0] for one in (first, third) if not isinstance(one, Rejected)] == ["1.2", "1.3"]
    assert str(second).startswith("dataset 2: this dataset has no StudyInstanceUID")


def test_json_with_a_byte_order_mark() -> None:
    """Editors write one."""
    study, _ = mapped(b"\xef\xbb\xbf" + json.dumps(dicom_json("1.2")).encode())
    assert study["identifier"][0]["value"] == "urn:oid:1.2"


def test_a_patient_follows_the_newest_study() -> None:
    """As on a server: by date and time, then by UID, in whatever order they come and are called."""
    told = [
        dicom_json("1.3", StudyDate="20190101", PatientName="Older"),
        dicom_json("1.1", StudyDate="20240101", PatientName="Newest"),
        dicom_json("1.2", StudyDate="20200101", PatientName="Old"),
    ]
    for order in (told, told[::-1]):
        bundle, _ = bundle_of(map(files.instance_of, order), RULES, archive="https://dicom.example")
        (patient,) = [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Patient"]
        assert patient["name"][0]["text"] == "Newest"
        assert patient["meta"]["source"].endswith("StudyInstanceUID=1.1&started=2024-01-01")
