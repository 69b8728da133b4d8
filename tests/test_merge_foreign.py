"""Law 4 in a study: what others wrote into an ImagingStudy stays, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest

from dicomcast.mapping.rules import Rules
from dicomcast.merge import Links, draft, merge_study
from dicomcast.model import Instance, InstanceKey, StudyDelta, StudyKey
from tests.metadata import CT, metadata

SOURCE = "https://dicom.example"
KEY = StudyKey(SOURCE, "", "1.2")
RULES = Rules("urn:oid:2.25.1")
LINKS = Links({"reference": "Patient/p", "type": "Patient"}, "Endpoint/e", f"{SOURCE}/v2")
STUDY_UID = {"system": "urn:dicom:uid", "value": "urn:oid:1.2"}


def delta(*uids: str, snapshot: bool = False, deleted: Any = (), **attributes: Any) -> StudyDelta:
    """Instances named "<series>.<number>", all with the same attributes beside the Study's description."""
    instances = {}
    for uid in uids:
        key = InstanceKey(uid.rpartition(".")[0], uid)
        number = uid.rpartition(".")[2]
        told = {"SOPClassUID": CT, "Modality": "CT", "InstanceNumber": number, "SeriesNumber": 1, **attributes}
        instances[key] = Instance(key, metadata(**told))
    gone = frozenset(InstanceKey(uid.rpartition(".")[0], uid) for uid in deleted)
    return StudyDelta(KEY, instances, gone, snapshot)


def merged(existing: dict[str, Any] | None, change: StudyDelta) -> dict[str, Any]:
    """The study after a delta that leaves nothing to be read."""
    content = draft(existing, change, RULES, LINKS.endpoint)
    assert content.missing == frozenset()
    return merge_study(existing, content, KEY, RULES, LINKS, "own-id")


def foreign(**elements: Any) -> dict[str, Any]:
    """An ImagingStudy that somebody else created."""
    return {
        "resourceType": "ImagingStudy",
        "id": "theirs",
        "meta": {"source": "https://ris.example"},
        "identifier": [STUDY_UID],
        "status": "available",
        "subject": {"reference": "Patient/ehr"},
        **elements,
    }


@pytest.mark.parametrize(
    "identifier",
    [
        STUDY_UID,
        {**STUDY_UID, "use": "usual", "period": {"start": "2024"}, "assigner": {"display": "RIS"}},
        {**STUDY_UID, "extension": [{"url": "https://ris.example/x", "valueCode": "y"}]},
    ],
)
@pytest.mark.parametrize("source", ["https://ris.example", SOURCE])
def test_study_uid_identifier_that_stands_stays(identifier: Any, source: str) -> None:
    """An identifier with the study's UID says all that ours would say: no type is added, nothing is taken away."""
    before = foreign(identifier=[{"value": "other"}, identifier], meta={"source": source})
    after = merged(before, delta("1.2.1.1"))
    assert after["identifier"] == [identifier, {"value": "other"}]
    assert merged(after, delta("1.2.1.1")) == after


ACSN = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
RIS_ACCESSION = {"type": ACSN, "system": "https://ris.example/accession", "value": "A1"}
RIS_REQUEST = {"type": "ServiceRequest", "identifier": RIS_ACCESSION}


def values(identifiers: Any) -> list[str]:
    """What the identifiers say."""
    return [one["value"] for one in identifiers]


def test_accession_of_a_ris_stays() -> None:
    """An accession number with the RIS' own system, or with a use, is theirs; ours comes and goes beside it."""
    theirs = [RIS_ACCESSION, {"type": ACSN, "use": "usual", "value": "A1"}, {"value": "A1"}]
    before = foreign(identifier=[STUDY_UID, *theirs])
    after = merged(before, delta("1.2.1.1", AccessionNumber="A1"))
    assert [one for one in after["identifier"] if one in theirs] == theirs
    assert values(after["identifier"]) == ["urn:oid:1.2", "A1", "A1", "A1", "A1"]
    changed = merged(after, delta("1.2.1.1", AccessionNumber="A2"))
    assert values(changed["identifier"]) == ["urn:oid:1.2", "A2", "A1", "A1", "A1"]
    assert merged(changed, delta("1.2.1.1"))["identifier"] == before["identifier"]


def test_request_of_a_ris_stays() -> None:
    """A basedOn that refers to a resource, or has the RIS' system, is theirs; ours comes and goes beside it."""
    theirs = [
        RIS_REQUEST,
        {"reference": "ServiceRequest/7", "type": "ServiceRequest", "identifier": {"type": ACSN, "value": "A1"}},
        {"reference": "CarePlan/8"},
    ]
    after = merged(foreign(basedOn=theirs), delta("1.2.1.1", AccessionNumber="A1"))
    assert after["basedOn"][1:] == theirs
    assert values([after["basedOn"][0]["identifier"]]) == ["A1"]
    assert merged(after, delta("1.2.1.1"))["basedOn"] == theirs


def test_accession_of_ours_is_replaced_by_its_type() -> None:
    """In a study that we created an accession number is replaced, also one with an issuer, never appended."""
    issuer = metadata(UniversalEntityID="1.2.36", UniversalEntityIDType="ISO")
    before = merged(None, delta("1.2.1.1", AccessionNumber="A1", IssuerOfAccessionNumberSequence=[issuer]))
    assert values(before["identifier"]) == ["urn:oid:1.2", "A1"]
    after = merged(before, delta("1.2.1.1", AccessionNumber="A2"))
    assert values(after["identifier"]) == ["urn:oid:1.2", "A2"]
    assert values(one["identifier"] for one in after["basedOn"]) == ["A2"]
