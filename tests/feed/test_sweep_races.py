"""Sweeps in the whole flow: what the archive loses or gets back while a study is being cast (law 1)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from dicomcast.model import Outcome
from tests.feeds import KINDS, SWEEPING, harness_of, instances, scripted
from tests.scripted import Scripted, bundle_of
from tests.trouble import Crash

PARTITION = "Microsoft.Default"


harness = harness_of(SWEEPING)


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


@pytest.mark.parametrize("kind", KINDS)
async def test_an_inventory_is_kept_by_those_that_sweep_alone(kind: str) -> None:
    """A change feed tells of deletions itself: nothing is written for it."""
    harness = scripted(kind)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    await harness.synchronizer.replay_studies(["1.2"])
    assert await harness.state.inventory(harness.feed.source) == (["1.2"] if kind in SWEEPING else [])
    await harness.close()
