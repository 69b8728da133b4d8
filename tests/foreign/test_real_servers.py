"""The installed command line against FHIR servers that are not ours: their differences must not show."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pydicom
import pytest
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from tests.servers import SERVERS, Server, require
from tests.servers.site import JSON, Site, site_at

pytestmark = pytest.mark.long

DICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"

Uids = tuple[str, str, str]


def store_real_files(site: Site) -> dict[Uids, str]:
    """Store what pydicom ships, under UIDs of this test; answers the PatientID of each instance the archive took."""
    stored = {}
    for path in sorted(DICOM_FILES.glob("*.dcm")):
        try:
            dataset = dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:
            continue
        if not dataset.get("StudyInstanceUID") or not dataset.get("SeriesInstanceUID"):
            continue
        dataset.StudyInstanceUID = site.uid(dataset.StudyInstanceUID)
        dataset.SeriesInstanceUID = site.uid(dataset.SeriesInstanceUID)
        dataset.SOPInstanceUID = site.uid(path.name)  # some files are one image in several encodings
        if site.archive.store_dataset(dataset) == 0:
            uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
            stored[uids] = str(dataset.PatientID)
    return stored


def study_uid(study: JSON) -> str:
    """The StudyInstanceUID of an ImagingStudy."""
    (uid,) = (one["value"] for one in study["identifier"] if one.get("system") == "urn:dicom:uid")
    return str(uid).removeprefix("urn:oid:")


def uids_of(studies: list[JSON]) -> list[Uids]:
    """What ImagingStudies list, down to the instance."""
    return [
        (study_uid(study), series["uid"], instance["uid"])
        for study in studies
        for series in study["series"]
        for instance in series["instance"]
    ]


def test_real_files_arrive(site: Site) -> None:
    """Each instance is listed once, counts are right, and every reference leads to what it should."""
    stored = store_real_files(site)
    assert len(stored) > 50
    site.run()
    studies = site.studies()
    assert sorted(uids_of(studies)) == sorted(stored)
    (endpoint,) = site.endpoints()
    assert endpoint["address"].startswith(site.source)
    patient_ids = defaultdict(set)
    for (uid, _, _), patient_id in stored.items():
        patient_ids[uid].add(patient_id)
    for study in studies:
        assert study["numberOfSeries"] == len(study["series"])
        assert study["numberOfInstances"] == sum(len(series["instance"]) for series in study["series"])
        assert all(series["numberOfInstances"] == len(series["instance"]) for series in study["series"])
        assert site.read(study["endpoint"][0]["reference"]).json() == endpoint
        patient = site.read(study["subject"]["reference"]).json()
        assert patient["resourceType"] == "Patient"
        (identifier,) = patient["identifier"]
        if identifier["system"] == site.system:
            assert identifier["value"] in patient_ids[study_uid(study)]
        else:
            assert identifier["value"] == f"urn:oid:{study_uid(study)}" and "" in patient_ids[study_uid(study)]
    referred = {study["subject"]["reference"] for study in studies}
    assert referred == {f"Patient/{one['id']}" for one in site.patients()}


@pytest.mark.parametrize("real_server", SERVERS, indirect=True)
def test_second_run_and_replays_write_nothing(site: Site) -> None:
    """No resource gets a new version from a run with nothing new, a replay of the feed, or of a study."""
    stored = store_real_files(site)
    site.run()
    versions = site.versions()
    uids = {study for study, _, _ in stored}
    studies = [word for uid in uids for word in ("--replay-study", uid)]
    # Studies, then entries, once more; then the feed is followed from the cursor, where nothing is new.
    assert site.run("--replay-from", "1", *studies) == f"{2 * len(uids)} unchanged; 0 parked now"
    assert site.versions() == versions


def test_life_of_a_study(site: Site) -> None:
    """Created, corrected, grown, shrunk, deleted and created again: FHIR follows, and the Patient stays."""
    site.api = "v2"
    site.put("A", "1", "1", StudyDescription="Chest")
    site.put("A", "1", "2", StudyDescription="Chest")
    site.put("A", "2", "1", StudyDescription="Chest")
    assert site.run() == "1 created; 0 parked now"
    study = site.study("A")
    assert (study["numberOfSeries"], study["numberOfInstances"], study["description"]) == (2, 3, "Chest")

    change = {"00081030": {"vr": "LO", "Value": ["Chest, corrected"]}}
    site.archive.bulk_update("Microsoft.Default", [site.uid("A")], change)
    assert site.run() == "1 updated; 0 parked now"
    corrected = site.study("A")
    assert corrected == study | {"description": "Chest, corrected", "meta": corrected["meta"]}
    assert corrected["meta"]["versionId"] != study["meta"]["versionId"]

    site.put("A", "1", "3", StudyDescription="Chest, corrected")
    site.put("A", "1", "4", StudyDescription="Chest, corrected")
    site.delete("A", "1", "1")
    assert site.run() == "1 updated; 0 parked now"
    first, second = series_of(site, "A", "1", "2")
    assert {one["uid"] for one in first["instance"]} == {site.uid(f"A.1.{number}") for number in (2, 3, 4)}
    assert [one["uid"] for one in second["instance"]] == [site.uid("A.2.1")]

    site.delete("A", "1")
    assert site.run() == "1 updated; 0 parked now"
    (left,) = site.study("A")["series"]
    assert left["uid"] == site.uid("A.2") and site.study("A")["numberOfInstances"] == 1

    site.delete("A")
    assert site.run() == "1 deleted; 0 parked now"
    assert site.named("A") == []
    assert site.read(f"ImagingStudy/{study['id']}").status_code in (404, 410)
    assert site.read(study["subject"]["reference"]).status_code == 200

    site.put("A", "1", "1", StudyDescription="Chest")
    assert site.run() == "1 created; 0 parked now"
    again = site.study("A")
    assert (again["numberOfInstances"], again["subject"]) == (1, study["subject"])
    assert len(site.patients()) == 1


def series_of(site: Site, study: str, *names: str) -> list[JSON]:
    """The series of a study, by their short names."""
    series = {one["uid"]: one for one in site.study(study)["series"]}
    assert len(series) == len(names)
    return [series[site.uid(f"{study}.{name}")] for name in names]


@pytest.mark.parametrize("real_server", SERVERS, indirect=True)
def test_changed_patient_id_points_the_study_elsewhere(site: Site) -> None:
    """The study gets the Patient of its new PatientID; the old one stays, and the newest study left speaks for it."""
    for study, date, name in (("A", "20240301", "New"), ("B", "20240201", "Middle"), ("C", "20240101", "Old")):
        site.put(study, "1", "1", PatientID="P1", StudyDate=date, PatientName=name)
    assert site.run() == "3 created; 0 parked now"
    (old,) = site.patients()
    assert old["name"][0]["family"] == "New"
    site.archive.bulk_update("Microsoft.Default", [site.uid("A")], {"00100020": {"vr": "LO", "Value": ["P2"]}})
    assert site.run() == "1 updated; 0 parked now"
    subject = site.study("A")["subject"]
    assert subject["identifier"] == {"system": site.system, "value": "P2"}
    new = site.read(subject["reference"]).json()
    assert new["identifier"][0]["value"] == "P2" and new["name"][0]["family"] == "New"
    left = site.read(f"Patient/{old['id']}").json()
    assert left["identifier"] == old["identifier"] and left["name"][0]["family"] == "Middle"
    assert {site.read(site.study(study)["subject"]["reference"]).json()["id"] for study in "BC"} == {old["id"]}
    assert len(site.patients()) == 2


def test_patient_ids_match_exactly(site: Site) -> None:
    """Characters with a meaning in searches, forms or URLs neither widen a match nor lose it."""
    odd = ["a,b", "a|b", "a$b", "a\\b", "a&b", "a#b", "a+b", "a b", "a%2Cb", "a=b", "a*", "a,", "ä", "a", "b", "A"]
    for number, value in enumerate(odd):
        site.put(f"S{number}", "1", "1", PatientID=value, InstanceNumber=2)
    assert site.run() == f"{len(odd)} created; 0 parked now"
    assert sorted(one["identifier"][0]["value"] for one in site.patients()) == sorted(odd)
    versions = site.versions()
    for number, value in enumerate(odd):
        study = site.study(f"S{number}")
        patient = site.read(study["subject"]["reference"]).json()
        assert study["subject"]["identifier"]["value"] == patient["identifier"][0]["value"] == value
        site.put(f"S{number}", "1", "2", PatientID=value, InstanceNumber=1)  # speaks for the study from now on
    assert site.run() == f"{len(odd)} updated; 0 parked now"
    after = site.versions()
    assert after.keys() == versions.keys()
    assert {name.partition("/")[0] for name in after if after[name] != versions[name]} == {"ImagingStudy"}


def test_same_uid_in_two_partitions_is_two_studies(real_server: str, tmp_path: Path) -> None:
    """Two partitions may hold the same StudyInstanceUID: what happens in one is no matter of the other."""
    with site_at(real_server, tmp_path, partitions=True) as site:
        site.put("A", "1", "1", "north", PatientID="N1")
        site.put("A", "1", "1", "south", PatientID="S1")
        site.put("A", "1", "2", "south", PatientID="S1")
        assert site.run() == "2 created; 0 parked now"
        counts = {one["meta"]["source"].rpartition("/")[2]: one["numberOfInstances"] for one in site.named("A")}
        assert counts == {"north": 1, "south": 2}
        assert len(site.endpoints()) == 2
        versions = site.versions()
        site.delete("A", partition="north")
        assert site.run() == "1 deleted; 0 parked now"
        assert site.study("A")["meta"]["source"].endswith("/partitions/south")
        after = site.versions()
        assert {name.partition("/")[0] for name in after if after[name] != versions[name]} == {"Patient"}


def test_study_of_several_hundred_instances(site: Site) -> None:
    """A large study is one ImagingStudy, also when it grows in the middle and loses a part."""
    for number in range(1, 451):
        site.put("A", str(number % 3), str(number), SeriesNumber=number % 3 + 1, InstanceNumber=number)
    assert site.run() == "1 created; 0 parked now"
    study = site.study("A")
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (3, 450)
    assert len(set(uids_of([study]))) == 450
    site.delete("A", "1")
    site.put("A", "2", "700", SeriesNumber=3, InstanceNumber=0)
    assert site.run() == "1 updated; 0 parked now"
    study = site.study("A")
    assert [series["numberOfInstances"] for series in study["series"]] == [150, 151]
    assert study["series"][1]["instance"][0]["uid"] == site.uid("A.2.700")


def test_more_studies_than_a_page_or_a_bundle(site: Site) -> None:
    """A window of 110 studies of 60 Patients: all are made, and all are found again."""
    for number in range(110):
        site.put(f"S{number}", "1", "1", PatientID=f"P{number % 60}", StudyDate="20240102")
    assert site.run() == "110 created; 0 parked now"
    assert len(site.studies()) == 110 and len(site.patients()) == 60
    versions = site.versions()
    assert site.run("--replay-from", "1") == "110 unchanged; 0 parked now"
    assert site.versions() == versions
    for number in range(110):
        site.delete(f"S{number}")
    assert site.run() == "110 deleted; 0 parked now"
    assert site.studies() == [] and len(site.patients()) == 60


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_missing_server_fails_in_ci_and_skips_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    """Nobody takes tests for passed that did not run."""
    monkeypatch.setenv("CI", ci)
    server = Server("nobody", tmp_path / "not-there", lambda port, folder: [])
    with pytest.raises(outcome, match="make servers"):
        require(server)
