"""The main job on the embedded servers, and the predecessor's regressions (named after what they guard)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from dicomcast.errors import ConfigError, SourceReset
from dicomcast.grouping import group
from dicomcast.model import Action, Entry, EntryState, Outcome
from tests.harness import DICOM_URL, SR, SYSTEM, Harness, dataset

pytestmark = pytest.mark.parametrize("harness", ["v1", "v2"], indirect=True)


@pytest.fixture
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    harness = Harness(api=getattr(request, "param", "v1"))
    yield harness
    await harness.close()


async def test_a_study_arrives(harness: Harness) -> None:
    """Instances become one ImagingStudy with its Patient and Endpoint, counted."""
    for number in (1, 2, 3):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}", InstanceNumber=number, PatientName="Doe^Jane")
    assert await harness.cast() == {Outcome.CREATED: 1}
    study = harness.study()
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (1, 3)
    assert study["modality"][0]["code"] == "CT"
    assert study["subject"]["identifier"] == {"system": SYSTEM, "value": "P1"}
    assert harness.patients()[0]["name"][0]["family"] == "Doe"
    assert harness.store.resources("Endpoint")[0]["address"].startswith(DICOM_URL)


async def test_a_burst_of_one_study_is_one_lookup_and_one_transaction(harness: Harness) -> None:
    """Work is per study: 2,000 instances take as many FHIR requests as one."""
    for number in range(2000):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}")
    await harness.cast()
    assert harness.study()["numberOfInstances"] == 2000
    # Capabilities; one search for studies and one for Patients; the Endpoint looked for, by identifier, by id and by
    # the name that DICOM Cast's had, and made; the study.
    assert harness.fhir.requests == 8


async def test_a_second_run_and_a_replay_write_nothing(harness: Harness) -> None:
    """Law 1: no second version is written when nothing changed."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    await harness.writes_nothing("1.2")


async def test_last_instance_deletes_the_study_we_created(harness: Harness) -> None:
    """When the last instance goes the ImagingStudy goes; the Patient stays (predecessor #391)."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    harness.archive.delete("Microsoft.Default", "1.2")
    assert await harness.cast() == {Outcome.DELETED: 1}
    assert harness.studies() == []
    assert len(harness.patients()) == 1


async def test_foreign_study_is_adopted_emptied_and_kept(harness: Harness) -> None:
    """What others created is merged into and never deleted; their content stays (predecessor #391)."""
    harness.store.put({"resourceType": "Patient", "id": "ehr"})
    foreign = {
        "resourceType": "ImagingStudy",
        "id": "theirs",
        "meta": {"source": "https://other.example/app"},
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2"}],
        "status": "available",
        "subject": {"reference": "Patient/ehr"},
        "note": [{"text": "written by hand"}],
    }
    harness.store.put(foreign)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    assert await harness.cast() == {Outcome.UPDATED: 1}
    assert harness.study()["id"] == "theirs"
    assert harness.study()["numberOfInstances"] == 1
    harness.archive.delete("Microsoft.Default", "1.2")
    await harness.cast()
    assert harness.study()["id"] == "theirs"
    assert harness.study()["note"] == [{"text": "written by hand"}]
    assert harness.study()["meta"]["source"] == "https://other.example/app"
    assert "series" not in harness.study()


async def test_several_foreign_matches_are_parked(harness: Harness) -> None:
    """Several matches are a reason to park the study, not to crash (predecessor #1908); the rest goes on."""
    harness.store.put({"resourceType": "Patient", "id": "ehr"})
    for name in ("one", "two"):
        harness.store.put(
            {
                "resourceType": "ImagingStudy",
                "id": name,
                "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2"}],
                "status": "available",
                "subject": {"reference": "Patient/ehr"},
            }
        )
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.3", "1.3.1", "1.3.1.1")
    assert await harness.cast() == {Outcome.PARKED: 1, Outcome.CREATED: 1}
    (row,) = await harness.state.parked(harness.feed.source)
    assert (row.key.study_uid, row.reason) == ("1.2", "multiple-match")


async def test_create_entry_of_a_deleted_instance_is_skipped(harness: Harness) -> None:
    """An instance that is gone before we looked makes no resource (predecessor #377)."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.archive.delete("Microsoft.Default", "1.2")
    assert await harness.cast() == {Outcome.SKIPPED: 1}
    assert harness.studies() == []


async def test_replaced_delete_never_removes(harness: Harness) -> None:
    """Create, delete, create: the Delete row is Replaced and must not remove the new instance."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.2", "1.2.1", "1.2.1.1", StudyDescription="again")
    await harness.cast()
    assert harness.study()["numberOfInstances"] == 1
    assert harness.study()["description"] == "again"


