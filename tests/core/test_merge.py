"""Merging, as properties: idempotent, independent of order, exact in its counts, and kind to what others wrote."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.mapping.rules import Rules
from dicomcast.merge import Links, draft, merge_study
from dicomcast.model import Instance, InstanceKey, StudyDelta, StudyKey
from tests.metadata import CT, MAMMOGRAM, SR, code, metadata

SOURCE = "https://dicom.example"
KEY = StudyKey(SOURCE, "", "1.2")
RULES = Rules("urn:oid:2.25.1")
LINKS = Links({"reference": "Patient/p", "type": "Patient"}, "Endpoint/e", f"{SOURCE}/v2")

Archive = dict[InstanceKey, dict[str, Any]]

numbers = st.sampled_from([None, 1, 2, 3])
attributes = st.fixed_dictionaries(
    {
        "SOPClassUID": st.sampled_from([CT, SR, MAMMOGRAM, None]),
        "Modality": st.sampled_from(["CT", "MG", "SR", None]),
        "SeriesNumber": numbers,
        "InstanceNumber": numbers,
        "StudyDescription": st.sampled_from([None, "a", "b"]),
        "SeriesDescription": st.sampled_from([None, "c", "d"]),
        "StudyDate": st.sampled_from([None, "20240101", "20240201", "junk"]),
        "AccessionNumber": st.sampled_from([None, "A1", "A2"]),
        "ImageLaterality": st.sampled_from([None, "L", "R"]),
        "ReferringPhysicianName": st.sampled_from([None, "Doe^Jane", "Roe^Rick"]),
        "ConceptNameCodeSequence": st.sampled_from([None, [code("18748-4", "LN", "Report")]]),
    }
).map(lambda told: metadata(**{keyword: value for keyword, value in told.items() if value is not None}))
keys = st.builds(lambda one, other: InstanceKey(f"1.2.{one}", f"1.2.{one}.{other}"), *[st.integers(1, 3)] * 2)
archives = st.dictionaries(keys, attributes, min_size=1, max_size=7)


def delta(held: Archive, *, deleted: Any = (), snapshot: bool = False) -> StudyDelta:
    """These instances as a delta."""
    instances = {key: Instance(key, told) for key, told in held.items()}
    return StudyDelta(KEY, instances, frozenset(deleted), snapshot)


def merged(existing: dict[str, Any] | None, change: StudyDelta, archive: Archive) -> dict[str, Any] | None:
    """The study after a delta, what is missing read from the archive as the worker does; None if nothing is left."""
    content = draft(existing, change, RULES, LINKS.endpoint)
    for _ in range(3):
        if not content.missing:
            break
        if not content.missing <= archive.keys():
            change = delta(archive, snapshot=True)
        else:
            read = {key: Instance(key, archive[key]) for key in content.missing}
            change = replace(change, instances={**change.instances, **read})
        content = draft(existing, change, RULES, LINKS.endpoint)
    assert content.missing == frozenset()
    if content.speaker is None and (existing is None or existing["id"] == "own"):
        return None
    before = copy.deepcopy(existing)
    study = merge_study(existing, content, KEY, RULES, LINKS, "own")
    assert existing == before, "a merge must not change what was read"
    return study


def snapshot_of(archive: Archive, existing: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """The study as one look at the whole archive gives it."""
    return merged(existing, delta(archive, snapshot=True), archive)


ADOPTED: dict[str, Any] = {
    "resourceType": "ImagingStudy",
    "id": "theirs",
    "meta": {"source": "https://ris.example"},
    "identifier": [
        {"use": "usual", "value": "R7"},
        {"system": "urn:dicom:uid", "value": "urn:oid:1.2"},
    ],
    "status": "registered",
    "subject": {"reference": "Patient/ehr"},
    "endpoint": [{"reference": "Endpoint/ris"}],
    "series": [
        {"uid": "1.2.1", "modality": {"code": "CT"}, "instance": [{"uid": "1.2.1.1"}, {"uid": "1.2.1.99"}]},
        {"uid": "9.9", "number": 0, "modality": {"code": "MR"}, "instance": [{"uid": "9.9.2"}, {"uid": "9.9.1"}]},
    ],
}

starts = pytest.mark.parametrize("start", [None, ADOPTED], ids=["created", "adopted"])


@starts
@given(archive=archives, data=st.data())
def test_deltas_in_any_order_equal_a_snapshot(start: Any, archive: Archive, data: st.DataObject) -> None:
    """Whatever the order in which instances arrive, and however they are cut into deltas, the study is the same."""
    order = data.draw(st.permutations(list(archive)))
    study = start
    held: Archive = {}
    while order:
        size = data.draw(st.integers(1, len(order)))
        arrived, order = order[:size], order[size:]
        held |= {key: archive[key] for key in arrived}
        study = merged(study, delta({key: archive[key] for key in arrived}), held)
    assert study == snapshot_of(archive, start)


@starts
@given(archive=archives, changed=archives, data=st.data())
def test_changes_and_deletions_equal_a_snapshot(start: Any, archive: Archive, changed: Archive, data: Any) -> None:
    """Instances that are replaced, added and deleted leave the study that a look at what remains gives."""
    before = snapshot_of(archive, start)
    gone = data.draw(st.sets(st.sampled_from(sorted(archive))))
    remain = {key: told for key, told in {**archive, **changed}.items() if key in changed or key not in gone}
    after = merged(before, delta(changed, deleted=gone - changed.keys()), remain)
    assert after == snapshot_of(remain, before)
    # What an adopted study had beside the archive's before the archive had that series is not known any more.
    assert start is not None or after == snapshot_of(remain)


@starts
@given(archive=archives, data=st.data())
def test_merging_again_changes_nothing(start: Any, archive: Archive, data: Any) -> None:
    """The delta that made a study, any part of it, a snapshot, and a delete of what is gone write nothing."""
    study = snapshot_of(archive, start)
    part = data.draw(st.sets(st.sampled_from(sorted(archive))))
    for again in (
        delta(archive),
        delta(archive, snapshot=True),
        delta({key: archive[key] for key in part}),
        delta({}, deleted=[InstanceKey("1.2.7", "1.2.7.7"), InstanceKey("1.2.1", "1.2.1.77")]),
    ):
        assert merged(study, again, archive) == study


@starts
@given(archive=archives)
def test_counts_are_those_of_what_is_listed(start: Any, archive: Archive) -> None:
    """numberOfSeries and numberOfInstances count what the study lists, on both levels, each instance once."""
    study = snapshot_of(archive, start)
    assert study is not None
    ours = [one for one in study["series"] if one["uid"] != "9.9"]
    listed = [InstanceKey(one["uid"], each["uid"]) for one in ours for each in one["instance"]]
    kept = {InstanceKey("1.2.1", "1.2.1.1"), InstanceKey("1.2.1", "1.2.1.99")}
    foreign = kept if start and all(key.series_uid != "1.2.1" for key in archive) else set()
    assert sorted(listed) == sorted({*archive, *foreign})
    assert study["numberOfSeries"] == len(study["series"])
    assert study["numberOfInstances"] == len(listed) + (2 if start else 0)
    assert all(one["numberOfInstances"] == len(one["instance"]) for one in ours if one["uid"] != "1.2.1" or not foreign)


@given(archive=archives)
def test_deleting_all_leaves_nothing_of_ours(archive: Archive) -> None:
    """A study that we created is gone with its last instance; an adopted one keeps what it had beside the archive's."""
    everything = delta({}, deleted=archive)
    assert merged(snapshot_of(archive), everything, {}) is None
    left = merged(snapshot_of(archive, ADOPTED), everything, {})
    assert left is not None
    claimed = any(key.series_uid == "1.2.1" for key in archive)
    shared, theirs = ADOPTED["series"]
    assert left["series"] == ([theirs] if claimed else [theirs, shared])
    assert [one for one in left["identifier"] if one in ADOPTED["identifier"]] == ADOPTED["identifier"][::-1]


