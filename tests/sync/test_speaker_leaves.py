"""A Patient of ours follows a study that is in FHIR and hangs on it: the newest of these, however it came about."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from dicomcast.model import Outcome
from tests.harness import Harness
from tests.scripted import Scripted


class Refusing(Harness):
    """A harness whose FHIR server refuses the ImagingStudies of one study, and notes what is asked of it."""

    refused = b""

    def __init__(self, **options: Any) -> None:
        self.asked: list[tuple[str, bytes]] = []
        super().__init__(**options)

    def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return _Refuses(transport, self) if peer == "fhir" else transport


class _Refuses(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport, harness: Refusing) -> None:
        self._inner, self._harness = inner, harness

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        refused = self._harness.refused
        self._harness.asked.append((request.url.path, request.content))
        if refused and refused in request.content and b'"resourceType":"ImagingStudy"' in request.content:
            return httpx.Response(422)
        return await self._inner.handle_async_request(request)


def name(harness: Harness) -> str:
    (patient,) = harness.patients()
    return str(patient["name"][0]["text"])


def foreign(study: str) -> dict[str, Any]:
    identifier = [{"system": "urn:dicom:uid", "value": f"urn:oid:{study}"}]
    source = {"meta": {"source": "https://ris.test"}, "status": "available", "subject": {"display": "x"}}
    return {"resourceType": "ImagingStudy", "id": "theirs", "identifier": identifier, **source}


async def test_a_study_that_is_refused_does_not_speak() -> None:
    """Without transactions the study is written before a Patient that is there follows it."""
    harness = Refusing(transactions=False)
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientName="Old^Name", StudyDate="20240101")
    await harness.cast()
    harness.refused = b"urn:oid:1.3"
    harness.put("1.3", "1.3.1", "1.3.1.1", PatientName="New^Name", StudyDate="20240201")
    assert await harness.cast() == {Outcome.PARKED: 1}
    assert name(harness) == "Name Old"
    harness.refused = b""
    harness.now += timedelta(days=1)
    await harness.open()
    await harness.synchronizer.retry_parked()
    assert name(harness) == "Name New"
    await harness.close()


async def test_an_older_study_takes_over_from_one_that_never_came() -> None:
    """A new Patient has to be there before its study. Where that is refused and goes, the next study speaks."""
    harness = Refusing(transactions=False)
    harness.refused = b"urn:oid:1.3"
    harness.put("1.3", "1.3.1", "1.3.1.1", PatientName="New^Name", StudyDate="20240201")
    await harness.cast()
    assert name(harness) == "Name New"
    harness.archive.delete("Microsoft.Default", "1.3")
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientName="Old^Name", StudyDate="20240101")
    await harness.cast()
    assert name(harness) == "Name Old"
    await harness.close()


@pytest.mark.parametrize("again", ["1.2", "1.3"])
async def test_the_newest_that_is_there_takes_over(again: str) -> None:
    """Also where another than the newest is cast: the study that spoke was deleted by hand in FHIR."""
    harness = Harness()
    for month, study in enumerate(("1.2", "1.3", "1.4"), 1):
        harness.put(study, f"{study}.1", f"{study}.1.1", PatientName=f"N^{study}", StudyDate=f"20240{month}01")
    await harness.cast()
    spoke = next(one["id"] for one in harness.studies() if one["started"] == "2024-03-01")
    harness.store.delete("ImagingStudy", spoke)
    await harness.synchronizer.replay_studies([again])
    assert name(harness) == "1.3 N"
    versions = harness.store.total_versions()
    harness.restart()
    await harness.open()
    await harness.synchronizer.replay_studies(["1.2", "1.3"])
    assert harness.store.total_versions() == versions
    await harness.close()


async def test_an_adopted_study_that_is_emptied_no_longer_speaks() -> None:
    """It stays in FHIR, and still refers to the Patient."""
    harness = Harness()
    harness.store.put(foreign("1.3"))
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientName="Old^Name", StudyDate="20240101")
    harness.put("1.3", "1.3.1", "1.3.1.1", PatientName="New^Name", StudyDate="20240201")
    await harness.cast()
    assert name(harness) == "Name New"
    harness.archive.delete("Microsoft.Default", "1.3")
    assert await harness.cast() == {Outcome.UPDATED: 1}
    assert name(harness) == "Name Old"
    assert "series" not in next(one for one in harness.studies() if one["id"] == "theirs")
    await harness.close()


async def test_an_adopted_study_can_inherit() -> None:
    """The newest study that remains speaks, whoever created its resource."""
    harness = Harness()
    harness.store.put(foreign("1.3"))
    for month, study in enumerate(("1.2", "1.3", "1.4"), 1):
        harness.put(study, f"{study}.1", f"{study}.1.1", PatientName=f"N^{study}", StudyDate=f"20240{month}01")
    await harness.cast()
    harness.archive.delete("Microsoft.Default", "1.4")
    await harness.cast()
    assert name(harness) == "1.3 N"
    await harness.close()


async def test_a_study_of_others_that_the_archive_does_not_hold_is_left_alone() -> None:
    """A replay of its UID finds nothing in the archive, and nothing of the archive in it."""
    harness = Harness()
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    harness.store.put(foreign("1.3"))
    (cast,) = await harness.synchronizer.replay_studies(["1.3"])
    assert cast.outcome is Outcome.SKIPPED
    assert harness.store.versions("ImagingStudy", "theirs") == 1
    await harness.close()


async def test_an_heir_is_chosen_in_brief() -> None:
    """A phantom has hundreds of large studies: none but the one that is chosen is fetched whole."""
    harness = Refusing()
    for number in range(30):
        study = f"1.{number + 2}"
        harness.put(study, f"{study}.1", f"{study}.1.1", StudyDate=f"202401{number + 1:02d}")
    await harness.cast()
    harness.archive.delete("Microsoft.Default", "1.31")
    harness.asked.clear()
    assert await harness.cast() == {Outcome.DELETED: 1}
    searches = [content for path, content in harness.asked if path.endswith("ImagingStudy/_search")]
    assert [b"_elements=" in content for content in searches if b"subject=" in content] == [True]
    assert len([path for path, _ in harness.asked if path.startswith("/fhir/ImagingStudy/") and "_" not in path]) == 1
    assert harness.patients()[0]["meta"]["source"].endswith("StudyInstanceUID=1.30&started=2024-01-29")
    await harness.close()


@pytest.mark.parametrize("how", ["deleted", "renamed"])
async def test_the_poison_of_the_next_speaker_does_not_hold_the_one_that_leaves(how: str) -> None:
    """A study must go, or go to its right Patient, though the study that speaks next cannot be read."""
    harness = Harness()
    harness.put("1.2", "1.2.1", "1.2.1.1", StudyDate="20240101", PatientName="Old^Name")
    harness.put("1.3", "1.3.1", "1.3.1.1", StudyDate="20240201", PatientName="New^Name")
    await harness.cast()
    harness.archive.poison("1.2", "1.2.1", "1.2.1.1", kind="corrupt")
    if how == "deleted":
        harness.archive.delete("Microsoft.Default", "1.3")
    else:
        change = {"00100020": {"vr": "LO", "Value": ["CORRECTED"]}}
        harness.archive.bulk_update("Microsoft.Default", ["1.3"], change)
    await harness.cast()
    assert await harness.state.parked(harness.feed.source) == []
    others = [one for one in harness.studies() if one["identifier"][0]["value"] == "urn:oid:1.3"]
    assert [one["subject"]["identifier"]["value"] for one in others] == ([] if how == "deleted" else ["CORRECTED"])
    harness.archive.heal("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.2", "1.2.1", "1.2.1.2", StudyDate="20240101", PatientName="Old^Name", InstanceNumber=2)
    await harness.cast()
    (first,) = (one for one in harness.patients() if one["identifier"][0]["value"] == "P1")
    assert first["name"][0]["text"] == "Name Old"
    await harness.close()


async def test_a_heir_that_one_odd_404_hides_is_not_passed_over() -> None:
    """That an instance is gone is believed when the search says so too."""
    harness = Scripted()
    for study, date, who in (("1.2", "20240101", "Old"), ("1.3", "20240201", "Middle"), ("1.4", "20240301", "New")):
        harness.put(study, f"{study}.1", f"{study}.1.1", StudyDate=date, PatientName=f"{who}^Name")
    await harness.cast()
    met = []

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        if peer == "dicom" and "/studies/1.3/" in request.url.path and not met:
            met.append(request)
            return httpx.Response(404)
        return None

    harness.instead = instead
    harness.archive.delete("Microsoft.Default", "1.4")
    await harness.cast()
    harness.now += timedelta(minutes=5)
    await harness.open()
    await harness.synchronizer.retry_parked()
    assert met and name(harness) == "Name Middle"
    await harness.close()
