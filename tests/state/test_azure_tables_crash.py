"""A process that writes to an Azure table dies between any two requests: a window is settled whole, or not at all."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomcast.errors import CursorMoved, LeaseLost, StateError
from dicomcast.model import Checkpoint, Cursor, Parked
from dicomcast.state.azure_entities import JOURNAL, batches
from dicomcast.state.azure_tables import AzureTablesStore
from tests.state.table_double import Shelf, store_on
from tests.stores import MINUTE, NOW, key, row

FEED = "https://archive.test"
BEFORE = [row(f"{number:04}") for number in range(150)]
SIZES = [
    pytest.param(5, id="that fits into one transaction"),
    pytest.param(250, id="of some hundred rows"),
    pytest.param(900, id="of many hundred rows", marks=pytest.mark.long),
]
Seen = tuple[int, Cursor | None, list[Parked], list[str]]


@asynccontextmanager
async def opened(shelf: Shelf, *, read_only: bool = False) -> AsyncIterator[AzureTablesStore]:
    """A process of its own."""
    store = store_on(shelf, read_only=read_only)
    try:
        yield store
    finally:
        await store.close()


async def seen(shelf: Shelf, *, read_only: bool = False) -> Seen:
    """What a new process finds."""
    async with opened(shelf, read_only=read_only) as store:
        at = await store.load(FEED)
        return at.revision, at.cursor, await store.parked(FEED), await store.inventory(FEED, limit=10_000)


async def prepared() -> Shelf:
    """A feed with a cursor, a lease and rows."""
    shelf = Shelf()
    async with opened(shelf) as store:
        lease = await store.acquire(FEED, "a", NOW, MINUTE)
        at = await store.advance(Checkpoint(FEED, None), to=Cursor(1), parked=BEFORE, epoch=lease.epoch)
        await store.record(FEED, {"1": "x", "2": "y"}, epoch=lease.epoch)
        assert at.revision == 1
    return shelf


def window(size: int) -> Callable[[AzureTablesStore], Awaitable[object]]:
    """Settle a window that parks many studies, and resolves half of those that were."""
    parked = [row(f"{number:04}", attempts=2) for number in range(75, 75 + size)]

    async def work(store: AzureTablesStore) -> object:
        at = await store.load(FEED)
        resolved = [one.key for one in BEFORE[:75]]
        return await store.advance(at, to=Cursor(2), parked=parked, resolved=resolved, read=BEFORE, epoch=1)

    return work


def notes(size: int) -> Callable[[AzureTablesStore], Awaitable[object]]:
    """Note many studies, and that one is gone."""

    async def work(store: AzureTablesStore) -> object:
        marks = {f"9.{number}": "z" for number in range(size)}
        await store.record(FEED, {**marks, "1": None}, epoch=1)
        return None

    return work


async def outcomes(work: Callable[[AzureTablesStore], Awaitable[object]]) -> tuple[Seen, Seen, int]:
    """What is there before and after, and after how many requests."""
    shelf = await prepared()
    before, first = await seen(shelf), shelf.requests
    async with opened(shelf) as store:
        first = shelf.requests
        await work(store)
    last = shelf.requests
    assert not [one for _, one in shelf.entities if one.startswith(JOURNAL)], "a journal was left"
    return before, await seen(shelf), last - first


def points(requests: int) -> list[int]:
    """The number of each request, and that of one that is never made; where there are many, every some."""
    return [*range(1, requests + 1, 1 + requests // 8), requests + 1]


@pytest.mark.parametrize("late", [False, True], ids=["before a request", "after a request"])
@pytest.mark.parametrize("work", [window, notes])
@pytest.mark.parametrize("size", SIZES)
async def test_killed_between_any_two_requests(
    size: int, work: Callable[[int], Callable[[AzureTablesStore], Awaitable[object]]], late: bool
) -> None:
    """A new process, and one that only looks, find what was there before or all that was to be settled.

    Once it has taken the lease, nothing is left of what the dead one was at, and that one is refused.
    """
    before, after, requests = await outcomes(work(size))
    found_after = 0
    for lives in points(requests):
        shelf = await prepared()
        shelf.lives, shelf.late = lives, late
        async with opened(shelf) as dead:
            # A settled window is settled, whatever comes after it.
            with suppress(StateError):
                await work(size)(dead)
        shelf.lives = None
        found = await seen(shelf, read_only=True)
        assert found in (before, after)
        assert await seen(shelf) == found
        found_after += found == after
        async with opened(shelf) as heir:
            assert (await heir.acquire(FEED, "b", NOW + 2 * MINUTE, MINUTE)).epoch == 2
            assert not [one for _, one in shelf.entities if one.startswith(JOURNAL)]
            at = await heir.load(FEED)
            await heir.advance(at, to=Cursor(3), resolved=[row.key for row in found[2]], epoch=2)
            assert await heir.parked(FEED) == []
        with pytest.raises(LeaseLost):
            async with opened(shelf) as late_one:
                await work(size)(late_one)
    assert found_after > 0


async def test_an_answer_that_is_lost() -> None:
    """The SDK repeats a write that was done, and is refused: that is our own, and no other worker's."""
    shelf = await prepared()
    shelf.twice = True
    async with opened(shelf) as store:
        at = await store.load(FEED)
        settled = await store.advance(at, to=Cursor(2), parked=[row("new")], epoch=1)
        assert (settled.revision, (await store.load(FEED)).revision) == (2, 2)
        assert (await store.acquire(FEED, "b", NOW + 2 * MINUTE, MINUTE)).epoch == 2
        await store.record(FEED, {"3": "z"}, epoch=2)
    assert (await seen(shelf))[3] == ["1", "2", "3"]


