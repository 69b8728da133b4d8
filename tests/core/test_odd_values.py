"""Values that a validator refuses are met in real metadata: what becomes of each (regressions of the judge's finds)."""

from __future__ import annotations

from typing import Any

import pytest

from dicomcast.dicom.entries import entry
from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.instance import INSTANCE
from dicomcast.mapping.rows import Facts
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.tags import tag
from dicomcast.mapping.values import fhir_date, issuer, study_identifier
from dicomcast.model import Instance, InstanceKey, Outcome, StudyDelta, StudyKey
from dicomcast.offline import bundle_of
from tests.harness import SYSTEM, Harness, dataset
from tests.judge import problems

ABSENT = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}


def _dataset(**attributes: Any) -> Dataset:
    return Dataset(dataset("1.2", "1.2.1", "1.2.1.1", **attributes))


@pytest.mark.parametrize(
    ("uid", "value"),
    [
        ("1.2.840.0", "urn:oid:1.2.840.0"),
        ("1.2.03", "1.2.03"),
        ("1.2.x", "1.2.x"),
        ("3.1", "3.1"),
        ("1.1\u0663", "1.1\u0663"),
        ("1", "1"),
        ("urn:oid:1.2", "urn%3Aoid%3A1.2"),
        ("urn:oid:01.2", "urn%3Aoid%3A01.2"),
    ],
)
def test_study_uid_that_is_no_oid_stands_as_it_is(uid: str, value: str) -> None:
    """A urn:oid: before what is no OID would be no URI; the identifier stays one, and the same each time."""
    assert study_identifier(uid) == {"use": "official", "system": "urn:dicom:uid", "value": value}


async def test_study_whose_uid_is_no_oid_is_found_again() -> None:
    """A StudyInstanceUID that is no OID is looked up, kept up, replayed and deleted like any other."""
    harness = Harness()
    for uid in ("1.2.03", "study-x"):
        harness.put(uid, f"{uid}.1", f"{uid}.1.1", PatientID=None)
    assert await harness.cast() == {Outcome.CREATED: 2}
    await harness.writes_nothing("1.2.03", "study-x")
    assert {one["identifier"][0]["value"] for one in harness.studies()} == {"1.2.03", "study-x"}
    harness.archive.delete("Microsoft.Default", "1.2.03")
    assert await harness.cast() == {Outcome.DELETED: 1}
    assert harness.study()["identifier"][0]["value"] == "study-x"
    await harness.close()


@pytest.mark.parametrize(
    ("uid", "sop_class", "rule"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"}, ""),
        ("1.2.840.010008", {"display": "1.2.840.010008"}, "not-a-uid"),
        ("CT Image", {"display": "CT Image"}, "not-a-uid"),
        (None, ABSENT, "missing"),
    ],
)
def test_sop_class_is_never_missing(uid: str | None, sop_class: dict[str, Any], rule: str) -> None:
    """`sopClass` is 1..1: what is no UID is only displayed, and its absence is stated."""
    metadata = _dataset(SOPClassUID=uid)
    assert INSTANCE.elements(Facts(metadata, Rules("")))["sopClass"] == sop_class
    assert [issue.rule for issue in metadata.issues] == ([rule] if rule else [])


@pytest.mark.parametrize(
    ("series", "instance"), [("1.2.1", "1." * 32 + "1"), ("1_2_1", "1.2.1.9"), ("1.2.1", "1.2.1/9")]
)
def test_instance_whose_uid_is_no_id_is_left_out(series: str, instance: str) -> None:
    """An instance that FHIR cannot list is an issue, and does not cost the study the others."""
    uids = [("1.2.1", "1.2.1.1"), (series, instance)]
    instances = [("1.2", Instance(InstanceKey(*two), dataset("1.2", *two))) for two in uids]
    bundle, issues = bundle_of(instances, Rules(SYSTEM))
    assert problems(bundle) == []
    (study,) = (one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "ImagingStudy")
    assert (study["series"][0]["uid"], study["numberOfInstances"]) == ("1.2.1", 1)
    assert [issue.rule for some in issues.values() for issue in some] == ["not-an-id"]


def test_study_of_which_nothing_can_be_listed_makes_an_empty_bundle() -> None:
    """Nothing to write is a Bundle without `entry`: FHIR knows no empty arrays."""
    instance = Instance(InstanceKey("1.2.1", "x y"), dataset("1.2", "1.2.1", "x y"))
    bundle, issues = bundle_of([("1.2", instance)], Rules(SYSTEM))
    assert bundle == {"resourceType": "Bundle", "type": "transaction"}
    assert [issue.tag for issue in issues["1.2"]] == [tag("SOPInstanceUID")]


async def test_study_that_is_gone_before_it_was_read_is_skipped() -> None:
    """Where the feed had no metadata and the archive has none any more, no study without instances is written."""
    harness = Harness()
    await harness.open()
    key = InstanceKey("1.2.1", "1.2.1.1")
    delta = StudyDelta(StudyKey(harness.feed.source, "", "1.2"), {key: Instance(key, None)})
    assert await harness.caster.cast(delta) is Outcome.SKIPPED
    assert harness.studies() == []
    await harness.close()


@pytest.mark.parametrize(
    ("kind", "universal", "system"),
    [
        ("ISO", "1.2.3", "urn:oid:1.2.3"),
        ("ISO", "1.2.03", ""),
        ("ISO", "1.2\u0663", ""),
        ("URI", "urn:oid:1.2.3", "urn:oid:1.2.3"),
        ("URI", "urn:oid:01.2", ""),
        ("URI", "urn:uuid:1", ""),
        ("URI", "https://hospital.example/mrn", "https://hospital.example/mrn"),
    ],
)
def test_issuer_that_is_no_urn_is_no_system(kind: str, universal: str, system: str) -> None:
    """A system is a legal URI or is not there; the issuer's name is kept as its display."""
    values = {tag("UniversalEntityID"): universal, tag("UniversalEntityIDType"): kind}
    item = Dataset({number: {"vr": "UT", "Value": [value]} for number, value in values.items()})
    assert issuer(item, {}) == (system, "" if system else universal)


def test_page_breaks_are_line_breaks() -> None:
    """DICOM text may hold FF, FHIR strings may not."""
    assert _dataset(StudyDescription="\x0cone\x0ctwo\x0c").text(tag("StudyDescription")) == "one\ntwo"


@pytest.mark.parametrize("date", ["1\u0660\u0660\u0660", "1\u0660\u0660\u066001"])
def test_year_in_other_digits_is_no_date(date: str) -> None:
    """Digits of another script make no FHIR date."""
    metadata = _dataset(PatientBirthDate=date)
    assert fhir_date(metadata, "PatientBirthDate") == ""
    assert [issue.rule for issue in metadata.issues] == ["not-a-date"]


def test_uids_of_the_feed_are_clean() -> None:
    """Padding does not get into a UID; what cannot be sent to a server (a lone surrogate) is none."""
    row = {
        "sequence": 1,
        "timestamp": "2026-01-01T00:00:00Z",
        "studyInstanceUid": " 1.2\x00 ",
        "seriesInstanceUid": "1.2\ud83d",
        "state": "current",
    }
    assert (entry(row).study_uid, entry(row).series_uid) == ("1.2", "")
