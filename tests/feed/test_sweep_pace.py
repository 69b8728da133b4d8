"""When a sweep is due, and that it holds up nobody, however long it takes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dicomcast.model import Cursor, Window
from tests.feed.test_sweep import HOUR, due, many, named, swept
from tests.shelf import Shelf


async def test_a_sweep_that_took_long_rests_nine_times_as_long() -> None:
    """It has a tenth of the time, however large the archive."""
    shelf = Shelf(many(1000), seconds=300)
    _, cursor = await shelf.sweep(Cursor())
    took = timedelta(seconds=11 * 300)
    assert due(cursor) == shelf.now + 9 * took


async def test_a_hastened_sweep_comes_soon_and_no_sooner() -> None:
    """A twelfth of the interval from now, and never later than it was due before."""
    shelf = Shelf(many(3))
    cursor = await swept(shelf)
    shelf.now -= HOUR
    soon = shelf.sweeper.hasten(cursor)
    assert due(soon) == shelf.now + HOUR / 12
    shelf.now += timedelta(minutes=3)
    assert due(shelf.sweeper.hasten(soon)) == due(soon), "or many gaps would put it off for ever"
    first = Cursor(position={"known": []})
    assert shelf.sweeper.hasten(first) is first, "the first sweep comes by itself"


async def test_a_hastened_sweep_rests_all_the_same() -> None:
    """An archive that recycles its storage has gaps all the time, and must not be listed all the time."""
    shelf = Shelf(many(1000), seconds=300)
    _, cursor = await shelf.sweep(Cursor())
    assert due(shelf.sweeper.hasten(cursor)) == due(cursor)
    shelf.now = due(cursor) - HOUR
    assert due(shelf.sweeper.hasten(cursor)) == due(cursor)


async def test_a_shorter_interval_holds_at_once() -> None:
    """Also for the sweep that was put off under the longer one; a longer one holds from the next sweep on."""
    shelf = Shelf(many(3))
    _, cursor = await shelf.sweep(Cursor())
    shelf.studies["1.9"] = "a"
    shelf.sweeper.interval = HOUR / 6
    shelf.now += HOUR / 6 - timedelta(seconds=1)
    assert await shelf.sweep(cursor) == ([], cursor)
    shelf.now += timedelta(seconds=1)
    windows, cursor = await shelf.sweep(cursor)
    assert (named(windows), due(cursor)) == (["1.9"], shelf.now + HOUR / 6)
    shelf.sweeper.interval = HOUR
    shelf.now += HOUR / 6
    assert due((await shelf.sweep(cursor))[1]) == shelf.now + HOUR


async def test_a_shorter_interval_leaves_a_large_archive_its_rest() -> None:
    """A sweep still takes no more than a tenth of the time."""
    shelf = Shelf(many(1000), seconds=300)
    _, cursor = await shelf.sweep(Cursor())
    shelf.sweeper.interval = HOUR / 6
    shelf.now = due(cursor) - timedelta(seconds=1)
    assert await shelf.sweep(cursor) == ([], cursor)


@pytest.mark.parametrize("years", [-30, 30])
async def test_a_clock_that_was_wrong_does_not_stop_the_sweeps(years: int) -> None:
    """Set right during a sweep, or after it: the next one is not put off by decades."""
    shelf = Shelf(many(3))

    def set_right(page: int) -> None:
        shelf.now += timedelta(days=365 * years)
        shelf.between = lambda page: None

    shelf.between = set_right
    _, cursor = await shelf.sweep(Cursor())
    shelf.studies["1.9"] = "a"
    shelf.now += timedelta(days=31)
    assert named((await shelf.sweep(cursor))[0]) == ["1.9"]
    shelf.now -= timedelta(days=365 * abs(years))
    shelf.studies["1.10"] = "a"
    assert named((await shelf.sweep(cursor))[0]) == ["1.10"]


async def test_the_tail_has_its_turn_during_a_long_sweep() -> None:
    """What it tells comes before the rest of the sweep, whose windows go on behind it."""
    shelf = Shelf(many(1000), seconds=11)

    def between(page: int) -> None:
        if page == 2:
            shelf.told = [Window((), Cursor(99, position={"known": []}), ("1.5",), {"1.5": "a"})]

    shelf.between = between
    windows, cursor = await shelf.sweep(Cursor(7))
    place = named(windows).index("1.5")
    assert 100 <= place <= 300
    assert [window.end.sequence for window in windows] == sorted(window.end.sequence for window in windows)
    assert (cursor.sequence, cursor.position["known"]) == (99, [])
    assert shelf.turns >= 10


@pytest.mark.parametrize("what", ["there", "slipped"])
async def test_a_long_sweep_without_news_can_be_stopped(what: str) -> None:
    """Every ten seconds there is a window, though nothing stands in it: who drains looks up only between windows."""
    shelf = Shelf(many(1000), held=many(1000), seconds=6)
    if what == "slipped":  # The listing shows nothing of it, so each has to be asked for.
        shelf.hidden = True
    windows, _ = await shelf.sweep(Cursor(7))
    assert named(windows) == []
    assert len(windows) >= 5
    assert shelf.turns >= 5
