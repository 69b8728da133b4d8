"""One instance whose metadata the archive cannot serve fails a whole page of the feed: it costs its study alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dicomcast.model import Outcome, Stage
from tests.harness import Harness

PAGE = 100


@pytest.fixture(params=["v1", "v2"])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    harness = Harness(api=request.param)
    yield harness
    await harness.close()


@pytest.mark.parametrize(
    ("kind", "place"), [("missing", 0), ("corrupt", PAGE // 2), ("missing", PAGE - 1)], ids=["first", "middle", "last"]
)
async def test_ninety_nine_are_cast_and_one_is_parked(harness: Harness, kind: str, place: int) -> None:
    """Wherever in the page it stands; healed at the source, a retry casts it from what the archive holds then."""
    for number in range(PAGE):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1", PatientID=f"P{number}")
    poisoned = (f"1.{place}", f"1.{place}.1", f"1.{place}.1.1")
    harness.archive.poison(*poisoned, kind=kind)
    assert await harness.cast() == {Outcome.CREATED: PAGE - 1, Outcome.PARKED: 1}
    (row,) = await harness.state.parked(harness.feed.source)
    assert (row.key.study_uid, row.stage) == (f"1.{place}", Stage.READ)
    assert f"1.{place}" in row.message
    assert (await harness.open()).cursor.sequence == PAGE  # type: ignore[union-attr]

    harness.archive.heal(*poisoned)
    (cast,) = await harness.synchronizer.retry([row.key])
    assert cast.outcome is Outcome.CREATED
    assert len(harness.studies()) == PAGE
    assert await harness.state.parked(harness.feed.source) == []


@pytest.mark.parametrize("kind", ["missing", "corrupt"])
async def test_alone_in_the_page(harness: Harness, kind: str) -> None:
    """With nothing else to read, the archive is still told from the instance: the cursor goes on."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.archive.poison("1.2", "1.2.1", "1.2.1.1", kind=kind)
    assert await harness.cast() == {Outcome.PARKED: 1}
    harness.put("1.3", "1.3.1", "1.3.1.1")
    assert await harness.cast() == {Outcome.CREATED: 1}


async def test_what_was_deleted_meanwhile_stays_deleted(harness: Harness) -> None:
    """A retry reads the archive's present truth, and not the entries that were parked."""
    for number in (1, 2):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}")
    harness.archive.poison("1.2", "1.2.1", "1.2.1.1", kind="missing")
    await harness.cast()
    harness.archive.delete("Microsoft.Default", "1.2", "1.2.1", "1.2.1.1")
    (row,) = await harness.state.parked(harness.feed.source)
    await harness.synchronizer.retry([row.key])
    assert [one["uid"] for one in harness.study()["series"][0]["instance"]] == ["1.2.1.2"]