NOTE = {"url": "https://ris.example/note", "valueString": "seen"}
# Where others write, as a path of members and UIDs, and what they write there.
DECORATIONS: list[tuple[list[str], Any]] = [
    (["extension"], [NOTE]),
    (["modifierExtension"], [{"url": "https://ris.example/modifier", "valueBoolean": False}]),
    (["contained"], [{"resourceType": "Practitioner", "id": "c1"}]),
    (["text"], {"status": "additional", "div": "<div>written by hand</div>"}),
    (["note"], [{"text": "compared with 2019"}]),
    (["encounter"], {"reference": "Encounter/1"}),
    (["procedureReference"], {"reference": "Procedure/1"}),
    (["reasonReference"], [{"reference": "Condition/1"}]),
    (["meta", "tag"], [{"system": "https://ris.example/tags", "code": "teaching"}]),
    (["identifier"], [{"use": "usual", "system": "https://ris.example/study", "value": "R8"}]),
    (["basedOn"], [{"reference": "ServiceRequest/7"}]),
    (["endpoint"], [{"reference": "Endpoint/ris"}]),
    (["_description"], {"extension": [NOTE]}),
    (["_started"], {"extension": [NOTE]}),
    (["_numberOfInstances"], {"extension": [NOTE]}),
    (["referrer", "extension"], [NOTE]),
    (["referrer", "_display"], {"extension": [NOTE]}),
    (["subject", "extension"], [NOTE]),
    (["series", "1.2.1", "extension"], [NOTE]),
    (["series", "1.2.1", "_description"], {"extension": [NOTE]}),
    (["series", "1.2.1", "endpoint"], [{"reference": "Endpoint/ris"}]),
    (["series", "1.2.1", "modality", "extension"], [NOTE]),
    (["series", "1.2.1", "modality", "id"], "m1"),
    (["series", "1.2.1", "bodySite", "extension"], [NOTE]),
    (["series", "1.2.1", "instance", "1.2.1.1", "extension"], [NOTE]),
    (["series", "1.2.1", "instance", "1.2.1.1", "_title"], {"extension": [NOTE]}),
    (["series", "1.2.1", "instance", "1.2.1.1", "sopClass", "extension"], [NOTE]),
]


