"""What is asked for while a worker is at work, and what became of rows meanwhile, is never written over."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from dicomcast.bundle import Write
from dicomcast.errors import LeaseLost
from dicomcast.fhir import Written
from dicomcast.identity import patient_id, study_id
from dicomcast.mapping.rules import Rules
from dicomcast.model import MissingId, Outcome, StudyKey
from dicomcast.parking import drop, undropped
from tests.harness import DICOM_URL, SYSTEM, Harness
from tests.scripted import Scripted, bundle_of

KEY = StudyKey(DICOM_URL, "", "1.2")


async def poisoned(harness: Harness) -> None:
    """A study of two instances that is parked."""
    for number in (1, 2):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}")
    harness.archive.poison("1.2", "1.2.1", "1.2.1.1", kind="corrupt")
    assert await harness.cast() == {Outcome.PARKED: 1}


async def test_a_study_that_is_handed_over_while_it_is_cast_is_cast_again() -> None:
    """The replay's wish came after the look at the archive: settling the window does not settle it."""
    harness = Scripted()
    harness.put("1.2", "1.2.1", "1.2.1.1")
    wished = False
    write = harness.fhir.write

    async def writes(entries: list[Write]) -> list[Written]:
        nonlocal wished
        answers = await write(entries)
        if not wished and any(one.resource["resourceType"] == "ImagingStudy" for one in entries):
            wished = True
            await harness.synchronizer.hand_over([KEY])
        return answers

    harness.fhir.write = writes  # type: ignore[method-assign]
    assert await harness.cast() == {Outcome.CREATED: 1}
    (row,) = await harness.state.parked(DICOM_URL)
    assert (row.key, row.reason) == (KEY, "replay-requested")
    assert [cast.outcome for cast in await harness.synchronizer.retry_parked()] == [Outcome.UNCHANGED]
    assert await harness.state.parked(DICOM_URL) == []
    await harness.close()


async def test_a_wish_for_a_parked_study_is_not_folded_away() -> None:
    """An entry of a study that somebody asked for is cast with it, and not put off to the row's old time."""
    harness = Harness()
    await poisoned(harness)
    harness.archive.heal("1.2", "1.2.1", "1.2.1.1")
    await harness.synchronizer.hand_over([KEY])
    harness.put("1.2", "1.2.1", "1.2.1.3")
    assert await harness.cast(timedelta(seconds=31)) == {Outcome.CREATED: 1}
    assert harness.study()["numberOfInstances"] == 3
    assert await harness.state.parked(DICOM_URL) == []
    await harness.close()


async def test_a_dead_letter_lives_again_when_its_study_changes() -> None:
    """The change may be what heals it; it is then read whole, for it has missed entries."""
    harness = Harness()
    await poisoned(harness)
    for _ in range(40):
        harness.now += timedelta(hours=7)
        await harness.open()
        await harness.synchronizer.retry_parked()
    (row,) = await harness.state.parked(DICOM_URL)
    assert row.next_attempt is None
    harness.archive.heal("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.2", "1.2.1", "1.2.1.3")
    assert await harness.cast() == {Outcome.CREATED: 1}
    assert harness.study()["numberOfInstances"] == 3
    assert await harness.state.parked(DICOM_URL) == []
    await harness.close()


async def test_what_was_dropped_comes_whole_with_its_next_change() -> None:
    """Half a study looks like a whole one: nobody could tell what it missed while it was parked."""
    harness = Harness()
    await poisoned(harness)
    rows = await harness.state.parked(DICOM_URL)
    await harness.state.settle(DICOM_URL, parked=[drop(row) for row in rows])
    assert undropped(await harness.state.parked(DICOM_URL)) == []
    harness.now += timedelta(days=30)
    await harness.open()
    assert await harness.synchronizer.retry_parked() == []
    harness.put("1.2", "1.2.1", "1.2.1.3")
    assert await harness.cast() == {Outcome.PARKED: 1}
    (row,) = await harness.state.parked(DICOM_URL)
    assert (row.attempts, row.reason) == (1, "refused")
    harness.archive.heal("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.2", "1.2.1", "1.2.1.4")
    assert await harness.cast() == {Outcome.CREATED: 1}
    assert harness.study()["numberOfInstances"] == 4
    await harness.close()