async def test_bulk_update_changes_the_patient_of_a_study(harness: Harness) -> None:
    """A changed PatientID re-points the study; the old Patient is kept (predecessor: subject set only on create)."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    change = {"00100020": {"vr": "LO", "Value": ["P2"]}}
    harness.archive.bulk_update("Microsoft.Default", ["1.2"], change)
    assert await harness.cast() == {Outcome.UPDATED: 1}
    assert harness.study()["subject"]["identifier"]["value"] == "P2"
    assert len(harness.patients()) == 2


async def test_study_uid_in_two_partitions_is_two_studies(harness: Harness) -> None:
    """The same StudyInstanceUID in two partitions is two studies; a delete in one leaves the other."""
    partitioned = Harness(api=harness.api, partitions=True)
    partitioned.put("1.2", "1.2.1", "1.2.1.1", "north")
    partitioned.put("1.2", "1.2.1", "1.2.1.1", "south")
    assert await partitioned.cast() == {Outcome.CREATED: 2}
    partitioned.archive.delete("north", "1.2")
    assert await partitioned.cast() == {Outcome.DELETED: 1}
    assert partitioned.study()["meta"]["source"].endswith("/partitions/south")
    await partitioned.close()


async def test_patient_identifiers_match_exactly(harness: Harness) -> None:
    """Characters with a meaning in FHIR search or in forms do not widen a match or lose it."""
    odd = ["a,b", "a|b", "a$b", "a\\b", "a&b", "a#b", "a+b", "a", "b"]
    for number, value in enumerate(odd):
        harness.put(f"1.2.{number}", f"1.2.{number}.1", f"1.2.{number}.1.1", PatientID=value)
    await harness.cast()
    assert sorted(one["identifier"][0]["value"] for one in harness.patients()) == sorted(odd)
    await harness.writes_nothing(*(f"1.2.{number}" for number in range(len(odd))))


async def test_speaker_leaves_and_the_next_one_speaks(harness: Harness) -> None:
    """When the instance that speaks for the study is deleted, the next one's metadata is read."""
    harness.put("1.2", "1.2.1", "1.2.1.1", InstanceNumber=1, StudyDescription="first")
    harness.put("1.2", "1.2.1", "1.2.1.2", InstanceNumber=2, StudyDescription="second")
    await harness.cast()
    assert harness.study()["description"] == "first"
    harness.archive.delete("Microsoft.Default", "1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    assert harness.study()["description"] == "second"


async def test_document_does_not_speak_for_images(harness: Harness) -> None:
    """An SR that arrives later with a date of its own does not change when the study started."""
    harness.put("1.2", "1.2.1", "1.2.1.1", SeriesNumber=5)
    await harness.cast()
    harness.put("1.2", "1.2.2", "1.2.2.1", SeriesNumber=1, SOPClassUID=SR, Modality="SR", StudyDate="20250101")
    await harness.cast()
    assert harness.study()["started"] == "2024-01-02"
    assert [one["code"] for one in harness.study()["modality"]] == ["CT"]


async def test_patient_follows_the_newest_study(harness: Harness) -> None:
    """A Patient that we created has the name of the newest study, whatever the order; a replay flips nothing."""
    harness.put("1.2", "1.2.1", "1.2.1.1", StudyDate="20240301", PatientName="New")
    harness.put("1.3", "1.3.1", "1.3.1.1", StudyDate="20240101", PatientName="Old")
    await harness.cast()
    assert harness.patients()[0]["name"][0]["text"] == "New"
    await harness.synchronizer.replay_studies(["1.3"])
    assert harness.patients()[0]["name"][0]["text"] == "New"
    harness.archive.delete("Microsoft.Default", "1.2")
    await harness.cast()
    assert harness.patients()[0]["name"][0]["text"] == "Old"


async def test_patient_of_an_ehr_is_left_alone(harness: Harness) -> None:
    """A Patient that others own is referred to and not written (law 4)."""
    theirs = {
        "resourceType": "Patient",
        "id": "ehr",
        "identifier": [{"system": SYSTEM, "value": "P1"}],
        "gender": "male",
    }
    harness.store.put(theirs)
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientSex="F", PatientName="Doe")
    await harness.cast()
    assert harness.study()["subject"]["reference"] == "Patient/ehr"
    assert harness.store.versions("Patient", "ehr") == 1


async def test_missing_patient_id_gets_a_surrogate(harness: Harness) -> None:
    """A study without PatientID is not lost (predecessor #3235)."""
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientID=None)
    await harness.cast()
    assert harness.patients()[0]["identifier"][0]["system"] == "urn:dicom:uid"


