"""Law 1, convergence: any feed, cut anyhow, gives what one snapshot of the archive's end state gives."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.demo.archive import DEFAULT_PARTITION
from dicomcast.mapping.rules import Rules
from dicomcast.model import MissingId
from tests.harness import CT, SR, SYSTEM, Harness
from tests.judge import R4, R5
from tests.random_feed import play

STUDIES = ["1.2", "1.3"]
PARTITIONS = ["north", "south"]

attributes = st.fixed_dictionaries(
    {
        "PatientID": st.sampled_from(["P1", "P2", None]),
        "PatientName": st.sampled_from(["Doe^Jane", "Roe^Rick", None]),
        "SOPClassUID": st.sampled_from([CT, SR]),
        "SeriesNumber": st.sampled_from([None, 1, 2]),
        "InstanceNumber": st.sampled_from([None, 1, 2]),
        "StudyDescription": st.sampled_from([None, "a", "b"]),
        "StudyDate": st.sampled_from([None, "20240101", "20240201"]),
        "AccessionNumber": st.sampled_from([None, "A1"]),
        "NameOfPhysiciansReadingStudy": st.sampled_from([None, "Roe^Rick"]),
        "Laterality": st.sampled_from([None, "L"]),
    }
)
place = st.tuples(st.sampled_from(PARTITIONS), st.sampled_from(STUDIES), st.sampled_from("12"), st.sampled_from("12"))
# Studies without PatientID have a Patient each, or share one with those whose PatientID is P2.
patients = st.sampled_from([{}, {"missing_id": MissingId.UNKNOWN, "unknown": "P2"}])
# A study becomes too large to be listed, and small again, all the time.
limits = st.sampled_from([None, 0, 1, 2, 3])
sites = st.builds(lambda who, most: Rules(SYSTEM, most_listed=most, **who), patients, limits)
put = st.tuples(st.just("put"), place, attributes)
step = st.one_of(
    put,
    st.tuples(st.just("delete"), place, st.sampled_from([1, 2, 3])),
    st.tuples(st.just("update"), place, st.sampled_from(["P1", "P2", "P3"])),
    st.tuples(st.just("cast"), st.sampled_from([1, 3, 2500]), st.none()),
    st.tuples(st.just("again"), st.integers(1, 8), st.none()),
    st.tuples(st.just("gap"), st.integers(1, 150), st.none()),
)


@pytest.mark.parametrize(
    ("api", "version"), [("v1", R4), ("v2", R4), ("v1", R5), ("orthanc", R4), ("orthanc-rest", R4), ("dicomweb", R4)]
)
@given(steps=st.lists(step, min_size=1, max_size=14), site=sites)
def test_law_1_convergence(api: str, version: str, steps: list[Any], site: Rules) -> None:
    """Folding a random feed in random windows, with entries delivered again, equals a snapshot of the end."""
    asyncio.run(_converges(api, version, steps, site))


@pytest.mark.parametrize("api", ["orthanc", "orthanc-rest", "dicomweb"])
@given(before=st.lists(put, max_size=4), steps=st.lists(step, min_size=1, max_size=10), site=sites)
def test_law_1_convergence_from_latest(api: str, before: list[Any], steps: list[Any], site: Rules) -> None:
    """What was there at the start is noted alone; what has changed since is in the end as a snapshot would have it."""
    asyncio.run(_converges_from_latest(api, before, steps, site))


async def _converges_from_latest(api: str, before: list[Any], steps: list[Any], site: Rules) -> None:
    options = {"api": api.removesuffix("-rest"), "dicomweb": api != "orthanc-rest", "rules": site}
    folded = Harness(**options)
    folded.start = "latest"
    for one in before:
        await play(folded, *one)
    await folded.cast()
    assert folded.studies() == []
    noted = _counts(folded)
    for one in steps:
        await play(folded, *one)
    await folded.cast()
    versions = folded.store.total_versions()
    await folded.cast()
    assert folded.store.total_versions() == versions, "what was there already was written once more"
    changed = {uid for uid in STUDIES if _counts(folded)[uid] != noted[uid]}

    there = {one["identifier"][0]["value"].removeprefix("urn:oid:") for one in folded.studies()}
    fresh = await _cast_afresh(folded, options, [uid for uid in STUDIES if uid in changed | there])
    assert _content(folded) == _content(fresh)
    await folded.close()
    await fresh.close()


def _counts(harness: Harness) -> Counter[str]:
    """How many instances the archive holds of each study: another number is a change that every search shows."""
    return Counter(one["0020000D"]["Value"][0] for one in harness.archive.catalogue(DEFAULT_PARTITION))


async def _cast_afresh(folded: Harness, options: dict[str, Any], study_uids: list[str]) -> Harness:
    """Snapshots of the same archive in another FHIR server."""
    fresh = Harness(**options)
    fresh.archive, fresh.dicom_app = folded.archive, folded.dicom_app
    fresh.restart()
    fresh.now = folded.now
    await fresh.open()
    await fresh.synchronizer.replay_studies(study_uids)
    return fresh


async def _converges(api: str, version: str, steps: list[Any], site: Rules) -> None:
    options = {"api": api, "partitions": True} if api in ("v1", "v2") else {"api": api.removesuffix("-rest")}
    options |= {"dicomweb": api != "orthanc-rest", "version": version, "rules": site}
    folded = Harness(**options)
    for kind, what, how in steps:
        await play(folded, kind, what, how)
    await folded.cast()
    await folded.writes_nothing(*STUDIES)

    fresh = await _cast_afresh(folded, options, STUDIES)
    assert _content(folded) == _content(fresh)
    await folded.close()
    await fresh.close()


def _content(harness: Harness) -> tuple[Any, Any]:
    """Studies, and the Patients they refer to: one without studies is left over from before, and stays."""
    studies = {one["id"]: _bare(one) for one in harness.studies()}
    used = {one["subject"]["reference"] for one in studies.values()}
    patients = {one["id"]: _bare(one) for one in harness.patients() if f"Patient/{one['id']}" in used}
    return studies, patients


def _bare(resource: dict[str, Any]) -> dict[str, Any]:
    meta = {name: value for name, value in resource["meta"].items() if name not in ("versionId", "lastUpdated")}
    return resource | {"meta": meta}
