"""Law 6, the mapping is total: whatever stands in metadata, what comes out is FHIR, or nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_has_tag, dictionary_VR

from dicomcast.dicom.files import instance_of
from dicomcast.errors import Rejected
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.table import MAPPED, select
from dicomcast.mapping.tags import tag
from dicomcast.mapping.values import JSON
from dicomcast.merge import Links, draft, merge_study
from dicomcast.model import Extra, Instance, MissingId, Outcome, StudyDelta, StudyKey
from dicomcast.offline import bundle_of
from tests.harness import DICOM_URL, SYSTEM, Harness, dataset
from tests.judge import problems

# What stands in the items of sequences.
NESTED = """
    CodeValue LongCodeValue URNCodeValue CodingSchemeDesignator CodeMeaning PersonIdentificationCodeSequence
    InstitutionName LocalNamespaceEntityID UniversalEntityID UniversalEntityIDType SpecimenIdentifier
    IssuerOfTheSpecimenIdentifierSequence AccessionNumber IssuerOfAccessionNumberSequence
    ReasonForTheRequestedProcedure ReasonForRequestedProcedureCodeSequence
    FrameAnatomySequence FrameLaterality AnatomicRegionSequence PatientID IssuerOfPatientIDQualifiersSequence
    NameToUse GenderIdentityCodeSequence GenderIdentityComment SexParametersForClinicalUseCategoryCodeSequence
""".split()

_TEXT = [
    *(
        "",
        " ",
        "\u3000",
        "\x00",
        "\ud83d",
        "half \ud83d",
        "\ufffd",
        "\ufeff",
        "a\x0cb",
        "\x0c",
        "\x1b(Ba",
        "a\x85b",
        "\x7f",
    ),
    *("two\r\nlines", "a\\b", "\\", "a|b", "a,b$c", " padded ", "no\u00a0break", "C  T", "ct", "x" * 70, "é" * 5000),
    *("urn:oid:01.2", "urn:oid:", "urn:uuid:1", "http://a b", "null", "Patient/1", "*", "U", "l", "99X", "HOSP"),
]
_PLAUSIBLE: dict[str, list[Any]] = {
    "UI": [
        *(
            "1.2",
            "1.2.03",
            "01.2",
            "1.2.x",
            "1..2",
            "1.2.",
            "3.1",
            "1",
            "hello",
            "1.2/3",
            "1.2_3",
            "1 2",
            "urn:oid:1.2",
        ),
        *("1.2\x00", " 1.2 ", "1.2\\1.3", "１.２", "1.1\u0663", "1." * 32 + "1", "1." * 31 + "12", "1" * 65, 1.2, -1),
        "1.2.840.10008.5.1.4.1.1.88.11",
    ],
    "DA": [
        *("20240230", "00000000", "99991231", "00010101", "2024", "202413", "2024.01.02", "2024-01-02", "20240102 "),
        *("\u0662\u0660\u0662\u0664", "1\u0660\u0660\u0660", "20240102-20240103", "19000101", 20240102, -20240102),
    ],
    "TM": ["240000", "235960", "0304", "03", "03:04:05", "030405.123456", "0304-0506", "\u0660\u0663\u0660\u0664", -1],
    "SH": ["+0100", "-1200", "+1400", "+1401", "-1330", "UTC-04:00", "+0160", "+01:00"],
    "IS": ["-1", -1, 2**31 - 1, 2**31, "2147483648", 10**30, 1e300, "3.7", 3.0, " 3 ", "\u0663", "+4", True, "abc"],
    "PN": [
        *(
            "Doe^Jane",
            "^^^^",
            "=",
            "==",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "a^b^c^d^e^f",
            "Doe\u3000^Jane",
            "^\x0c^",
        ),
        {"Alphabetic": "Doe^Jane=山田"},
        {"Alphabetic": None, "Ideographic": "山田\u3000太郎"},
        *({"Alphabetic": {}}, {"Phonetic": "\ud83d^\x1b"}, {"Alphabetic": 7}, {}),
    ],
    "CS": [
        "M",
        "f",
        "X",
        "ISO",
        "UUID",
        "uri",
        "DNS",
        "CHEST",
        "WHOLE BODY",
        "L",
        "b",
        "CT",
        "SR",
        "C T",
        "SRT",
        "SCT",
    ],
    "LO": ["T-A0100", "SRT", "SCT", "DCM", "99SDM", "113701"],
    "UT": ["1.2.3", "01.2", "6F1C7F0A-3C0E-5D5E-9D5B-0D1C0A5DCA57", "urn:oid:01.2", "urn:uuid:1", "http://a/b", "a:b"],
}

_characters = st.text(st.characters(exclude_categories=()), max_size=12)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | _characters
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_characters, inner, max_size=3), max_leaves=6
)


def _vr(number: str) -> str:
    """The VR of a mapped tag; pydicom's dictionary lacks the youngest of them, which are sequences."""
    tag = int(number, 16)
    return dictionary_VR(tag) if dictionary_has_tag(tag) else "SQ"


@cache
def _value(number: str, depth: int) -> st.SearchStrategy[Any]:
    """A plausible value of a tag, if an odd one."""
    vr = _vr(number)
    if vr == "SQ":
        return _elements([tag(keyword) for keyword in NESTED], depth - 1) if depth else st.just({})
    return st.sampled_from(_PLAUSIBLE.get(vr, []) + _TEXT) | _characters


