"""A sweep: what it finds, when it is due, and what it does not believe."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from dicomcast.dicom.sweep import Sweeper, fingerprint
from dicomcast.errors import Retriable
from dicomcast.model import Cursor, Window
from tests.shelf import Shelf

HOUR = timedelta(hours=1)


def many(count: int) -> dict[str, str]:
    return {f"1.{number:04}": "a" for number in range(count)}


def named(windows: list[Window]) -> list[str]:
    return [uid for window in windows for uid in window.studies]


def due(cursor: Cursor) -> datetime:
    return datetime.fromisoformat(cursor.position["sweep_at"])


async def swept(shelf: Shelf) -> Cursor:
    """A shelf that was swept once, and has rested."""
    _, cursor = await shelf.sweep(Cursor(7))
    shelf.now += HOUR
    return cursor


async def test_the_first_sweep_finds_all_there_is() -> None:
    """At the beginning, whatever the tail says; once it is done the next is due an interval later."""
    shelf = Shelf(many(250))
    windows, cursor = await shelf.sweep(Cursor(7))
    assert named(windows) == list(many(250))
    assert all(len(window.studies) <= 100 for window in windows)
    assert (cursor.sequence, due(cursor)) == (7, shelf.now + HOUR)
    assert Sweeper.has_swept(cursor) and not any(Sweeper.has_swept(window.end) for window in windows[:-1])


async def test_it_is_not_swept_before_its_time() -> None:
    """Until then there is the tail alone."""
    shelf = Shelf(many(3))
    cursor = await swept(shelf)
    shelf.studies["1.9"] = "a"
    shelf.now -= timedelta(seconds=1)
    assert await shelf.sweep(cursor) == ([], cursor)
    shelf.now += timedelta(seconds=1)
    windows, _ = await shelf.sweep(cursor)
    assert named(windows) == ["1.9"]


async def test_it_finds_what_is_new_changed_and_gone() -> None:
    """And names nothing else; what is gone has no fingerprint."""
    shelf = Shelf(many(150))
    cursor = await swept(shelf)
    del shelf.studies["1.0005"], shelf.studies["1.0120"]
    shelf.studies |= {"1.0007": "b", "1.9": "a"}
    windows, cursor = await shelf.sweep(cursor)
    seen = {uid: mark for window in windows for uid, mark in window.seen.items()}
    assert seen == {"1.0007": "b", "1.9": "a", "1.0005": "", "1.0120": ""}
    assert sorted(named(windows)) == sorted(seen)
    assert shelf.held == shelf.studies


async def test_latest_takes_note_and_casts_nothing() -> None:
    """Later changes and deletions of what was noted are seen all the same."""
    shelf = Shelf(many(5))
    windows, cursor = await shelf.sweep(Cursor(position=Sweeper.baseline))
    assert named(windows) == []
    assert shelf.held == many(5)
    assert not Sweeper.is_noting(cursor)
    shelf.now += HOUR
    shelf.studies |= {"1.0001": "b", "1.9": "a"}
    del shelf.studies["1.0002"]
    windows, _ = await shelf.sweep(cursor)
    assert sorted(named(windows)) == ["1.0001", "1.0002", "1.9"]


async def test_while_noting_what_is_gone_is_removed_all_the_same() -> None:
    """It was in FHIR before: a retry or a replay has put it there."""
    shelf = Shelf(many(2), held={"1.7": ""})
    windows, _ = await shelf.sweep(Cursor(position=Sweeper.baseline))
    assert named(windows) == ["1.7"]


async def test_more_than_the_limit_is_not_believed() -> None:
    """Nothing is named, the error says what to do, and it stays until the interval has passed."""
    shelf = Shelf(many(300))
    cursor = await swept(shelf)
    shelf.sweeper.limit = 10
    shelf.studies = dict(list(many(300).items())[11:])
    with pytest.raises(Retriable, match="Nothing was removed.*DICOMCAST_DICOM__VANISHED_LIMIT") as first:
        await shelf.sweep(cursor)
    assert len(shelf.held) == 300
    del shelf.asked[:]
    shelf.now += HOUR / 2
    shelf.told = [Window((), cursor, ("1.5",), {"1.5": "a"})]
    with pytest.raises(Retriable) as second:
        await shelf.sweep(cursor)
    assert second.value is first.value
    assert (shelf.asked, shelf.told, shelf.held["1.5"]) == ([], [], "a"), "the tail goes on, and nothing is listed"
    shelf.now += HOUR / 2
    with pytest.raises(Retriable):
        await shelf.sweep(cursor)
    assert len(shelf.asked) == 12, "they are looked for once more"


@pytest.mark.parametrize("healed", ["back", "raised"])
async def test_it_is_believed_once_they_are_back_or_the_limit_is_raised(healed: str) -> None:
    """Then the sweep goes through, and what is gone is named."""
    shelf = Shelf(many(20))
    cursor = await swept(shelf)
    shelf.sweeper.limit = 2
    shelf.studies = dict(list(many(20).items())[3:])
    with pytest.raises(Retriable):
        await shelf.sweep(cursor)
    if healed == "back":
        shelf.studies["1.0000"] = "a"
        shelf.now += HOUR
    else:  # A setting is read at the start of a process.
        shelf.sweeper = Sweeper(shelf, "shelf", HOUR, limit=3, clock=lambda: shelf.now)
    windows, cursor = await shelf.sweep(cursor)
    assert named(windows) == ["1.0000", "1.0001", "1.0002"][healed == "back" :]
    assert due(cursor) == shelf.now + HOUR
    shelf.now += HOUR
    assert named((await shelf.sweep(cursor))[0]) == []


async def test_as_many_as_the_limit_are_believed() -> None:
    """Of those that changed, any number is."""
    shelf = Shelf(many(20), held=many(23) | {"1.0001": "b", "1.0002": "b"})
    shelf.sweeper.limit = 3
    windows, _ = await shelf.sweep(Cursor())
    assert sorted(named(windows)) == ["1.0001", "1.0002", "1.0020", "1.0021", "1.0022"]


async def test_a_study_that_slips_between_two_pages_is_not_taken_for_gone() -> None:
    """Another leaves the first page while the second is asked for, and all move up by one: it is looked for alone."""
    shelf = Shelf(many(201))
    cursor = await swept(shelf)

    def between(page: int) -> None:
        if page == 1:
            del shelf.studies["1.0000"]
            shelf.studies["1.0100"] = "b"  # it slips, and has changed besides

    shelf.between = between
    windows, _ = await shelf.sweep(cursor)
    assert shelf.asked == ["1.0100"]
    assert {uid: mark for window in windows for uid, mark in window.seen.items()} == {"1.0100": "b"}


@pytest.mark.parametrize("order", [["b", "a", "c"], ["c", "b", "a"]])
def test_a_fingerprint_does_not_depend_on_order(order: list[str]) -> None:
    """But on everything else; and text that no encoding can write has one too."""
    assert fingerprint(order) == fingerprint(["a", "b", "c"])
    assert len({fingerprint(some) for some in (["a"], ["a", "a"], ["a", "b"], ["b"], [], ["\ud800"])}) == 6
