"""Order does not matter: however a study arrives, in whatever windows, the same ImagingStudy and Patient come of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.gathering import Gathering
from dicomcast.mapping.patient import patient
from dicomcast.mapping.rules import Rules
from dicomcast.merge import Draft, Links, annotated, draft, merge_study
from dicomcast.model import Extra, Instance, InstanceKey, StudyDelta, StudyKey
from tests.judge import problems
from tests.metadata import CT, KEY_OBJECTS, MAMMOGRAM, SR, code, metadata

KEY = StudyKey("https://dicom.example", "", "1.2")
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
LINKS = Links({"reference": "Patient/1"}, "Endpoint/1", KEY.source)


def _frames(sides: list[str]) -> list[dict[str, Any]]:
    return [metadata(FrameAnatomySequence=[metadata(FrameLaterality=side)]) for side in sides]


# Whatever decides who speaks, and whatever only the speaker, or only all together, can tell.
attributes = st.fixed_dictionaries(
    {},
    optional={
        "SOPClassUID": st.sampled_from([CT, SR, MAMMOGRAM, KEY_OBJECTS, ENHANCED_MR, "junk"]),
        "Modality": st.sampled_from(["CT", "MG", "MR", "SR", "KO"]),
        "SeriesNumber": st.integers(-1, 2),
        "InstanceNumber": st.integers(-1, 2),
        "StudyDescription": st.sampled_from("ab"),
        "SeriesDescription": st.sampled_from("cd"),
        "StudyDate": st.sampled_from(["20240101", "20240201", "junk"]),
        "StudyTime": st.just("0831"),
        "AccessionNumber": st.sampled_from(["A1", "A2"]),
        "StudyID": st.sampled_from(["1", "2"]),
        "AdmissionID": st.just("V1"),
        "Laterality": st.sampled_from(["", "L", "B"]),
        "ImageLaterality": st.sampled_from("LRU"),
        "PerFrameFunctionalGroupsSequence": st.lists(st.sampled_from("LRU"), min_size=1, max_size=2).map(_frames),
        "NumberOfFrames": st.integers(0, 2),
        "StationName": st.sampled_from("XY"),
        "ReasonForTheRequestedProcedure": st.sampled_from(["cough", "pain"]),
        "ProcedureCodeSequence": st.just([code("P5-08000", "SRT", "CT")]),
        "PatientID": st.sampled_from(["P1", "P2"]),
        "PatientName": st.sampled_from(["Doe^Jane", "Roe^Rick"]),
    },
).map(lambda told: metadata(**told))
keys = st.builds(lambda one, two: InstanceKey(f"1.2.{one}", f"1.2.{one}.{two}"), *[st.integers(1, 3)] * 2)
archives = st.dictionaries(keys, attributes, min_size=1, max_size=7)
sites = st.builds(
    Rules,
    st.just("urn:oid:2.25.1"),
    timezone=st.sampled_from([None, ZoneInfo("Europe/Berlin")]),
    extras=st.sampled_from([frozenset(), frozenset(Extra)]),
    compat=st.booleans(),
    most_listed=st.sampled_from([None, 0, 1, 2, 3]),
)


def _draft(existing: Any, delta: StudyDelta, rules: Rules, archive: dict[InstanceKey, Instance]) -> Draft:
    """The draft of a delta, for which the archive is asked as the worker asks it."""
    content = draft(existing, delta, rules, LINKS.endpoint)
    if content.whole:
        return draft(existing, _gathered(archive, rules, existing), rules, LINKS.endpoint)
    while content.missing:
        read = {key: archive[key] for key in content.missing}
        delta = replace(delta, instances={**delta.instances, **read})
        content = draft(existing, delta, rules, LINKS.endpoint)
    return content


def _gathered(archive: dict[InstanceKey, Instance], rules: Rules, existing: Any = None) -> StudyDelta:
    gathering = Gathering(KEY, rules.most_listed, annotated(existing, rules))
    for one in archive.values():
        gathering.add(one)
    return gathering.delta()


def _merged(existing: Any, content: Draft, rules: Rules) -> Any:
    return merge_study(existing, content, KEY, rules, LINKS, "1")


@given(told=archives, rules=sites, data=st.data())
def test_any_order_and_any_windows_give_the_same(told: dict[InstanceKey, Any], rules: Rules, data: Any) -> None:
    """Instances in any order, some of them twice, cut into any windows, come to what one look at the archive gives."""
    archive = {key: Instance(key, one) for key, one in told.items()}
    whole = _draft(None, StudyDelta(KEY, archive, snapshot=True), rules, archive)
    expected = _merged(None, whole, rules)
    assert problems(expected) == []

    order = data.draw(st.permutations(sorted(archive)))
    order += data.draw(st.lists(st.sampled_from(order), max_size=2))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(order)))) | {len(order)})
    study, arrived = None, {}
    for start, end in zip([0, *cuts], cuts, strict=False):
        window = {key: archive[key] for key in order[start:end]}
        arrived |= window
        content = _draft(study, StudyDelta(KEY, window), rules, arrived)
        study = _merged(study, content, rules)
        assert study is not None and study["numberOfInstances"] == len(arrived)
    assert study == expected
    assert content.speaker == whole.speaker


@given(told=archives, rules=sites, data=st.data())
def test_what_is_kept_of_a_study_that_is_read_says_all(told: dict[InstanceKey, Any], rules: Rules, data: Any) -> None:
    """Whatever is dropped while a study is read, study, Patient and issues are those of all its metadata."""
    archive = {key: Instance(key, told[key]) for key in data.draw(st.permutations(sorted(told)))}
    both = []
    for delta in (StudyDelta(KEY, archive, snapshot=True), _gathered(archive, rules)):
        content = draft(None, delta, rules, LINKS.endpoint)
        assert content.dataset is not None
        who = patient(content.dataset, rules, KEY.study_uid)
        both.append((_merged(None, content, rules), who, set(content.issues), content.speaker))
    assert both[0] == both[1]


@given(before=archives, after=archives, rules=sites, more=st.sampled_from([None, 0, 2]))
def test_another_limit_takes_hold_with_the_next_cast(
    before: dict[InstanceKey, Any], after: dict[InstanceKey, Any], rules: Rules, more: int | None
) -> None:
    """A study that stands there listed or counted becomes what one look at the archive gives by the present rules."""
    old, new = ({key: Instance(key, one) for key, one in told.items()} for told in (before, before | after))
    earlier = replace(rules, most_listed=more)
    study = _merged(None, draft(None, _gathered(old, earlier), earlier, LINKS.endpoint), earlier)
    delta = StudyDelta(KEY, {key: new[key] for key in after})
    assert _merged(study, _draft(study, delta, rules, new), rules) == _merged(
        None, draft(None, _gathered(new, rules), rules, LINKS.endpoint), rules
    )


@given(told=archives, rules=sites, data=st.data())
def test_order_of_a_snapshot_does_not_matter(told: dict[InstanceKey, Any], rules: Rules, data: Any) -> None:
    """The study, its Patient and the issues are the same in whatever order an archive lists its instances."""
    order = data.draw(st.permutations(sorted(told)))
    both = []
    for keys in (sorted(told), order):
        archive = {key: Instance(key, told[key]) for key in keys}
        content = draft(None, StudyDelta(KEY, archive, snapshot=True), rules, LINKS.endpoint)
        assert content.dataset is not None
        who = patient(content.dataset, rules, KEY.study_uid)
        both.append((_merged(None, content, rules), who, set(content.issues)))
    assert both[0] == both[1]


@pytest.mark.parametrize(("sides", "code"), [("LL", "419161000"), ("LR", None), ("RLL", None), ("BB", "51440002")])
def test_side_of_frames_is_told_from_all(sides: str, code: str | None) -> None:
    """The side of a series of enhanced images is that of all, whichever came last, and is told anew when one goes."""
    archive = {}
    for number, side in enumerate(sides, 1):
        told = metadata(
            SOPClassUID=ENHANCED_MR,
            Modality="MR",
            InstanceNumber=number,
            PerFrameFunctionalGroupsSequence=_frames([side]),
        )
        archive[InstanceKey("1.2.1", f"1.2.1.{number}")] = Instance(InstanceKey("1.2.1", f"1.2.1.{number}"), told)
    rules = Rules("urn:oid:2.25.1")
    for order in (list(archive), list(archive)[::-1]):
        study = None
        for key in order:
            study = _merged(study, _draft(study, StudyDelta(KEY, {key: archive[key]}), rules, archive), rules)
        assert study is not None and study["series"][0].get("laterality", {}).get("code") == code
    gone = min(archive)
    left = StudyDelta(KEY, deleted=frozenset({gone}))
    after = _merged(study, _draft(study, left, rules, archive), rules)
    assert ("laterality" in after["series"][0]) is (len(set(sides[1:])) == 1)