async def test_one_that_stalls_in_the_middle_of_a_journal() -> None:
    """Whoever comes next brings it into the rows; waking up, the first undoes nothing of what was written since."""
    shelf = await prepared()
    async with opened(shelf) as first, opened(shelf) as second:
        at = await first.load(FEED)
        many = [row(f"{number:04}", attempts=2) for number in range(400)]
        for lives in count(1):
            shelf.lives = lives
            try:
                await first.advance(at, to=Cursor(2), parked=many, epoch=1)
                shelf.lives = None
                break  # settled, and stalled before all of it was in the rows
            except StateError:
                shelf.lives = None
        assert [one for _, one in shelf.entities if one.startswith(JOURNAL)]
        await second.settle(FEED, parked=[row("0399", attempts=9)], resolved=[key("0000")])
        await first.settle(FEED, parked=[row("new")])
        rows = {one.key.study_uid: one.attempts for one in await first.parked(FEED)}
    assert (rows["0399"], "0000" in rows, "new" in rows, len(rows)) == (9, False, True, 400)


async def test_two_that_settle_more_than_a_transaction_holds() -> None:
    """Each writes a journal for the same version: the head names one, and the other is refused and cleared away."""
    shelf = await prepared()
    async with opened(shelf) as one, opened(shelf) as two:
        at, same = await one.load(FEED), await two.load(FEED)
        await two.parked(FEED)
        many = [row(f"{number:04}", attempts=2) for number in range(400)]
        await one.advance(at, to=Cursor(2), parked=many, epoch=1)
        with pytest.raises(CursorMoved):
            await two.advance(same, to=Cursor(3), parked=[replace(each, attempts=3) for each in many], epoch=1)
        assert {each.attempts for each in await two.parked(FEED)} == {2}
        await one.acquire(FEED, "b", NOW + 2 * MINUTE, MINUTE)
    assert not [one for _, one in shelf.entities if one.startswith(JOURNAL)]


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.booleans())
async def test_dying_again_and_again(seed: int, late: bool) -> None:
    """Processes that die at any request, one after the other, on the same window: it is settled once, and whole."""
    chance, shelf = random.Random(seed), await prepared()
    rows = [row(f"{number:04}", attempts=2) for number in range(300)]
    while (await seen(shelf, read_only=True))[0] < 4:
        shelf.lives, shelf.late = chance.randrange(25), late
        async with opened(shelf) as store:
            try:
                at = await store.load(FEED)
                parked, gone = chance.sample(rows, 200), chance.sample(rows, 100)
                goes = [one.key for one in gone if one not in parked]
                before = {one.key: one for one in await store.parked(FEED)}
                settled = {one.key: one for one in parked}
                await store.advance(at, to=Cursor(at.revision), parked=parked, resolved=goes, epoch=1)
                expected = {name: one for name, one in (before | settled).items() if name not in goes}
                shelf.lives = None
                assert {one.key: one for one in await store.parked(FEED)} == expected
            except StateError:
                shelf.lives = None


def test_what_is_sent_is_less_than_a_transaction_holds() -> None:
    """Escapes count: a journal that is settled and cannot be brought into its rows would stop the feed for good."""
    texts = [(f"key{number}", '"' * 25_000) for number in range(300)]
    cut = list(batches(texts))
    assert [one for batch in cut for one in batch] == texts
    assert max(len(json.dumps(batch)) for batch in cut) < 3 * 2**20


async def test_steady_work_is_one_request_a_window() -> None:
    """What is known of the table goes on being known; parked rows are not read again before somebody changes them."""
    shelf = await prepared()
    async with opened(shelf) as store:
        at = await store.load(FEED)
        await store.parked(FEED)
        requests = shelf.requests
        for sequence in range(2, 12):
            at = await store.advance(at, to=Cursor(sequence), resolved=[key("none"), BEFORE[sequence].key], epoch=1)
        assert shelf.requests == requests + 10
        for _ in range(10):
            assert len(await store.parked(FEED)) == len(BEFORE) - 10
            assert len(await store.due(FEED, NOW)) == 100
        assert shelf.requests == requests + 30
