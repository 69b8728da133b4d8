"""Law 4 in a study: what others wrote into an ImagingStudy stays, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest

from dicomcast.mapping.rules import Rules
from dicomcast.merge import Links, draft, merge_study
from dicomcast.model import Instance, InstanceKey, StudyDelta, StudyKey
from tests.metadata import CT, SR, metadata

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


NOTE = [{"url": "https://ris.example/note", "valueString": "seen"}]


def test_series_that_the_archive_does_not_hold_stays() -> None:
    """A foreign series keeps its order, its counts and its odd instances, and no delete or snapshot touches it."""
    theirs = {
        "uid": "9.9",
        "modality": {"code": "MR"},
        "numberOfInstances": 50,
        "instance": [{"uid": "9.9.2", "extension": NOTE}, {"uid": "9.9.1"}, {"uid": "9.9.2"}],
    }
    nothing_listed = {"uid": "9.8", "modality": {"code": "OT"}}
    before = foreign(series=[theirs, nothing_listed])
    for change in (delta("1.2.1.1", deleted=["9.9.1", "9.9.2"]), delta("1.2.1.1", snapshot=True)):
        after = merged(before, change)
        assert [one for one in after["series"] if one["uid"].startswith("9")] == [nothing_listed, theirs]
        assert (after["numberOfSeries"], after["numberOfInstances"]) == (3, 51)
        assert merged(after, change) == after


def test_instances_of_a_foreign_series_without_count_are_counted() -> None:
    """numberOfInstances is 0..1: where a foreign series has none, its instances are counted, and it stays as it is."""
    theirs = {"uid": "9.9", "modality": {"code": "MR"}, "instance": [{"uid": "9.9.1"}, {"uid": "9.9.2"}]}
    after = merged(foreign(series=[theirs]), delta("1.2.1.1"))
    assert theirs in after["series"]
    assert after["numberOfInstances"] == 3


def test_foreign_series_does_not_speak() -> None:
    """Only what the archive holds can be read, so a foreign series never speaks for the study."""
    theirs = {"uid": "9.9", "number": 0, "modality": {"code": "MR"}, "instance": [{"uid": "9.9.1", "number": 0}]}
    after = merged(foreign(series=[theirs]), delta("1.2.1.1", StudyDescription="ours", SOPClassUID=SR))
    assert after["description"] == "ours"


def test_series_that_the_archive_holds_too_becomes_its_own() -> None:
    """Once the archive has a series it tells the whole of it: the other instances are read, or are gone."""
    theirs = {"uid": "1.2.1", "modality": {"code": "CT"}, "instance": [{"uid": "1.2.1.8"}, {"uid": "1.2.1.9"}]}
    before = foreign(series=[theirs])
    content = draft(before, delta("1.2.1.1"), RULES, LINKS.endpoint)
    assert content.missing == {InstanceKey("1.2.1", "1.2.1.8"), InstanceKey("1.2.1", "1.2.1.9")}
    whole = delta("1.2.1.1", "1.2.1.8", snapshot=True)
    after = merged(before, whole)
    assert [one["uid"] for one in after["series"][0]["instance"]] == ["1.2.1.1", "1.2.1.8"]
    assert after["series"][0]["endpoint"] == [{"reference": "Endpoint/e"}]
    assert merged(after, whole) == after
    assert merged(before, delta("1.2.1.1", "1.2.1.8", "1.2.1.9"))["numberOfInstances"] == 3


def test_endpoints_with_more_than_a_reference() -> None:
    """Servers add a display to a reference: it is the same Endpoint, neither added again nor written back."""
    ours = {"reference": "Endpoint/e", "display": "DICOM WADO-RS endpoint"}
    theirs = {"reference": "Endpoint/ris"}
    before = merged(foreign(endpoint=[theirs]), delta("1.2.1.1"))
    assert before["endpoint"] == [{"reference": "Endpoint/e"}, theirs]
    before["endpoint"] = [theirs, ours]
    before["series"][0]["endpoint"] = [ours]
    assert merged(before, delta("1.2.1.1")) == before
    assert "series" not in merged(before, delta(deleted=["1.2.1.1"]))


def test_extensions_on_what_is_counted_and_derived_stay() -> None:
    """The study's modalities are derived from its series, and keep what others say beside them."""
    before = merged(None, delta("1.2.1.1"))
    before["modality"][0] |= {"extension": NOTE, "id": "m1", "_display": {"extension": NOTE}}
    before |= {"_numberOfSeries": {"extension": NOTE}}
    after = merged(before, delta("1.2.1.1", "1.2.1.2"))
    assert after["modality"] == before["modality"]
    assert after["_numberOfSeries"] == before["_numberOfSeries"]
    assert after["numberOfInstances"] == 2


@pytest.mark.parametrize("source", ["https://ris.example", SOURCE])
def test_what_is_no_series_and_no_instance_stays(source: str) -> None:
    """It is neither counted nor taken for one, and stands behind those that are."""
    before = merged(foreign(meta={"source": source}), delta("1.2.1.1"))
    before["series"][0]["instance"] += [None, {"number": 3}]
    before["series"] += [7, {"description": "none"}]
    after = merged(before, delta("1.2.1.1", "1.2.1.2"))
    assert after["series"][1:] == [7, {"description": "none"}]
    assert after["series"][0]["instance"][2:] == [None, {"number": 3}]
    assert (after["numberOfSeries"], after["numberOfInstances"], after["series"][0]["numberOfInstances"]) == (1, 2, 2)


@pytest.mark.parametrize("subject", [None, [], "Patient/p"])
def test_a_study_of_ours_without_a_subject_gets_one(subject: Any) -> None:
    """Who speaks is read once more, since only its metadata tell whose study it is."""
    before = merged(None, delta("1.2.1.1")) | {"subject": subject}
    assert draft(before, delta("1.2.1.2"), RULES, LINKS.endpoint).missing == {InstanceKey("1.2.1", "1.2.1.1")}