async def test_the_fence_is_asked_before_each_sending() -> None:
    """A write that is sent again after its worker lost the lease would land on what the successor wrote."""
    harness = Scripted()
    harness.budget = timedelta(seconds=30)
    harness.restart()
    harness.put("1.2", "1.2.1", "1.2.1.1")

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        if not bundle_of(peer, request, "1.2"):
            return None
        harness.tenure.expire()
        return httpx.Response(429, headers={"Retry-After": "0"})

    harness.instead = instead
    with pytest.raises(LeaseLost):
        await harness.cast()
    assert len([one for one in harness.writes() if b"ImagingStudy" in one]) == 1
    assert harness.studies() == []
    await harness.close()


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
async def test_a_write_that_a_gateway_answers_for_is_looked_up_before_it_is_sent_again(status: int) -> None:
    """The server may have done it: a second version that changes nothing would say so."""
    harness = Scripted()
    harness.put("1.2", "1.2.1", "1.2.1.1")
    answered = False

    def afterwards(peer: str, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        nonlocal answered
        if answered or not bundle_of(peer, request, "1.2"):
            return None
        answered = True
        return httpx.Response(status)

    harness.afterwards = afterwards
    await harness.cast()
    assert harness.store.versions("ImagingStudy", harness.study()["id"]) == 1
    assert harness.store.versions("Patient", harness.patients()[0]["id"]) == 1
    assert await harness.state.parked(DICOM_URL) == []
    await harness.close()


@pytest.mark.parametrize("kind", ["ImagingStudy", "Patient"])
async def test_what_somebody_creates_meanwhile_is_stored_as_work_first(kind: str) -> None:
    """A worker that is killed between the write and its mending leaves a row by which the next one mends it."""
    harness = Scripted()
    harness.put("1.9", "1.9.1", "1.9.1.1", PatientID="P9")
    await harness.cast()
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientName="Doe^Jane")
    theirs = {
        "ImagingStudy": {"id": study_id(KEY), "status": "available", "subject": {"display": "somebody"}},
        "Patient": {"id": patient_id(SYSTEM, "P1"), "telecom": [{"system": "phone", "value": "555"}]},
    }

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        if bundle_of(peer, request, "1.2") and not harness.store.versions(kind, theirs[kind]["id"]):
            harness.store.put({"resourceType": kind} | theirs[kind])
            harness.put("1.2", "1.2.1", "1.2.1.2")  # what its creator knew, and our delta does not
        return None

    rows = []

    def afterwards(peer: str, request: httpx.Request, answer: httpx.Response) -> None:
        if peer == "dicom" and request.url.path.endswith("/studies/1.2/metadata"):
            rows.extend(harness.state.rows())

    harness.instead, harness.afterwards = instead, afterwards
    assert await harness.cast() == {Outcome.UPDATED: 1}
    assert [(row.key, row.reason) for row in rows] == [(KEY, "replay-requested")]
    study = next(one for one in harness.studies() if one["id"] == study_id(KEY))
    assert study["numberOfInstances"] == 2
    assert await harness.state.parked(DICOM_URL) == []
    await harness.close()


@pytest.mark.parametrize("order", [[(2, None), (1, "P1")], [(2, "P1"), (1, None)], [(1, None), (2, "P1")]])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_study_without_patient_is_skipped_in_any_order(
    order: list[tuple[int, str | None]], at_once: bool
) -> None:
    """With PATIENT__MISSING_ID=skip the speaker decides whether a study is in FHIR, whoever came first."""
    harness = Harness(rules=Rules(SYSTEM, missing_id=MissingId.SKIP))
    for number, patient in order:
        harness.put("1.2", "1.2.1", f"1.2.1.{number}", InstanceNumber=number, PatientID=patient)
        if not at_once:
            await harness.cast()
    await harness.cast()
    speaker = dict(order)[1]
    assert len(harness.studies()) == (1 if speaker else 0)
    if speaker:
        assert harness.study()["numberOfInstances"] == 2
    await harness.close()
