"""A version of FHIR at the edge: what comes back is what was read, whoever wrote it, and what we map is valid there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.dicom import files
from dicomcast.errors import Rejected
from dicomcast.mapping.rules import Rules
from dicomcast.model import Instance
from dicomcast.offline import bundle_of
from dicomcast.versions import R4, R4B, R5, VERSIONS
from tests import judge
from tests.core.test_judge_r5 import ENDPOINT_R5, STUDY_R5
from tests.golden_files import CASES, mapped

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_SCT = "http://snomed.info/sct"
_ACSN = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
_NAMES = (
    "modality bodySite laterality procedure procedureCode reason reasonCode interpreter identifier basedOn partOf "
    "series connectionType payload payloadType payloadMimeType concept reference coding system code display text "
    "extension id type mimeType uid _stood _modality"
).split()
_leaves = (
    st.none()
    | st.booleans()
    | st.integers(0, 3)
    | st.sampled_from([_DCM, _SCT, "CT", "7771000", "419161000", "Left", ""])
)
# Any JSON, of names and values that mean something somewhere.
junk = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4)
)
coding = st.fixed_dictionaries(
    {
        "system": st.sampled_from([_DCM, _SCT, "https://ris.example"]),
        "code": st.sampled_from(["CT", "7771000", "419161000"]),
    },
    optional={"display": st.sampled_from(["CT", "Left", "Unilateral left"]), "extension": st.just([{"url": "u:x"}])},
)
concept = st.fixed_dictionaries(
    {},
    optional={"coding": st.lists(coding, max_size=3), "text": st.just("words"), "extension": st.just([{"url": "u:y"}])},
)
reference = st.just({"reference": "Procedure/1"})
concept_or_reference = st.fixed_dictionaries(
    {}, optional={"concept": concept, "reference": reference, "id": st.just("i")}
)
accession = st.sampled_from([{"type": _ACSN, "value": "A1"}, {"type": _ACSN, "value": "A2"}, {"value": "A1"}])


def _with_junk(**members: Any) -> Any:
    """Objects of these members, each of which may be missing or be junk, and with other members."""
    likely = st.fixed_dictionaries({}, optional={name: one | junk for name, one in members.items()})
    return st.builds(lambda odd, good: odd | good, st.dictionaries(st.sampled_from(_NAMES), junk, max_size=2), likely)


series = _with_junk(modality=concept, bodySite=concept_or_reference, laterality=concept, uid=st.just("1.2"))
study_r5 = _with_junk(
    identifier=st.lists(accession, max_size=3),
    basedOn=st.lists(st.fixed_dictionaries({"identifier": accession}), max_size=2),
    modality=st.lists(concept, max_size=3),
    procedure=st.lists(concept_or_reference, max_size=3),
    reason=st.lists(concept_or_reference, max_size=3),
    series=st.lists(series | junk, max_size=2),
).map(lambda study: study | {"resourceType": "ImagingStudy"})
payload = _with_junk(type=st.lists(concept, max_size=2), mimeType=st.just(["application/dicom"]))
endpoint_r5 = _with_junk(
    connectionType=st.lists(concept, max_size=3), payload=st.lists(payload | junk, max_size=3)
).map(lambda endpoint: endpoint | {"resourceType": "Endpoint"})


def exactly(resource: Any) -> str:
    """As text, where 0 is not false."""
    return json.dumps(resource, sort_keys=True)


@given(study_r5 | endpoint_r5 | junk.map(lambda odd: {"resourceType": "Patient", "name": odd}))
def test_what_was_read_is_written_as_it_was(resource: dict[str, Any]) -> None:
    """Any resource of R5, odd ones too, is the same after it was read and written, and reading changes nothing."""
    before = exactly(resource)
    assert exactly(R5.write(R5.read(resource))) == before
    assert exactly(resource) == before


@given(study_r5, study_r5)
def test_what_is_written_stays_as_it_is(one: dict[str, Any], other: dict[str, Any]) -> None:
    """A study that got elements of another, and that was written, does not differ when it is read again."""
    ours = {
        name: value for name, value in R5.read(other).items() if name in ("modality", "procedureCode", "reasonCode")
    }
    written = R5.write(R5.read(one) | ours)
    seen = R5.read(written)
    assert {name: seen.get(name) for name in ours} == ours
    assert exactly(R5.write(seen)) == exactly(written)


# An R5 study has no interpreter, accession numbers in `basedOn` alone, and the modalities of all series.
_OTHER = ("interpreter", "identifier", "modality")


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    """Each element that we map is the same in R5, read back, as in R4: the golden files hold them all."""
    r4 = [entry["resource"] for entry in CASES[name]["bundle"]["entry"]]
    r5 = [entry["resource"] for entry in mapped(CASES[name], version=R5)["bundle"]["entry"]]
    for before, after in zip(r4, r5, strict=True):
        gone = dict.fromkeys(_OTHER if before["resourceType"] == "ImagingStudy" else ())
        assert {**_seen(R5.read(after)), **gone} == {**before, **gone}


def _datasets() -> Iterator[tuple[str, Instance]]:
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
        with suppress(Rejected):
            yield from [files.instance_of(metadata) for metadata in files.read(path.read_bytes())]


def test_real_files_in_each_version() -> None:
    """What is mapped from the real files that pydicom ships is valid in each version, and is read as it was mapped."""
    instances = list(_datasets())
    assert len(instances) > 50
    bundles = {name: bundle_of(instances, Rules("urn:oid:2.25.1"), version=one)[0] for name, one in VERSIONS.items()}
    assert bundles["4.3"] == bundles["4.0"]
    assert judge.problems(bundles["5.0"], judge.R5) == []
    assert len(bundles["5.0"]["entry"]) > 20
    for before, after in zip(bundles["4.0"]["entry"], bundles["5.0"]["entry"], strict=True):
        gone = dict.fromkeys(_OTHER if "ImagingStudy" in after["request"]["url"] else ())
        assert {**_seen(R5.read(after["resource"])), **gone} == {**before["resource"], **gone}


def _seen(element: dict[str, Any]) -> dict[str, Any]:
    """Without what travels along."""
    bare = {name: value for name, value in element.items() if name != "_stood"}
    return bare | ({"series": [_seen(one) for one in bare["series"]]} if "series" in bare else {})


def test_r4_and_r4b_are_what_is_mapped() -> None:
    """Neither changes a resource."""
    study = {"resourceType": "ImagingStudy", "modality": [{"code": "CT"}]}
    assert [version.write(version.read(study)) is study for version in (R4, R4B)] == [True, True]


@pytest.mark.parametrize(
    ("stated", "number"),
    [("4.0.1", "4.0"), ("4.0.0", "4.0"), ("4.3.0", "4.3"), ("5.0.0", "5.0"), ("5.0", "5.0")]
    + [(other, "") for other in ("", "3.0.2", "4.1.0", "4.30.0", "4.6.0", "50.0", "6.0.0-ballot3", "R4")],
)
def test_which_version_is_spoken(stated: str, number: str) -> None:
    """A fhirVersion is one of ours by its first two numbers."""
    assert "".join(one.number for one in VERSIONS.values() if one.is_spoken(stated)) == number


def changed(resource: dict[str, Any], **ours: Any) -> dict[str, Any]:
    """An R5 resource after these R4 elements of it were changed."""
    return R5.write(R5.read(resource) | ours)


CT, MR = {"system": _DCM, "code": "CT"}, {"system": _DCM, "code": "MR"}
LOCAL = {"system": "https://ris.example", "code": "7"}


def test_study_modality() -> None:
    """Each concept is its DICOM coding; one that gets a display keeps what else it says, one that is new is alone."""
    study = {"resourceType": "ImagingStudy", "modality": [{"text": "scan", "coding": [LOCAL, CT]}, {"coding": [MR]}]}
    assert R5.read(study)["modality"] == [CT, MR]
    shown = CT | {"display": "Computed Tomography"}
    assert changed(study, modality=[shown, {"system": _DCM, "code": "US"}])["modality"] == [
        {"text": "scan", "coding": [LOCAL, shown]},
        {"coding": [{"system": _DCM, "code": "US"}]},
    ]


def test_series_modality_of_another_code() -> None:
    """What translated the old code goes with it; an id and extensions stay."""
    noted = {"id": "m", "extension": [{"url": "u:x", "valueBoolean": True}]}
    before = {"uid": "1", "modality": noted | {"text": "scan", "coding": [CT, LOCAL]}}
    study = {"resourceType": "ImagingStudy", "series": [before]}
    seen = R5.read(study)
    seen["series"][0]["modality"] = MR
    assert R5.write(seen)["series"] == [{"uid": "1", "modality": noted | {"coding": [MR]}}]


@pytest.mark.parametrize(
    ("r4", "r5"),
    [
        (("419161000", "Unilateral left"), ("7771000", "Left")),
        (("419465000", "Unilateral right"), ("24028007", "Right")),
        (("51440002", "Bilateral"), ("51440002", "Bilateral")),
        (("419161000", "links"), ("7771000", "links")),
    ],
)
def test_laterality(r4: tuple[str, str], r5: tuple[str, str]) -> None:
    """Each version has its own codes for a side; a display of somebody's own stays."""
    one, other = ({"system": _SCT, "code": code, "display": display} for code, display in (r4, r5))
    written = R5.write({"resourceType": "ImagingStudy", "series": [{"laterality": one}]})
    assert written["series"] == [{"laterality": {"coding": [other]}}]
    assert R5.read(written)["series"][0]["laterality"] == one


