"""One ImagingStudy of others, and its UID in two partitions of the archive: one adopts it, the other makes its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from dicomcast.identity import study_id
from dicomcast.model import Outcome, StudyKey
from tests.harness import DICOM_URL, Harness

THEIRS: dict[str, Any] = {
    "resourceType": "ImagingStudy",
    "id": "theirs",
    "meta": {"source": "https://ris.test"},
    "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.3"}],
    "status": "available",
    "subject": {"display": "x"},
}


@pytest.fixture(params=[{}, {"update_create": False}, {"transactions": False}], ids=["full", "server-ids", "batches"])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    harness = Harness(partitions=True, **request.param)
    harness.store.put(THEIRS)
    yield harness
    await harness.close()


def put(harness: Harness, partition: str) -> None:
    for number in (1, 2):
        harness.put("1.3", "1.3.1", f"1.3.1.{number}", partition, InstanceNumber=number, PatientID=f"P{partition}")


def holdings(harness: Harness) -> dict[str, tuple[str, int]]:
    """Whose patient each study is of, and how many instances it lists."""
    return {
        "theirs" if one["id"] == "theirs" else one["meta"]["source"].rpartition("/")[2]: (
            one["subject"]["identifier"]["value"],
            one["numberOfInstances"],
        )
        for one in harness.studies()
    }


async def test_the_partition_that_comes_first_adopts(harness: Harness) -> None:
    """In one window or one after the other; then nothing flips, and neither takes anything from the other."""
    put(harness, "B")
    put(harness, "A")
    assert await harness.cast() == {Outcome.UPDATED: 1, Outcome.CREATED: 1}
    assert holdings(harness) == {"theirs": ("PB", 2), "A": ("PA", 2)}
    await harness.writes_nothing("1.3")


async def test_the_second_partition_has_an_id_of_its_own() -> None:
    """It is the one that it would have beside no study of others."""
    harness = Harness(partitions=True)
    harness.store.put(THEIRS)
    put(harness, "A")
    await harness.cast()
    put(harness, "B")
    await harness.cast()
    assert {one["id"] for one in harness.studies()} == {"theirs", study_id(StudyKey(DICOM_URL, "B", "1.3"))}
    await harness.close()


async def test_each_partition_empties_its_own(harness: Harness) -> None:
    """What the second deletes is not the first's, and what the first empties the second does not take."""
    put(harness, "A")
    put(harness, "B")
    await harness.cast()
    harness.archive.delete("B", "1.3")
    await harness.cast()
    assert holdings(harness) == {"theirs": ("PA", 2)}
    put(harness, "B")
    await harness.cast()
    harness.archive.delete("A", "1.3")
    await harness.cast()
    assert holdings(harness)["B"] == ("PB", 2)
    assert next(one for one in harness.studies() if one["id"] == "theirs")["numberOfInstances"] == 0
