"""What in a study is ours is told by what it says: marks of others on it change nothing, and what they add stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.mapping.rules import Rules
from dicomcast.merge import Links, draft, merge_study
from dicomcast.model import Extra, Instance, InstanceKey, StudyDelta, StudyKey
from dicomcast.versions import R5
from tests.metadata import CT, code, metadata

SOURCE = "https://dicom.example"
KEY = StudyKey(SOURCE, "", "1.2")
SITE = "https://hospital.example/accession"
RULES = Rules(
    "urn:oid:2.25.1", accession_system=SITE, issuers={"NORTH": "https://north.example"}, extras=frozenset(Extra)
)
SUBJECT = {"reference": "Patient/p", "type": "Patient", "identifier": {"system": "urn:oid:2.25.1", "value": "P1"}}
NOTE = {"url": "https://ris.example/note", "valueString": "seen"}


def merged(existing: Any, subject: Any = SUBJECT, **attributes: Any) -> dict[str, Any]:
    """The study of one image with these attributes."""
    told = metadata(**{"SOPClassUID": CT, "Modality": "CT", **attributes})
    key = InstanceKey("1.2.1", "1.2.1.1")
    content = draft(existing, StudyDelta(KEY, {key: Instance(key, told)}, snapshot=True), RULES, "Endpoint/e")
    return merge_study(existing, content, KEY, RULES, Links(subject, "Endpoint/e", f"{SOURCE}/v2"), "own")


FULL = {
    "StudyID": "7",
    "AdmissionID": "V1",
    "AccessionNumber": "A1",
    "StudyDescription": "Thorax",
    "ReferringPhysicianName": "Doe^Jane",
    "ReasonForTheRequestedProcedure": "cough",
    "ProcedureCodeSequence": [code("1-8", "LN", "Chest")],
    "BodyPartExamined": "CHEST",
    "OperatorsName": ["Roe^Rick", "Roe^Ann"],
    "DeviceSerialNumber": "9",
    "NumberOfFrames": 3,
}
ISO = [metadata(UniversalEntityID="1.2.36", UniversalEntityIDType="ISO")]
CHANGES: list[dict[str, Any]] = [
    {"StudyID": "8", "AdmissionID": "V2"},
    {"AccessionNumber": "A2"},
    {"AccessionNumber": "A2", "IssuerOfAccessionNumberSequence": [metadata(LocalNamespaceEntityID="NORTH")]},
    {"AccessionNumber": "A2", "IssuerOfAccessionNumberSequence": ISO},
    {"AccessionNumber": [], "AdmissionID": []},
    {"ReferringPhysicianName": "Roe^Rick", "OperatorsName": "Roe^Ann", "StudyDescription": "Abdomen"},
    {"NumberOfFrames": 4, "DeviceSerialNumber": "8", "BodyPartExamined": "ABDOMEN"},
]


def objects_in(node: Any) -> list[dict[str, Any]]:
    """All objects below one, not itself."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    found = []
    for one in inner:
        found += [one, *objects_in(one)] if isinstance(one, dict) else objects_in(one)
    return found


def bare(node: Any) -> Any:
    """Without what the test puts on."""
    if isinstance(node, list):
        return [bare(one) for one in node if one != NOTE]
    if not isinstance(node, dict):
        return node
    return {name: bare(value) for name, value in node.items() if name != "_mark" and value not in ("mark", [NOTE])}


@given(data=st.data(), before=st.sampled_from([{}, *CHANGES]), change=st.sampled_from(CHANGES))
def test_marks_anywhere_change_nothing(data: st.DataObject, before: Any, change: Any) -> None:
    """Ids, extensions and `_` siblings on any element stay with what it says, and new values replace it just once."""
    study = merged(None, **FULL | before)
    places = range(len(objects_in(study)))
    marked = json.loads(json.dumps(study))  # no object stands in two places
    elements = objects_in(marked)
    for place in data.draw(st.sets(st.sampled_from(places), max_size=len(places))):
        element = elements[place]
        if "url" not in element:
            element |= data.draw(st.sampled_from([{"id": "mark"}, {"_mark": {"id": "mark"}}]))
            element["extension"] = [*element.get("extension", []), NOTE]
    assert merged(marked, **FULL | before) == marked
    after = merged(marked, **FULL | change)
    assert bare(after) == merged(None, **FULL | change)
    assert merged(after, **FULL | change) == after


@given(steps=st.lists(st.sampled_from([{}, *CHANGES]), max_size=4))
def test_accession_is_replaced_in_any_order(steps: Any) -> None:
    """Whatever was cast before, with whatever issuer, what stands is what was cast last."""
    study = None
    for step in steps:
        study = merged(study, **FULL | step)
    assert merged(study, **FULL) == merged(None, **FULL)


ACSN = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}


@pytest.mark.parametrize(
    "theirs",
    [
        {"type": ACSN, "system": "https://ris.example/accession", "value": "R7"},
        {"type": {"coding": [{**ACSN["coding"][0], "display": "Accession ID"}]}, "system": "https://ris", "value": "R"},
        {"type": ACSN, "system": "urn:oid:1.2.999", "value": "R7"},
        {"type": ACSN, "system": SITE, "value": "R7", "use": "usual"},
        {"type": {"text": "Study ID"}, "system": "https://ris.example", "value": "7"},
    ],
)
def test_what_a_ris_adds_to_our_study_stays(theirs: dict[str, Any]) -> None:
    """An accession number with a system of the RIS' own stays beside ours, in a study that we created too."""
    study = merged(None, **FULL)
    study["identifier"].append(theirs)
    study["basedOn"].append({"type": "ServiceRequest", "identifier": theirs})
    assert merged(study, **FULL) == study
    after = merged(study, **FULL | {"AccessionNumber": "A2"})
    assert theirs in after["identifier"]
    assert [one["identifier"]["value"] for one in after["basedOn"]] == ["A2", theirs["value"]]


def test_subject_with_marks() -> None:
    """What others put on the subject stays while it is the same Patient, whose identifier may change."""
    theirs = {**SUBJECT, "display": "Doe", "identifier": {**SUBJECT["identifier"], "extension": [NOTE], "id": "i"}}
    study = merged(None) | {"subject": theirs}
    assert merged(study) == study
    changed = merged(study, subject={**SUBJECT, "identifier": {"system": "urn:oid:2.25.1", "value": "P2"}})
    assert changed["subject"] == {**theirs, "identifier": {**theirs["identifier"], "value": "P2"}}
    assert merged(study, subject={"reference": "Patient/q"})["subject"] == {"reference": "Patient/q"}


def test_accession_with_marks_in_r5() -> None:
    """In R5 an accession number stands in `basedOn` alone, also where others put something on it."""
    written = R5.write(merged(None, **FULL))
    written["basedOn"][0]["identifier"] |= {"id": "i", "extension": [NOTE]}
    again = merged(R5.read(written), **FULL)
    assert R5.write(again) == written