def test_body_site() -> None:
    """A code is a coding, words are a text, and a BodyStructure that others refer to stays."""
    chest = {"system": _SCT, "code": "816094009", "display": "Chest"}
    place = {"reference": {"reference": "BodyStructure/1"}}
    for coding, concept in ((chest, {"coding": [chest]}), ({"display": "WHOLE"}, {"text": "WHOLE"})):
        study = {"resourceType": "ImagingStudy", "series": [{"bodySite": coding}]}
        assert R5.write(study)["series"] == [{"bodySite": {"concept": concept}}]
        assert R5.read(R5.write(study))["series"][0]["bodySite"] == coding
    seen = R5.read({"resourceType": "ImagingStudy", "series": [{"bodySite": place | {"concept": {"text": "lung"}}}]})
    assert R5.write(seen | {"series": [seen["series"][0] | {"bodySite": chest}]})["series"] == [
        {"bodySite": place | {"concept": {"coding": [chest]}}}
    ]
    del seen["series"][0]["bodySite"]
    assert R5.write(seen)["series"] == [{"bodySite": place}]


@pytest.mark.parametrize(("r4", "r5"), [("procedureCode", "procedure"), ("reasonCode", "reason")])
def test_concepts_beside_references(r4: str, r5: str) -> None:
    """Concepts are ours to change; items that refer to a resource stay, whatever concept they also name."""
    theirs = [{"reference": {"reference": "X/1"}}, {"concept": {"text": "old"}, "reference": {"reference": "X/2"}}]
    kept = {"concept": {"text": "kept"}, "extension": [{"url": "u:x", "valueBoolean": True}]}
    study = {"resourceType": "ImagingStudy", r5: [theirs[0], kept, {"concept": {"text": "old"}}, theirs[1]]}
    assert R5.read(study)[r4] == [{"text": "kept"}, {"text": "old"}]
    assert changed(study, **{r4: [{"text": "new"}, {"text": "kept"}]})[r5] == [
        {"concept": {"text": "new"}},
        kept,
        *theirs,
    ]
    without = {name: value for name, value in R5.read(study).items() if name != r4}
    assert R5.write(without)[r5] == theirs


