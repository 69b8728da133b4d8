"""Orthanc's tags to DICOM JSON: what it writes of a dataset maps to the same FHIR as what DICOMweb says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.dicom.files import instance_of
from dicomcast.dicom.orthanc_tags import dicom_json
from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.table import MAPPED, select
from dicomcast.offline import bundle_of
from tests.golden_files import CASES, mapped
from tests.orthanc_double import tags

# As Orthanc 1.10.1 wrote them.
WRITTEN: dict[str, tuple[dict[str, Any], list[Any] | None]] = {
    "0010,0010": (
        {"Type": "String", "Value": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
        [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}],
    ),
    "0010,1001": ({"Type": "String", "Value": "A^B\\C^D"}, [{"Alphabetic": "A^B"}, {"Alphabetic": "C^D"}]),
    "0010,1000": ({"Type": "String", "Value": "7\\\\9"}, ["7", None, "9"]),
    "0008,0008": ({"Type": "String", "Value": "ORIGINAL\\\\AXIAL"}, ["ORIGINAL", None, "AXIAL"]),
    "0008,0050": ({"Type": "String", "Value": ""}, None),
    "0010,4000": ({"Type": "String", "Value": "a\\b"}, ["a\\b"]),
    "0008,1032": (
        {"Type": "Sequence", "Value": [{"0008,0100": {"Type": "String", "Value": "1"}}, {}]},
        [{"00080100": {"Value": ["1"]}}, {}],
    ),
    "0010,0020": ({"Type": "Null", "Value": None}, None),
    "0020,000d": ({"Name": "StudyInstanceUID", "Type": "String", "Value": "1.2"}, ["1.2"]),
}

NAMELESS = ["", "x", "0020000d", "PatientID", "0020,000", "0020,000g", "0020,000d ", "00２0,000d", "+020,000d"]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_tag(name: str) -> None:
    """Names and their groups, several values and none between them, text with backslashes, sequences, nothing."""
    told, values = WRITTEN[name]
    element = dicom_json({name: told})[name.replace(",", "").upper()]
    assert element == ({} if values is None else {"Value": values})


@pytest.mark.parametrize("name", ["=山田^太郎", "==やまだ^たろう"])
def test_a_name_without_its_first_groups(name: str) -> None:
    """A group that is empty is none, and the others keep their place."""
    (value,) = dicom_json({"0010,0010": {"Type": "String", "Value": name}})["00100010"]["Value"]
    assert list(value) == ["Ideographic" if name.count("=") == 1 else "Phonetic"]


@pytest.mark.parametrize("kind", ["TooLong", "Binary"])
def test_what_is_not_told_is_there_all_the_same(kind: str) -> None:
    """As where DICOMweb has a BulkDataURI: the element is not empty, and has no value."""
    element = dicom_json({"0010,4000": {"Type": kind, "Value": None}})["00104000"]
    assert "Value" not in element and "BulkDataURI" in element


def test_what_is_no_tag_is_left_out() -> None:
    """And takes nothing with it."""
    odd = [None, 7, "x", [], {}, {"Type": "String"}, {"Type": "String", "Value": 7}, {"Type": 7, "Value": "x"},
           {"Type": "Sequence", "Value": "x"}]  # fmt: skip
    told: dict[str, Any] = {f"0010,{number:04d}": one for number, one in enumerate(odd, 4000)}
    told |= {"0020,000d": {"Type": "String", "Value": "1.2"}, **dict.fromkeys(NAMELESS, WRITTEN["0020,000d"][0])}
    told |= {"0040,0275": {"Type": "Sequence", "Value": [None, 7, {"0040,0007": {"Type": "String", "Value": "y"}}]}}
    assert dicom_json(told) == {
        "0020000D": {"Value": ["1.2"]},
        "00400275": {"Value": [{"00400007": {"Value": ["y"]}}]},
    }


def test_what_nests_without_end() -> None:
    """It comes to one all the same."""
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"0008,1032": {"Type": "Sequence", "Value": [deep]}}
    assert json.dumps(dicom_json(deep))


_names = st.sampled_from([f"{tag[:4]},{tag[4:].lower()}" for tag in sorted(MAPPED)] + NAMELESS)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=12,
)
_kinds = st.sampled_from(["String", "Sequence", "TooLong", "Binary", "Null", "", None])
_elements = st.fixed_dictionaries({"Type": _kinds, "Value": _values}) | _values


@given(st.dictionaries(_names, _elements, max_size=6))
def test_law_6_anything_gives_a_dataset(junk: dict[str, Any]) -> None:
    """Whatever stands there, nothing is raised, and the mapping takes what comes out."""
    told = dicom_json(junk)
    assert isinstance(told, dict)
    held = {"0020000D": {"Value": ["1.2"]}, "0020000E": {"Value": ["1.2.1"]}, "00080018": {"Value": ["1.2.1.1"]}}
    mapped = select(told | held)
    bundle_of([("1.2", instance_of(mapped)[1])], Rules("urn:oid:2.25.1"))
    assert Dataset(mapped).text("0020000D") == "1.2"


@pytest.mark.parametrize("name", [name for name in CASES if name != "garbage"])
def test_both_ways_of_reading_map_to_the_same(name: str) -> None:
    """Each of tests/golden, by DICOMweb and by the tags of Orthanc's own API: the same Bundle, and the same issues."""
    case = CASES[name]
    by_tags = {**case, "metadata": [dicom_json(tags(metadata)) for metadata in case["metadata"]]}
    assert {**mapped(by_tags), "metadata": case["metadata"]} == mapped(case)
