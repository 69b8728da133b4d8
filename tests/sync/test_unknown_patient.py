"""PATIENT__MISSING_ID=unknown: studies without PatientID share one Patient, for whom none of them speaks."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from dicomcast.identity import patient_id
from dicomcast.mapping.rules import Rules
from dicomcast.model import MissingId, Outcome
from tests.harness import DICOM_URL, SYSTEM, Harness

NOBODY = {"system": SYSTEM, "value": "nobody"}
SHARED = {"resourceType": "Patient", "id": patient_id(SYSTEM, "nobody"), "identifier": [NOBODY]}
# Studies that know no PatientID, but a name; one that calls its patient as the site does; one of somebody.
ARRIVALS: list[dict[str, Any]] = [
    {"study": "1.2", "PatientID": None, "PatientName": "Doe^Jane", "PatientSex": "F", "StudyDate": "20240101"},
    {"study": "1.3", "PatientID": None, "PatientName": "Roe^Rick", "PatientBirthDate": "19700101"},
    {"study": "1.4", "PatientID": "nobody", "PatientName": "Poe^Ann", "StudyDate": "20250101"},
    {"study": "1.5", "PatientID": "P1", "PatientName": "Lee^Kim"},
]


def site(**options: Any) -> Harness:
    """A site where studies without PatientID share a Patient."""
    return Harness(rules=Rules(SYSTEM, missing_id=MissingId.UNKNOWN, unknown="nobody"), **options)


def put(harness: Harness, study: str, partition: str = "", **attributes: Any) -> None:
    harness.put(study, f"{study}.1", f"{study}.1.1", partition, **attributes)


def content(harness: Harness) -> list[Any]:
    """All Patients and the subjects of all studies, without what the server adds."""
    people = [{**one, "meta": {"source": one["meta"].get("source")}} for one in harness.patients()]
    return [sorted(people, key=lambda one: one["id"]), sorted(one["subject"]["reference"] for one in harness.studies())]


def shared(harness: Harness) -> dict[str, Any]:
    """The Patient whom they share, without what the server adds."""
    (found,) = (one for one in harness.patients() if NOBODY in one["identifier"])
    assert "source" not in found["meta"]
    return {name: value for name, value in found.items() if name != "meta"}


@pytest.mark.parametrize("mode", ["create", "own", "update"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_any_order_gives_the_same(mode: str, at_once: bool) -> None:
    """No name, sex or date of birth gets onto the Patient whom studies share, whichever came first, in one version."""
    ends = []
    for order in permutations(ARRIVALS):
        harness = site(mode=mode)
        for arrival in order:
            put(harness, **arrival)
            if not at_once:
                await harness.cast()
        await harness.cast()
        assert shared(harness) == SHARED
        assert harness.store.versions("Patient", SHARED["id"]) == 1
        ends.append(content(harness))
        await harness.close()
    assert all(end == ends[0] for end in ends)
    assert ends[0][1].count(f"Patient/{SHARED['id']}") == 3


@pytest.mark.parametrize("mode", ["link", "create", "own", "update"])
async def test_one_that_is_there_is_referred_to(mode: str) -> None:
    """The Patient that a site made for this is left as it is, by studies that come, change and go."""
    harness = site(mode=mode)
    theirs = {"resourceType": "Patient", "id": "nn", "identifier": [NOBODY], "name": [{"text": "Not known"}]}
    harness.store.put(theirs)
    put(harness, "1.2", PatientID=None, PatientName="Doe^Jane")
    await harness.cast()
    assert harness.study()["subject"]["reference"] == "Patient/nn"
    put(harness, "1.2", PatientID=None, PatientName="Roe^Rick", PatientSex="M")
    await harness.cast()
    harness.archive.delete("Microsoft.Default", "1.2")
    await harness.cast()
    assert harness.studies() == []
    assert harness.store.versions("Patient", "nn") == 1
    await harness.close()


async def test_one_that_an_earlier_setting_made_is_left_alone() -> None:
    """A Patient that followed a study before it became the one to be shared follows none any more."""
    harness = Harness()
    put(harness, "1.2", PatientID="nobody", PatientName="Doe^Jane")
    await harness.cast()
    harness.rules = Rules(SYSTEM, missing_id=MissingId.UNKNOWN, unknown="nobody")
    harness.restart()
    put(harness, "1.3", PatientID=None, PatientName="Roe^Rick", StudyDate="20300101")
    put(harness, "1.2", PatientID="P1", PatientName="Doe^Jane")
    await harness.cast()
    (nobody,) = (one for one in harness.patients() if one["id"] == SHARED["id"])
    assert nobody["meta"]["versionId"] == "1"
    assert [one["family"] for one in nobody["name"]] == ["Doe"]
    await harness.close()


async def test_a_study_moves_to_whom_it_names() -> None:
    """A PatientID that is entered later moves the study, and one that is taken back moves it again."""
    harness = site()
    for patient, outcome in ((None, Outcome.CREATED), ("P1", Outcome.UPDATED), (None, Outcome.UPDATED)):
        put(harness, "1.2", PatientID=patient, PatientName="Doe^Jane")
        assert await harness.cast() == {outcome: 1}
        expected = patient_id(SYSTEM, patient or "nobody")
        assert harness.study()["subject"]["reference"] == f"Patient/{expected}"
    assert shared(harness) == SHARED
    await harness.close()


async def test_link_does_not_make_it() -> None:
    """PATIENT__MODE=link makes no Patient, not even this one."""
    harness = site(mode="link")
    put(harness, "1.2", PatientID=None)
    assert await harness.cast() == {Outcome.PARKED: 1}
    assert [row.reason for row in await harness.state.parked(DICOM_URL)] == ["patient-not-found"]
    assert harness.patients() == []
    await harness.close()


async def test_partitions_share_it() -> None:
    """It is of no study and of no partition."""
    harness = site(partitions=True)
    for partition in ("north", "south"):
        put(harness, "1.2", partition, PatientID=None, PatientName="Doe^Jane")
    await harness.cast()
    assert len(harness.studies()) == 2
    assert shared(harness) == SHARED
    await harness.close()