def test_accession_number() -> None:
    """Ours stands in `basedOn` alone; an identifier that others wrote stays, and so does one of no request."""
    uid, ours, other = {"value": "urn:oid:1.2"}, {"type": _ACSN, "value": "A1"}, {"type": _ACSN, "value": "A2"}
    study = {"resourceType": "ImagingStudy", "identifier": [uid, ours, other], "basedOn": [{"identifier": ours}]}
    assert R5.write(study)["identifier"] == [uid, other]
    assert changed(study, basedOn=[{"identifier": other}, {"identifier": ours}])["identifier"] == [uid, ours, other]
    new = {"type": _ACSN, "value": "A3"}
    requests = [{"identifier": one} for one in (ours, other, new)]
    assert changed(study, identifier=[uid, ours, new], basedOn=requests)["identifier"] == [uid, ours]


def test_endpoint() -> None:
    """What R4 says in three elements is the known type of connection and the first payload; the others stay."""
    known = ENDPOINT_R5["connectionType"]
    other = {"text": "a cable"}
    first, second = {"id": "p", "type": [{"text": "x"}], "mimeType": ["a/b"]}, {"type": [{"text": "y"}]}
    resource = ENDPOINT_R5 | {"connectionType": [other, *known], "payload": [first, second]}
    seen = R5.read(resource)
    assert (seen["connectionType"], seen["payloadType"], seen["payloadMimeType"]) == (
        known[0]["coding"][0],
        [{"text": "x"}],
        ["a/b"],
    )
    after = changed(resource, payloadMimeType=["application/dicom"])
    assert after["payload"] == [first | {"mimeType": ["application/dicom"]}, second]
    assert after["connectionType"] == [other, *known]
    assert changed(resource, connectionType={"system": "u:s", "code": "c"})["connectionType"] == [
        {"coding": [{"system": "u:s", "code": "c"}]},
        other,
    ]


def test_interpreter_and_names_of_r4() -> None:
    """R5 has no interpreter, so none is written; what others wrote under a name of R4 is theirs."""
    assert "interpreter" not in R5.write({"resourceType": "ImagingStudy", "interpreter": [{"display": "Rick Roe"}]})
    odd = STUDY_R5 | {"procedureCode": "odd", "interpreter": 1, "_stood": {"modality": 1}}
    assert changed(odd, interpreter=[{"display": "Rick Roe"}], procedureCode=[{"text": "new"}]) == odd | {
        "procedure": [{"concept": {"text": "new"}}, *STUDY_R5["procedure"][1:]]
    }
