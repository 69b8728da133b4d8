"""How many studies may be gone at once before it is taken for an archive in trouble."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from dicomcast.dicom.sweep import Sweeper
from dicomcast.errors import Retriable
from tests.feed.test_sweep import HOUR, many, named, swept
from tests.feeds import SWEEPING, scripted
from tests.shelf import Shelf


async def lose(held: int, gone: int, limit: int | None = None) -> list[str]:
    """What a sweep names of an archive that held so many studies, of which so many are gone."""
    shelf = Shelf(many(held))
    cursor = await swept(shelf)
    shelf.sweeper = Sweeper(shelf, "shelf", HOUR, limit, clock=lambda: shelf.now)
    shelf.studies = dict(list(many(held).items())[gone:])
    try:
        windows, _ = await shelf.sweep(cursor)
    finally:
        assert shelf.held == many(held) or shelf.held == shelf.studies, "a part of them was taken for gone"
    return named(windows)


@pytest.mark.parametrize(("held", "most"), [(12, 10), (20, 10), (24, 12), (25, 12), (120, 60), (200, 100), (1000, 100)])
async def test_half_may_vanish_but_ten_in_any_case_and_never_more_than_a_hundred(held: int, most: int) -> None:
    """One more, and nothing is named."""
    assert len(await lose(held, most)) == most
    with pytest.raises(Retriable, match=f"no longer holds more than {most} of the studies"):
        await lose(held, most + 1)


@pytest.mark.parametrize("held", [11, 12, 90, 1000])
async def test_not_all_may_vanish(held: int) -> None:
    """An archive that shows nothing is in trouble, unless it never held more than a handful."""
    with pytest.raises(Retriable):
        await lose(held, held)
    assert len(await lose(10, 10)) == 10


@pytest.mark.parametrize(("held", "limit"), [(12, 12), (12, 0), (12, 2), (1000, 3), (1000, 900)])
async def test_a_limit_that_is_set_holds_alone(held: int, limit: int) -> None:
    """It may be more than half of a small archive, or less than a handful of a large one."""
    assert len(await lose(held, limit, limit)) == limit
    if held > limit:
        with pytest.raises(Retriable):
            await lose(held, limit + 1, limit)


async def test_what_is_there_and_not_listed_counts_among_what_is_held() -> None:
    """Of twenty-four studies twelve are gone, and a listing that leaves out the others too makes them no fewer."""
    shelf = Shelf(many(24))
    cursor = await swept(shelf)
    shelf.studies, shelf.hidden = dict(list(many(24).items())[12:]), True
    windows, _ = await shelf.sweep(cursor)
    assert len(named(windows)) == 12


@pytest.mark.parametrize("kind", SWEEPING)
async def test_an_archive_that_shows_nothing_takes_nothing_out_of_fhir(kind: str) -> None:
    """Its disk is not mounted: lists and searches agree that it is empty."""
    harness = scripted(kind)
    for number in range(12):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1")
    await harness.cast()

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        empty = peer == "dicom" and request.url.path.rpartition("/")[2] in ("studies", "lookup", "bulk-content")
        return httpx.Response(200, json=[]) if empty else None

    harness.instead = instead
    with pytest.raises(Retriable, match="is it whole"):
        await harness.cast(timedelta(hours=2))
    assert len(harness.studies()) == 12
    await harness.close()
