"""What every feed does, whatever archive stands behind it: what changes there comes to stand in FHIR, once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from dicomcast.model import Outcome, StudyKey, Window
from tests.feeds import KINDS, content, harness_of, instances, scripted
from tests.harness import Harness
from tests.scripted import Scripted

PARTITION = "Microsoft.Default"
STUDIES = {f"1.{study}": [f"1.{study}.1.{number}" for number in (1, 2, 3)] for study in (2, 3, 4)}


harness = harness_of(KINDS)


def fill(harness: Harness) -> None:
    for study, uids in STUDIES.items():
        for uid in uids:
            harness.put(study, f"{study}.1", uid)


async def windows(harness: Harness, size: int = 2500) -> list[Window]:
    checkpoint = await harness.open()
    assert checkpoint.cursor is not None
    return [window async for window in harness.feed.windows(checkpoint.cursor, size)]


async def test_what_is_there_is_cast_once(harness: Scripted) -> None:
    """All that an archive holds at first; then nothing, until something changes."""
    fill(harness)
    assert await harness.cast() == {Outcome.CREATED: len(STUDIES)}
    assert instances(harness) == STUDIES
    assert await harness.cast() == {}
    harness.restart()
    assert await harness.cast() == {}


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
async def test_windows_of_any_size_give_the_same(kind: str, size: int) -> None:
    """However the feed is cut, the same stands in FHIR, and none of it is written a second time."""
    whole, cut = scripted(kind), scripted(kind, window=size)
    for harness in (whole, cut):
        fill(harness)
        await harness.cast()
        harness.archive.delete(PARTITION, "1.2")
        harness.archive.delete(PARTITION, "1.3", "1.3.1", "1.3.1.2")
        harness.put("1.4", "1.4.2", "1.4.2.1")
        await harness.cast()
    assert content(cut) == content(whole)
    await cut.writes_nothing(*STUDIES)
    for harness in (whole, cut):
        await harness.close()


async def test_a_process_for_each_window(harness: Scripted) -> None:
    """A cursor in the store is all that a process leaves to the next: nothing comes twice, and nothing is lost."""
    harness.window = 2
    fill(harness)
    harness.now += timedelta(minutes=5)
    for _ in range(12):
        harness.restart()
        drained = harness.synchronizer.drain(await harness.open())
        await anext(drained, None)
        await drained.aclose()  # type: ignore[attr-defined]
    assert instances(harness) == STUDIES
    versions = [harness.store.versions("ImagingStudy", one["id"]) for one in harness.studies()]
    assert all(version <= 2 for version in versions), "a study of two windows is written twice, and no study more often"
    assert await harness.cast() == {}


CHANGES: dict[str, tuple[str, ...]] = {"an instance": ("1.2.1", "1.2.1.1"), "a series": ("1.2.1",), "the study": ()}


@pytest.mark.parametrize("depth", CHANGES)
async def test_what_is_deleted_leaves_fhir(harness: Scripted, depth: str) -> None:
    """An instance, a series, the study: of the rest nothing changes."""
    fill(harness)
    harness.put("1.2", "1.2.2", "1.2.2.1")
    await harness.cast()
    harness.archive.delete(PARTITION, "1.2", *CHANGES[depth])
    assert sum((await harness.cast()).values()) == 1
    left = {"an instance": ["1.2.1.2", "1.2.1.3", "1.2.2.1"], "a series": ["1.2.2.1"], "the study": []}[depth]
    assert instances(harness) == {uid: uids for uid, uids in ({**STUDIES, "1.2": left}).items() if uids}
    await harness.writes_nothing("1.2")


async def test_what_is_added_and_changed(harness: Scripted) -> None:
    """A study grows, and gets another PatientID: what the snapshot says is what the archive has."""
    fill(harness)
    await harness.cast()
    harness.put("1.2", "1.2.2", "1.2.2.1", Modality="MR")
    harness.archive.bulk_update(PARTITION, ["1.3"], {"00100020": {"vr": "LO", "Value": ["P9"]}})
    assert await harness.cast() == {Outcome.UPDATED: 2}
    assert instances(harness)["1.2"] == [*STUDIES["1.2"], "1.2.2.1"]
    assert {one["identifier"][0]["value"] for one in harness.patients()} == {"P1", "P9"}
    for study in ("1.2", "1.3"):
        snapshot = await harness.feed.snapshot(StudyKey(harness.feed.source, "", study))
        held = {one.instance_uid for one in snapshot.instances}
        catalogue = harness.archive.catalogue(PARTITION)
        assert held == {one["00080018"]["Value"][0] for one in catalogue if one["0020000D"]["Value"] == [study]}
    gone = await harness.feed.snapshot(StudyKey(harness.feed.source, "", "9.9"))
    assert (gone.snapshot, gone.instances) == (True, {})


async def test_one_instance_is_read_alone(harness: Scripted) -> None:
    """As it is now, and None if it is gone: its series speaks by another then."""
    fill(harness)
    await harness.open()
    key = StudyKey(harness.feed.source, "", "1.2")
    (first, second, _) = (await harness.feed.snapshot(key)).instances
    one = await harness.feed.instance(key, first)
    assert one is not None and one.key == first
    harness.archive.delete(PARTITION, "1.2", "1.2.1", second.instance_uid)
    assert await harness.feed.instance(key, second) is None


async def test_an_empty_archive(harness: Scripted) -> None:
    """There is nothing to cast, then there is, and then it is empty once more."""
    assert await harness.cast() == {}
    assert [window.studies for window in await windows(harness)] in ([], [()])
    assert (await harness.feed.latest()).sequence == 0
    harness.put("1.2", "1.2.1", "1.2.1.1")
    assert await harness.cast() == {Outcome.CREATED: 1}
    harness.archive.delete(PARTITION, "1.2")
    assert await harness.cast() == {Outcome.DELETED: 1}
    assert await harness.cast() == {}


async def test_a_study_that_comes_back(harness: Scripted) -> None:
    """Deleted, noticed, stored again: it is there as if nothing had been; and once more."""
    for _ in range(3):
        harness.put("1.2", "1.2.1", "1.2.1.1")
        await harness.cast()
        assert instances(harness) == {"1.2": ["1.2.1.1"]}
        harness.archive.delete(PARTITION, "1.2")
        await harness.cast()
        assert harness.studies() == []


async def test_two_that_read_at_once_see_the_same(harness: Scripted) -> None:
    """Reading leaves no trace in the archive: a second reader of the same cursor is delivered the same."""
    fill(harness)
    await harness.open()
    harness.now += timedelta(minutes=5)
    one, two = await asyncio.gather(windows(harness, 4), windows(harness, 4))
    told: list[list[Any]] = [[(window.entries, window.studies, window.seen) for window in some] for some in (one, two)]
    assert told[0] == told[1]
    assert await harness.cast() == {Outcome.CREATED: len(STUDIES)}