def _at(element: Any, path: list[str]) -> Any:
    """What stands at a path; a UID chooses among the members of a list."""
    for name in path:
        named = {one["uid"]: one for one in element} if isinstance(element, list) else element
        element = named.get(name)
    return element


def _decorate(study: dict[str, Any], path: list[str], value: Any) -> None:
    parent = _at(study, path[:-1])
    before = parent.get(path[-1])
    parent[path[-1]] = [*before, *value] if isinstance(before, list) else copy.deepcopy(value)


def _stands(study: dict[str, Any], path: list[str], value: Any) -> bool:
    found = _at(study, path)
    return all(one in found for one in value) if isinstance(value, list) else found == value


def told(number: int, words: str) -> dict[str, Any]:
    """An instance that fills the elements that get decorated."""
    return metadata(
        SOPClassUID=CT,
        Modality="CT",
        SeriesNumber=1,
        InstanceNumber=number,
        StudyDate="20240101",
        AccessionNumber=words,
        StudyDescription=words,
        SeriesDescription=words,
        ContentLabel=words,
        ReferringPhysicianName=words,
        BodyPartExamined=words,
    )


FIRST, SECOND = InstanceKey("1.2.1", "1.2.1.1"), InstanceKey("1.2.1", "1.2.1.2")


@starts
@given(decorations=st.lists(st.sampled_from(DECORATIONS), unique_by=lambda one: str(one[0])))
def test_what_others_wrote_stays(start: Any, decorations: list[tuple[list[str], Any]]) -> None:
    """Extensions, ids, \\`_\\` siblings and elements of others stay, whether ours beside them change or not."""
    archive = {FIRST: told(1, "CHEST"), SECOND: told(2, "CHEST")}
    study = copy.deepcopy(snapshot_of(archive, start))
    assert study is not None
    for path, value in decorations:
        _decorate(study, path, value)
    assert snapshot_of(archive, study) == study
    changed = {FIRST: told(1, "HEAD"), InstanceKey("1.2.2", "1.2.2.1"): told(1, "NECK")}
    for archived in ({**archive, **changed}, {FIRST: told(3, "PATTERN")}):
        after = snapshot_of(archived, study)
        assert after is not None
        assert [path for path, value in decorations if not _stands(after, path, value)] == []