async def test_sequence_gap_is_no_end_of_the_feed(harness: Harness) -> None:
    """A gap of 10,000 sequences does not stop the feed (predecessor #2712)."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    harness.archive.skip_sequences(10_000)
    harness.put("1.3", "1.3.1", "1.3.1.1")
    await harness.cast()
    assert len(harness.studies()) == 2


async def test_late_commit_is_not_lost(harness: Harness) -> None:
    """A row that becomes visible after a later one was read is read all the same."""
    harness.archive.hold(1)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.3", "1.3.1", "1.3.1.1")
    harness.now -= timedelta(minutes=4, seconds=50)
    await harness.cast()
    harness.archive.release()
    await harness.cast()
    assert len(harness.studies()) == 2


async def test_recreated_source_is_refused(harness: Harness) -> None:
    """A feed that ends behind the cursor is another archive: nothing is written, exit 78."""
    for number in range(3):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}")
    await harness.cast()
    harness.archive.reset()
    with pytest.raises(SourceReset):
        await harness.cast()


async def test_corrupt_metadata_parks_its_study_alone(harness: Harness) -> None:
    """One bad blob fails a whole page of the feed: the page is read without metadata, one study parked."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.3", "1.3.1", "1.3.1.1")
    harness.archive.poison("1.2", "1.2.1", "1.2.1.1", kind="corrupt")
    outcomes = await harness.cast()
    assert outcomes == {Outcome.PARKED: 1, Outcome.CREATED: 1}


async def test_later_entries_of_a_parked_study_fold_into_its_row(harness: Harness) -> None:
    """Law 3: a parked study's later entries wait with it, and its retry casts a snapshot."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.archive.poison("1.2", "1.2.1", "1.2.1.1", kind="corrupt")
    await harness.cast()
    harness.put("1.2", "1.2.1", "1.2.1.2")
    assert await harness.cast(timedelta(seconds=45)) == {Outcome.PARKED: 1}
    (row,) = await harness.state.parked(harness.feed.source)
    assert row.first_sequence < row.last_sequence and row.attempts == 1
    harness.archive.heal("1.2", "1.2.1", "1.2.1.1")
    harness.now += timedelta(minutes=1)
    assert [cast.outcome for cast in await harness.synchronizer.retry_parked()] == [Outcome.CREATED]
    assert harness.study()["numberOfInstances"] == 2
    assert await harness.state.parked(harness.feed.source) == []


async def test_deletes_beside_multiple_matches_do_not_crash(harness: Harness) -> None:
    """A Delete entry has no metadata; the path that parks must not need it (predecessor #1908)."""
    await harness.open()
    casts = await harness.synchronizer.replay_studies(["9.9"])
    assert [cast.outcome for cast in casts] == [Outcome.SKIPPED]


async def test_wrong_fhir_version_is_refused(harness: Harness) -> None:
    """A server of another FHIR version is a configuration error that names the setting (predecessor #439)."""
    stu3 = Harness(version="3.0.2")
    with pytest.raises(ConfigError, match="FHIR__URL"):
        await stu3.open()
    await stu3.close()


async def test_metadata_of_another_instance_is_parked(harness: Harness) -> None:
    """An entry whose metadata belongs to another instance is not cast."""
    entry = Entry(7, "", "1.2", "1.2.1", "1.2.1.1", Action.CREATE, EntryState.CURRENT, "", dataset("1.2", "1.2.1", "9"))
    (delta,) = group("s", [entry])
    assert "entry 7" in delta.fault


async def test_a_replay_of_a_part_makes_no_part_of_a_study(harness: Harness) -> None:
    """A study that is not in FHIR is read whole, where the entries at hand may not be all of it."""
    for number in (1, 2, 3):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}")
    await harness.cast()
    harness.store.delete("ImagingStudy", harness.study()["id"])
    await harness.replay(2, 2)
    assert harness.study()["numberOfInstances"] == 3


async def test_a_patient_of_an_ehr_keeps_its_identifier_when_updated(harness: Harness) -> None:
    """PATIENT__MODE=update writes what DICOM knows; how the EHR writes the identifier is the EHR's."""
    updating = Harness(api=harness.api, mode="update")
    identifier = {"use": "secondary", "system": SYSTEM, "value": "P1", "period": {"start": "2020"}}
    updating.store.put({"resourceType": "Patient", "id": "ehr", "identifier": [identifier], "gender": "male"})
    updating.put("1.2", "1.2.1", "1.2.1.1", PatientName="Doe^Jane")
    await updating.cast()
    (patient,) = updating.patients()
    assert patient["identifier"] == [identifier]
    assert (patient["gender"], patient["name"][0]["family"]) == ("male", "Doe")
    await updating.close()


async def test_a_study_that_somebody_deletes_comes_back_whole(harness: Harness) -> None:
    """With its next change: half a study looks like a whole one."""
    for number in (1, 2, 3):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}")
    await harness.cast()
    harness.store.delete("ImagingStudy", harness.study()["id"])
    harness.put("1.2", "1.2.1", "1.2.1.4")
    assert await harness.cast() == {Outcome.CREATED: 1}
    assert harness.study()["numberOfInstances"] == 4
