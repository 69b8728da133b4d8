"""Sweeps in the whole flow: what the archive loses or gets back while a study is being cast (law 1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from dicomcast.errors import Retriable
from dicomcast.model import Outcome
from tests.feeds import KINDS, SWEEPING, instances, scripted, study_reads
from tests.scripted import Scripted, bundle_of
from tests.trouble import Crash

PARTITION = "Microsoft.Default"


@pytest.fixture(params=SWEEPING)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Scripted]:
    harness = scripted(request.param)
    yield harness
    await harness.close()


def crash_behind(harness: Scripted, study: str) -> None:
    """The process ends when the study stands in FHIR, before that is settled."""

    def afterwards(peer: str, request: httpx.Request, answer: httpx.Response) -> None:
        if bundle_of(peer, request, study):
            harness.afterwards = lambda peer, request, answer: None
            raise Crash

    harness.afterwards = afterwards


async def crash(harness: Scripted) -> None:
    with pytest.raises(Crash):
        await harness.cast()
    harness.restart()


async def test_law_1_a_study_that_is_lost_between_its_cast_and_a_crash(harness: Scripted) -> None:
    """It stands in FHIR, nobody settled it, and neither feed nor listing will show it again: it goes all the same."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    crash_behind(harness, "1.2")
    await crash(harness)
    assert instances(harness) == {"1.2": ["1.2.1.1"]}
    harness.archive.delete(PARTITION, "1.2")
    assert await harness.cast() == {Outcome.DELETED: 1}
    assert await harness.cast() == {}


async def test_law_1_a_replay_by_hand_that_crashes(harness: Scripted) -> None:
    """The same of a study that no feed ever told of: somebody named it."""
    await harness.cast()
    harness.put("1.2", "1.2.1", "1.2.1.1")
    crash_behind(harness, "1.2")
    with pytest.raises(Crash):
        await harness.synchronizer.replay_studies(["1.2"])
    harness.archive.delete(PARTITION, "1.2")
    harness.restart()
    assert await harness.cast() == {Outcome.DELETED: 1}


async def test_a_study_that_was_replayed_by_hand_before_it_was_listed(harness: Scripted) -> None:
    """It is known from then on, so that its end is seen."""
    await harness.cast()
    harness.put("1.2", "1.2.1", "1.2.1.1")
    assert [cast.outcome for cast in await harness.synchronizer.replay_studies(["1.2"])] == [Outcome.CREATED]
    harness.archive.delete(PARTITION, "1.2")
    assert await harness.cast() == {Outcome.DELETED: 1}


async def test_studies_that_were_never_there_are_not_taken_for_lost(harness: Scripted) -> None:
    """Somebody replays a list of UIDs of which the archive has none: that says nothing of the archive."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    harness.feed._sweeper.limit = 2  # type: ignore[attr-defined]
    assert {cast.outcome for cast in await harness.synchronizer.replay_studies(["9.1", "9.2", "9.3"])} == {
        Outcome.SKIPPED
    }
    assert await harness.cast() == {}


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_study_that_comes_back_while_it_is_being_removed(harness: Scripted, moment: str) -> None:
    """Whether it is stored again in front of the removal or behind it, it is there in the end."""
    for study in ("1.2", "1.3"):
        harness.put(study, f"{study}.1", f"{study}.1.1")
    await harness.cast()
    harness.archive.delete(PARTITION, "1.2")

    async def before(peer: str, request: httpx.Request) -> None:
        asked = peer == "dicom" and study_reads(harness) == 0
        about = b"1.2" in request.content or b"1.2" in request.url.query or "1.2" in request.url.path
        removed = bundle_of(peer, request) != b""
        if (asked and about and moment == "before") or (removed and moment == "after"):
            harness.before = nothing
            harness.put("1.2", "1.2.1", "1.2.1.1")

    nothing, harness.before = harness.before, before
    del harness.seen[:]
    await harness.cast()
    assert harness.before is nothing, "it never came back"
    await harness.cast()
    assert instances(harness) == {"1.2": ["1.2.1.1"], "1.3": ["1.3.1.1"]}
    await harness.writes_nothing("1.2", "1.3")


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


async def test_law_2_what_was_seen_is_noted_behind_what_is_settled(
    harness: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends between the casts and the settling: a study that was to be parked is not forgotten."""
    harness.put("1.2", "1.2.1", "1.2.1.1", StudyDate=None)
    harness.put("1.3", "1.3.1", "1.3.1.1", StudyDate=None)

    def refuse(peer: str, request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(422) if bundle_of(peer, request, "1.2") else None

    async def crashes(*_: Any, **__: Any) -> Any:
        raise Crash

    harness.instead = refuse
    await harness.open()
    with monkeypatch.context() as patch:
        patch.setattr(harness.state, "advance", crashes)
        await crash(harness)
    await harness.cast()
    assert [row.key.study_uid for row in harness.state.rows()] == ["1.2"]


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


@pytest.mark.parametrize("kind", KINDS)
async def test_an_inventory_is_kept_by_those_that_sweep_alone(kind: str) -> None:
    """A change feed tells of deletions itself: nothing is written for it."""
    harness = scripted(kind)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    await harness.synchronizer.replay_studies(["1.2"])
    assert await harness.state.inventory(harness.feed.source) == (["1.2"] if kind in SWEEPING else [])
    await harness.close()
