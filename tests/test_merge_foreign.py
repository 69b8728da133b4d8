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
