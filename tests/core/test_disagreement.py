"""What does not agree: the instances of a study among each other, and a study with the Patient that stands in FHIR."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from pydicom.datadict import dictionary_VR

from dicomcast.mapping.disagreement import contradictions, mismatches
from dicomcast.mapping.tags import tag
from tests.metadata import metadata

DOE = {"Alphabetic": "Doe^Jane"}
# About each attribute: what differs, and what only says the same otherwise, or less, or nothing that can be understood.
TOLD: list[tuple[str, Any, Any, list[Any]]] = [
    ("StudyDate", "20240312", "20240313", ["2024.03.12", " 20240312", "yesterday", [], [None]]),
    ("StudyTime", "083100.25", "0832", ["0831", "08:31:00", "08", "083100.9", []]),
    ("AccessionNumber", "A-1", "A-2", ["A-1 ", "\x00A-1", [], [None, "A-1"]]),
    ("StudyDescription", "CT Thorax", "CT thorax", ["CT Thorax ", []]),
    ("ReferringPhysicianName", DOE, "Roe^Jane", [{"Alphabetic": "DOE^JANE"}, "Doe", {"Ideographic": "土井"}, {}, [[]]]),
    ("PatientName", DOE, "Doe^Janet", ["doe^jane^^Dr", {"Alphabetic": "Doe^Jane", "Phonetic": "どい"}, "=土井"]),
    ("PatientID", "P1", "p1", ["P1 ", []]),
    ("PatientBirthDate", "19700102", "19700103", ["1970", "197001", "00000000", []]),
    ("PatientSex", "F", "M", ["f", "F ", []]),
]


def disagree(*instances: dict[str, Any]) -> list[str]:
    """The tags of the issues, which are the same in any order."""
    found = []
    for order in permutations(instances):
        issues = list(contradictions(order, order))
        assert all(issue.rule == "contradiction" for issue in issues)
        found.append(sorted(issue.tag for issue in issues))
    assert all(one == found[0] for one in found)
    return found[0]


@pytest.mark.parametrize(("keyword", "one", "other", "same"), TOLD, ids=[told[0] for told in TOLD])
def test_contradictions(keyword: str, one: Any, other: Any, same: list[Any]) -> None:
    """Another value is told, once; another spelling, less of it, or nothing is not."""
    first = metadata(**{keyword: one})
    assert disagree(first, metadata(**{keyword: other}), first) == [tag(keyword)]
    for spelt in same:
        assert disagree(first, metadata(**{keyword: spelt}), {}) == []


def test_one_contradiction_between_many_that_agree() -> None:
    """It is found in the last of thousands, between many spellings of the same."""
    many = [metadata(PatientID="P1" + " " * (number % 9)) for number in range(2000)]
    assert list(contradictions(many, [])) == []
    assert [one.tag for one in contradictions([*many, metadata(PatientID="P2")], [])] == [tag("PatientID")]


def test_within_a_series_whose_study_it_is() -> None:
    """All instances are asked for patient and order; for the rest, those that speak for a series."""
    one = metadata(PatientID="P1", PatientName=DOE, AccessionNumber="A1", StudyDescription="a", StudyDate="20240312")
    other = metadata(PatientID="P2", PatientName="R", AccessionNumber="A2", StudyDescription="b", StudyDate="20240313")
    whose = {tag("PatientID"), tag("PatientName"), tag("AccessionNumber")}
    assert {issue.tag for issue in contradictions([one, other], [one])} == whose
    assert {issue.tag for issue in contradictions([one, other], [one, other])} > whose


@pytest.mark.parametrize("element", [None, [], "text", {}, {"Value": 7}, {"Value": {"a": "b"}}, {"BulkDataURI": "x"}])
@pytest.mark.parametrize("keyword", [told[0] for told in TOLD])
def test_what_is_no_value_contradicts_nothing(keyword: str, element: Any) -> None:
    """Whatever stands there, of any shape and beside a good value."""
    good = {tag(keyword): {"vr": dictionary_VR(keyword), "Value": [{"Alphabetic": "7"} if "Name" in keyword else "7"]}}
    assert disagree({tag(keyword): element}, good) == []


def test_nested_without_end() -> None:
    """What is nested deeper than Python compares is no value either."""
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    twice = [{tag("PatientID"): {"Value": [deep]}}, {tag("PatientID"): {"Value": [[deep]]}}]
    assert list(contradictions(twice, twice)) == []


def person(*families: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "name": [{"family": family} for family in families], **more}


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (person(birthDate="1970-01-02"), person(birthDate="1970-01-03"), ["PatientBirthDate"]),
        (person(birthDate="1970-01-02"), person(birthDate="1970-01"), []),
        (person(birthDate="1970-01-02"), person(), []),
        (person(gender="female"), person(gender="male"), ["PatientSex"]),
        (person(gender="female"), person(gender="unknown"), []),
        (person(gender="female"), person(), []),
        (person("Doe"), person("Roe"), ["PatientName"]),
        (person("Müller-Doe"), person("MULLER DOE"), []),
        (person("Doe"), person("Roe", "Doe"), []),
        (person("Doe"), person(), []),
        (person("Yamada", "山田"), person("山田"), []),
        (person("Yamada", "山田"), person("Yamada", "川田"), []),
        (person("Yamada"), person("山田"), []),
        (person("山田"), person("川田"), ["PatientName"]),
        (
            person("Doe", gender="female", birthDate="1970"),
            person("Roe", gender="other", birthDate="1971-02-03"),
            ["PatientBirthDate", "PatientSex", "PatientName"],
        ),
        (
            person("Doe", gender="female", birthDate="1970"),
            {"name": {"family": "Roe"}, "gender": [], "birthDate": 7},
            [],
        ),
        (person("Doe"), {"name": ["Roe", {"family": ["Roe"]}, {"text": "Roe"}]}, []),
    ],
)
def test_mismatches(ours: dict[str, Any], theirs: dict[str, Any], told: list[str]) -> None:
    """Birth date, sex and family name, each where both tell it, in a script that both are written in."""
    issues = list(mismatches(ours, theirs))
    assert [(issue.tag, issue.rule) for issue in issues] == [(tag(one), "patient-mismatch") for one in told]
