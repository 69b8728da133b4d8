"""Removing what a sweep found gone: it may come back, fail, or be too much to believe."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from dicomcast.errors import Retriable
from dicomcast.model import Outcome
from tests.feeds import SWEEPING, harness_of, instances, study_reads
from tests.scripted import Scripted, bundle_of

PARTITION = "Microsoft.Default"


harness = harness_of(SWEEPING)


def comes_back(harness: Scripted, moment: str) -> None:
    """Study 1.2 is stored again in front of its removal, before the archive is asked for it, or behind it."""

    async def before(peer: str, request: httpx.Request) -> None:
        asked = peer == "dicom" and study_reads(harness) == 0
        about = b"1.2" in request.content or b"1.2" in request.url.query or "1.2" in request.url.path
        removed = bundle_of(peer, request) != b""
        if (asked and about and moment == "before") or (removed and moment == "after"):
            harness.before = nothing
            harness.put("1.2", "1.2.1", "1.2.1.1")

    nothing, harness.before = harness.before, before
    del harness.seen[:]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_study_that_comes_back_while_it_is_being_removed(harness: Scripted, moment: str) -> None:
    """Whether it is stored again in front of the removal or behind it, it is there in the end."""
    for study in ("1.2", "1.3"):
        harness.put(study, f"{study}.1", f"{study}.1.1")
    await harness.cast()
    harness.archive.delete(PARTITION, "1.2")
    comes_back(harness, moment)
    await harness.cast()
    assert len(harness.archive.catalogue(PARTITION)) == 2, "it never came back"
    await harness.cast()
    assert instances(harness) == {"1.2": ["1.2.1.1"], "1.3": ["1.3.1.1"]}
    await harness.writes_nothing("1.2", "1.3")


async def test_a_study_that_comes_back_and_goes_again(harness: Scripted) -> None:
    """It was found gone, read as there, and is gone before it was listed: it is still known that it was cast."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    harness.archive.delete(PARTITION, "1.2")
    looked = 0

    async def before(peer: str, request: httpx.Request) -> None:
        """Between the sweep, which has looked for it, and the cast, which reads it."""
        nonlocal looked
        if peer == "fhir" and b"1.2" in request.content and not looked:
            looked = 1
            harness.put("1.2", "1.2.1", "1.2.1.1")

    harness.before = before
    harness.restart()  # so that FHIR is asked what stands there
    await harness.cast()
    assert looked and list(instances(harness)) == ["1.2"]
    harness.archive.delete(PARTITION, "1.2")
    await harness.cast()
    assert instances(harness) == {}


async def test_a_parked_study_that_vanishes(harness: Scripted) -> None:
    """It never stood in FHIR: its row goes when its time comes, and nothing is left that knows of it."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.3", "1.3.1", "1.3.1.1")

    def refuse(peer: str, request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(422) if bundle_of(peer, request, "1.2") else None

    harness.instead = refuse
    assert await harness.cast() == {Outcome.CREATED: 1, Outcome.PARKED: 1}
    harness.archive.delete(PARTITION, "1.2")
    await harness.cast()
    harness.instead = lambda peer, request: None
    harness.now += timedelta(days=1)
    await harness.open()
    await harness.synchronizer.retry_parked()
    assert harness.state.rows() == []
    await harness.cast()
    assert await harness.state.inventory(harness.feed.source) == ["1.3"]
    assert list(instances(harness)) == ["1.3"]


async def test_a_study_whose_removal_fails_is_removed_later(harness: Scripted) -> None:
    """It is parked, and the sweeps that come meanwhile neither remove its row nor count it as lost again."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.3", "1.3.1", "1.3.1.1")
    await harness.cast()
    harness.archive.delete(PARTITION, "1.2")
    harness.archive.delete(PARTITION, "1.3", "1.3.1", "1.3.1.1")
    harness.put("1.3", "1.3.1", "1.3.1.2")

    def refuse(peer: str, request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(422) if b'"DELETE"' in bundle_of(peer, request) else None

    harness.instead = refuse
    assert (await harness.cast())[Outcome.PARKED] == 1
    harness.restart()
    await harness.cast(timedelta(minutes=2))
    assert [row.key.study_uid for row in harness.state.rows()] == ["1.2"]
    harness.instead = lambda peer, request: None
    harness.now += timedelta(days=1)
    await harness.open()
    await harness.synchronizer.retry_parked()
    await harness.cast()
    assert instances(harness) == {"1.3": ["1.3.1.2"]}
    assert harness.state.rows() == []


async def test_too_many_lost_remove_nothing(harness: Scripted) -> None:
    """FHIR keeps them all, also over a restart; what is new is cast all the same."""
    for number in range(5):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1")
    await harness.cast()
    for number in range(3):
        harness.archive.delete(PARTITION, f"1.{number}")
    harness.put("1.9", "1.9.1", "1.9.1.1")
    for _ in range(2):
        harness.restart()
        harness.feed._sweeper.limit = 2  # type: ignore[attr-defined]
        with pytest.raises(Retriable, match="VANISHED_LIMIT"):
            await harness.cast()
    assert len(harness.studies()) == 6
    harness.restart()
    assert (await harness.cast())[Outcome.DELETED] == 3
    assert sorted(instances(harness)) == ["1.3", "1.4", "1.9"]
