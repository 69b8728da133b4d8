"""What DICOM Cast wrote is ours: it is corrected where it stands, once, and nothing is there twice."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dicomcast.mapping.rules import Rules
from dicomcast.merge import Links, draft, merge_study
from dicomcast.model import Instance, InstanceKey, StudyDelta, StudyKey
from tests.judge import problems
from tests.metadata import CT, metadata

KEY = StudyKey("https://dicom.example", "", "1.2")
LINKS = Links({"reference": "Patient/1"}, "Endpoint/1", KEY.source)
ACSN = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}

# As it stands after two instances: bare SOP classes, "DCM" for a system, no system for the accession numbers, each
# description that ever came as a note, local time as UTC, and no counts.
WRITTEN: dict[str, Any] = {
    "resourceType": "ImagingStudy",
    "id": "server-assigned",
    "meta": {"versionId": "3", "source": KEY.source},
    "identifier": [
        {"system": "urn:dicom:uid", "value": "urn:oid:1.2"},
        {"type": ACSN, "value": "A1"},
        {"type": ACSN, "value": "A2"},
    ],
    "status": "available",
    "modality": [{"system": "DCM", "code": "CT"}],
    "subject": {"reference": "Patient/1"},
    "started": "2024-07-15T08:31:17+00:00",
    "endpoint": [{"reference": "Endpoint/1"}],
    "note": [{"text": "CT"}, {"text": "CT chest"}],
    "series": [
        {
            "uid": "1.2.1",
            "number": 1,
            "modality": {"system": "DCM", "code": "CT"},
            "started": "2024-07-15T08:31:17+00:00",
            "instance": [
                {"uid": "1.2.1.1", "sopClass": {"code": CT}, "number": 1},
                {"uid": "1.2.1.2", "sopClass": {"code": CT}, "number": 2},
            ],
        }
    ],
}


def _archive() -> dict[InstanceKey, Instance]:
    told = {
        "SOPClassUID": CT,
        "Modality": "CT",
        "SeriesNumber": 1,
        "StudyDate": "20240715",
        "StudyTime": "083117",
        "AccessionNumber": "A2",
        "StudyDescription": "CT chest",
    }
    keys = [InstanceKey("1.2.1", f"1.2.1.{number}") for number in (1, 2)]
    return {key: Instance(key, metadata(InstanceNumber=key.instance_uid[-1], **told)) for key in keys}


def _cast(existing: dict[str, Any], delta: StudyDelta, rules: Rules) -> dict[str, Any]:
    content = draft(existing, delta, rules, LINKS.endpoint)
    assert content.missing == frozenset()
    return merge_study(existing, content, KEY, rules, LINKS, "ours")


@pytest.mark.parametrize("compat", [False, True])
def test_study_of_the_predecessor_is_corrected_once(compat: bool) -> None:
    """After a snapshot the resource is as ours would be, under its own id; a second one changes nothing."""
    rules = Rules("urn:oid:2.25.1", accession_system="https://ris.example/accession", compat=compat)
    snapshot = StudyDelta(KEY, _archive(), snapshot=True)
    study = _cast(copy.deepcopy(WRITTEN), snapshot, rules)
    assert problems(study) == []
    assert _cast(study, snapshot, rules) == study
    fresh = _cast({**WRITTEN, "identifier": [], "series": [], "note": []}, snapshot, rules)
    same = ("id", "modality", "series", "started", "basedOn", "description", "numberOfSeries", "numberOfInstances")
    assert {name: study[name] for name in same} == {name: fresh[name] for name in same}
    assert [(one.get("system"), one["value"]) for one in study["identifier"]] == [
        ("urn:dicom:uid", "urn:oid:1.2"),
        ("https://ris.example/accession", "A2"),
    ]


def test_notes_of_the_predecessor() -> None:
    """The notes that piled up may be somebody's by now: they stay, and with MAPPING__COMPAT ours is not added again."""
    snapshot = StudyDelta(KEY, _archive(), snapshot=True)
    assert _cast(WRITTEN, snapshot, Rules(""))["note"] == WRITTEN["note"]
    compatible = _cast(WRITTEN, snapshot, Rules("", compat=True))
    assert sorted(one["text"] for one in compatible["note"]) == ["CT", "CT chest"]


@pytest.mark.parametrize("told", [0, 1])
def test_one_new_instance_corrects_its_study(told: int) -> None:
    """Whichever it is: the others of a study of the predecessor are read with it, once, and all of it is said anew."""
    archive = _archive()
    key = list(archive)[told]
    delta = StudyDelta(KEY, {key: archive[key]})
    wanted = draft(copy.deepcopy(WRITTEN), delta, Rules(""), LINKS.endpoint).missing
    assert wanted == archive.keys() - {key}
    study = _cast(copy.deepcopy(WRITTEN), StudyDelta(KEY, archive), Rules(""))
    assert problems(study) == []
    assert study == _cast(copy.deepcopy(WRITTEN), StudyDelta(KEY, archive, snapshot=True), Rules(""))
    assert draft(copy.deepcopy(study), delta, Rules(""), LINKS.endpoint).missing == frozenset()
