"""Patients that a master patient index merged: `link.type=replaced-by` is followed (R4 patient.html)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from dicomcast.model import Outcome
from tests.harness import SYSTEM, Harness


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness()
    yield harness
    await harness.close()


def person(id: str, *, replaced_by: str = "", identified: bool = True, **more: Any) -> dict[str, Any]:
    identifier = {"identifier": [{"system": SYSTEM, "value": "P1"}]} if identified else {}
    link = {"link": [{"other": {"reference": f"Patient/{replaced_by}"}, "type": "replaced-by"}]} if replaced_by else {}
    return {"resourceType": "Patient", "id": id, **identifier, **link, **more}


async def reason(harness: Harness) -> str:
    (row,) = await harness.state.parked(harness.feed.source)
    return row.reason


async def test_the_study_refers_to_the_patient_that_is_used_in_lieu(harness: Harness) -> None:
    """Over several links; the Patients themselves are left alone."""
    harness.store.put(person("new", identified=False))
    harness.store.put(person("middle", replaced_by="new", identified=False))
    harness.store.put(person("old", replaced_by="middle", active=False))
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    assert harness.study()["subject"]["reference"] == "Patient/new"
    assert harness.study()["subject"]["identifier"]["value"] == "P1"
    assert [harness.store.versions("Patient", id) for id in ("old", "middle", "new")] == [1, 1, 1]


async def test_old_and_new_with_one_identifier_are_one_match(harness: Harness) -> None:
    """Merging often leaves the identifier on both: they are the same person."""
    harness.store.put(person("new"))
    harness.store.put(person("old", replaced_by="new"))
    harness.put("1.2", "1.2.1", "1.2.1.1")
    assert await harness.cast() == {Outcome.CREATED: 1}
    assert harness.study()["subject"]["reference"] == "Patient/new"


async def test_a_merge_later_on_points_the_study_elsewhere_with_its_next_cast(harness: Harness) -> None:
    """A Patient of ours that is replaced afterwards is no longer written, and no longer referred to."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    (ours,) = harness.patients()
    harness.store.put(person("new", identified=False))
    link = [{"other": {"reference": "Patient/new"}, "type": "replaced-by"}]
    harness.store.put(ours | {"link": link})
    await harness.synchronizer.replay_studies(["1.2"])
    assert harness.study()["subject"]["reference"] == "Patient/new"


@pytest.mark.parametrize("target", ["old", "gone"])
async def test_a_link_that_leads_nowhere_parks_the_study(harness: Harness, target: str) -> None:
    """A circle, or a Patient that is not there: somebody must look at it."""
    harness.store.put(person("gone"))
    harness.store.put(person("old", replaced_by=target))
    harness.store.delete("Patient", "gone")
    harness.put("1.2", "1.2.1", "1.2.1.1")
    assert await harness.cast() == {Outcome.PARKED: 1}
    assert await reason(harness) == "broken-patient-link"


async def test_an_inactive_patient_without_a_link_parks_the_study(harness: Harness) -> None:
    """It must no longer be used, and nothing says which to use."""
    harness.store.put(person("old", active=False))
    harness.put("1.2", "1.2.1", "1.2.1.1")
    assert await harness.cast() == {Outcome.PARKED: 1}
    assert await reason(harness) == "inactive-patient"