@cache
def _element(number: str, depth: int) -> st.SearchStrategy[Any]:
    plausible = st.lists(_value(number, depth) | st.none(), max_size=3)
    return st.fixed_dictionaries({"vr": st.just(_vr(number)), "Value": plausible | _json}) | _json


def _elements(numbers: list[str], depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these tags, each with whatever may stand there."""
    one = st.sampled_from(sorted(numbers)).flatmap(lambda number: st.tuples(st.just(number), _element(number, depth)))
    return st.lists(one, max_size=8).map(dict)


@st.composite
def junk(draw: st.DrawFn) -> dict[str, Any]:
    """DICOM JSON of one of eight instances in two studies, with some elements as they should not be."""
    study, series, instance = draw(st.tuples(*[st.sampled_from("12")] * 3))
    good = dataset(f"1.{study}", f"1.{study}.{series}", f"1.{study}.{series}.{instance}")
    return good | draw(_elements(sorted(MAPPED)))


rules = st.builds(
    Rules,
    st.just(SYSTEM),
    issuers=st.sampled_from([{}, {"HOSP": "https://hospital.example/mrn"}]),
    missing_id=st.sampled_from(MissingId),
    unknown=st.sampled_from(["nobody", "P1"]),
    timezone=st.sampled_from([None, ZoneInfo("Europe/Amsterdam")]),
    accession_system=st.sampled_from(["", "https://hospital.example/accession"]),
    extras=st.frozensets(st.sampled_from(list(Extra))),
    compat=st.booleans(),
)


def _instances(datasets: list[dict[str, Any]]) -> list[tuple[str, Instance]]:
    """The instances of datasets that have their UIDs: without them an archive has no instance."""
    found = []
    for metadata in datasets:
        try:
            found.append(instance_of(select(metadata)))
        except Rejected as error:
            event(error.reason)
    return found


@given(datasets=st.lists(junk(), min_size=1, max_size=4), rules=rules)
def test_law_6_mapping_is_total(datasets: list[dict[str, Any]], rules: Rules) -> None:
    """Any JSON in any mapped attribute gives a valid Bundle and issues that name a tag, and never an exception."""
    bundle, issues = bundle_of(_instances(datasets), rules)
    assert problems(bundle) == []
    assert all(len(issue.tag) == 8 and issue.rule for some in issues.values() for issue in some)


@given(datasets=st.lists(junk(), min_size=1, max_size=4), rules=rules)
def test_law_6_merging_is_total(datasets: list[dict[str, Any]], rules: Rules) -> None:
    """Junk that arrives instance by instance gives valid studies on the way, and at the end what a snapshot gives."""
    held: dict[str, dict[Any, Instance]] = {}
    folded: dict[str, JSON | None] = {}
    for study_uid, instance in _instances(datasets):
        known = held.setdefault(study_uid, {})
        known[instance.key] = instance
        delta = StudyDelta(StudyKey(DICOM_URL, "", study_uid), {instance.key: instance})
        folded[study_uid] = _merged(folded.get(study_uid), delta, rules, known)
        assert folded[study_uid] is None or problems(folded[study_uid]) == []
    for study_uid, known in held.items():
        snapshot = StudyDelta(StudyKey(DICOM_URL, "", study_uid), known, snapshot=True)
        assert folded[study_uid] == _merged(None, snapshot, rules, known)


def _merged(existing: JSON | None, delta: StudyDelta, rules: Rules, archive: dict[Any, Instance]) -> JSON | None:
    """A study after a delta, None if nothing of it can be in FHIR; speakers are read from `archive`."""
    content = draft(existing, delta, rules, "Endpoint/1")
    if content.missing:
        read = {key: archive[key] for key in content.missing}
        content = draft(existing, replace(delta, instances={**delta.instances, **read}), rules, "Endpoint/1")
    assert not content.missing
    if content.speaker is None:
        return None
    links = Links({"reference": "Patient/1"}, "Endpoint/1", DICOM_URL)
    return merge_study(existing, content, delta.key, rules, links, "study")


def _sent(metadata: dict[str, Any]) -> Any:
    """What the embedded archive can send of it: NaN and lone surrogates are no JSON in UTF-8."""
    text = json.dumps(metadata, ensure_ascii=False).encode(errors="replace")
    return json.loads(text, parse_constant=lambda _: None)


@pytest.mark.parametrize("api", ["v1", "v2"])
@given(datasets=st.lists(junk().map(_sent), min_size=1, max_size=4))
def test_law_6_casting_is_total(api: str, datasets: list[dict[str, Any]]) -> None:
    """Junk in an archive parks no study, makes no invalid Bundle, and is not written twice."""
    asyncio.run(_cast(api, datasets))


async def _cast(api: str, datasets: list[dict[str, Any]]) -> None:
    harness = Harness(api=api)
    for study_uid, instance in _instances(datasets):
        # An archive has no other UIDs in its metadata than in its feed.
        uids = {"Study": study_uid, "Series": instance.key.series_uid, "SOP": instance.key.instance_uid}
        known = {tag(f"{level}InstanceUID"): {"vr": "UI", "Value": [uid]} for level, uid in uids.items()}
        harness.archive.store({**(instance.metadata or {}), **known})
    assert set(await harness.cast()) <= {Outcome.CREATED}
    await harness.writes_nothing()
    await harness.close()
