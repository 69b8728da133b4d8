"""Every kind of feed with a harness around it, and what stands in FHIR in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from tests.harness import Harness
from tests.scripted import Scripted

__all__ = ["KINDS", "SWEEPING", "content", "fill", "harness_of", "instances", "scripted", "study_reads"]

# How to make a harness for each kind of archive.
KINDS: dict[str, dict[str, Any]] = {
    "v1": {"api": "v1"},
    "v2": {"api": "v2"},
    "orthanc": {"api": "orthanc"},
    "orthanc-rest": {"api": "orthanc", "dicomweb": False},
    "dicomweb": {"api": "dicomweb"},
}
SWEEPING = ["orthanc", "orthanc-rest", "dicomweb"]


def scripted(kind: str, **options: Any) -> Scripted:
    """A harness of a kind, in which a test may answer in a peer's place."""
    return Scripted(**KINDS[kind], **options)


def harness_of(kinds: Iterable[str]) -> Any:
    """A fixture: a harness of each of these kinds in turn."""

    @pytest.fixture(params=list(kinds), name="harness")
    async def made(request: pytest.FixtureRequest) -> AsyncIterator[Scripted]:
        harness = scripted(request.param)
        yield harness
        await harness.close()

    return made


def content(harness: Harness) -> list[Any]:
    """All studies as they stand in FHIR, without what the server adds."""
    return sorted(({**one, "meta": one["meta"].get("source")} for one in harness.studies()), key=lambda one: one["id"])


def instances(harness: Harness) -> dict[str, list[str]]:
    """The SOPInstanceUIDs in FHIR, by StudyInstanceUID."""
    return {
        study["identifier"][0]["value"].removeprefix("urn:oid:"): sorted(
            instance["uid"] for series in study["series"] for instance in series["instance"]
        )
        for study in harness.studies()
    }


def study_reads(harness: Scripted) -> int:
    """How often a study was read whole."""
    paths = [request.url.path for peer, request in harness.seen if peer == "dicom"]
    return sum(path.endswith(("/metadata", "/instances-tags")) for path in paths)


def fill(harness: Scripted, count: int) -> None:
    """Store some studies of an instance each."""
    for number in range(1, count + 1):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1")
