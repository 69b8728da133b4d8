"""Another Orthanc at the same address, and what may look like one."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from dicomcast.errors import SourceReset
from dicomcast.model import Outcome
from tests.feed.test_orthanc import fill
from tests.feeds import instances
from tests.scripted import Scripted


def recreate(harness: Scripted, count: int) -> None:
    """A new database, with so many studies that the one before did not hold."""
    harness.archive.reset()
    for number in range(50, 50 + count):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1")


@pytest.mark.parametrize("grown", [4, 10])
async def test_one_that_was_recreated_between_two_polls(harness: Scripted, grown: int) -> None:
    """No request failed meanwhile, and it has given out as many sequences as the one before, or more."""
    fill(harness, 3)
    await harness.cast()
    harness.put("1.9", "1.9.1", "1.9.1.1")
    await harness.cast()
    checkpoint = await harness.open()
    recreate(harness, grown)
    harness.now += timedelta(minutes=5)
    with pytest.raises(SourceReset, match="has another resource at sequence 4 than it had"):
        await anext(harness.synchronizer.drain(checkpoint))
    assert sorted(instances(harness)) == ["1.1", "1.2", "1.3", "1.9"]


async def test_one_that_was_recreated_before_anything_changed(harness: Scripted) -> None:
    """The first run has read no row, and knows the newest all the same."""
    fill(harness, 3)
    await harness.cast()
    recreate(harness, 10)
    harness.restart()
    with pytest.raises(SourceReset, match="has another resource at sequence 3 than it had"):
        await harness.cast()
    assert sorted(instances(harness)) == ["1.1", "1.2", "1.3"]


@pytest.mark.parametrize("moment", ["at the start", "at a poll"])
async def test_one_odd_answer_is_no_other_orthanc(harness: Scripted, moment: str) -> None:
    """Where an index is kept by triggers, `Last` may go back for a moment: it is asked for again."""
    fill(harness, 3)
    await harness.cast()
    checkpoint = await harness.open()
    odd: list[int] = []

    def afterwards(peer: str, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if request.url.path != "/changes" or odd or (told := answer.json())["Changes"]:
            return None
        odd.append(told["Last"])
        return httpx.Response(200, json={**told, "Last": told["Last"] - 1})

    harness.afterwards = afterwards
    if moment == "at the start":
        checkpoint = await harness.open()
        assert odd == [3]
    fill(harness, 4)
    harness.archive.delete("Microsoft.Default", "1.4")
    casts = [cast async for _, casts in harness.synchronizer.drain(checkpoint) for cast in casts]
    assert {cast.key.study_uid for cast in casts} <= {"1.1", "1.2", "1.3", "1.4"}
    assert odd and len(instances(harness)) == 3
    harness.put("1.9", "1.9.1", "1.9.1.1")
    assert await harness.cast() == {Outcome.CREATED: 1}
