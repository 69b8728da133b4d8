"""The contract of every state store: one atomic write, fenced by revision and epoch; see tests/stores.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest

from dicomcast.errors import CursorMoved, LeaseLost, StateError
from dicomcast.model import Checkpoint, Cursor, Lease, Stage, StudyKey
from dicomcast.state import StateStore
from tests.stores import BACKENDS, MINUTE, NOW, SHARED, key, row

CURSOR = Cursor(7, "2026-01-01T11:59:59.1234567Z", {"api": "v2", "seen": [[1, "a"], [2, "ü"]], "deep": {"x": None}})


@pytest.fixture
def feed() -> str:
    """A feed that no other test uses, so that a store may be one for all of them."""
    return f"https://archive.test/{uuid4()}"


Opener = Callable[[], StateStore]


@pytest.fixture
async def opener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens connections to one store, closed at the end."""
    backend = BACKENDS[request.param]
    server = request.getfixturevalue(backend.server) if backend.server else ""
    async with AsyncExitStack() as stack:

        def connect() -> StateStore:
            store = backend.open(tmp_path, server)
            stack.push_async_callback(store.close)
            return store

        yield connect


@pytest.mark.parametrize("opener", BACKENDS, indirect=True)
class TestContract:
    """What holds for one connection."""

    @pytest.fixture
    def store(self, opener: Opener) -> StateStore:
        return opener()

    # --- The checkpoint ---

    async def test_a_feed_that_was_never_saved(self, store: StateStore, feed: str) -> None:
        """There is no cursor and revision 0: the worker starts at WORKER__START."""
        assert await store.load(feed) == Checkpoint(feed, None)
        assert await store.parked(feed) == []
        assert await store.lease(feed) is None

    async def test_what_was_settled_is_loaded(self, store: StateStore, feed: str) -> None:
        """Cursor, position and revision come back as they went in; ticks of a timestamp too."""
        settled = await store.advance(await store.load(feed), to=CURSOR)
        assert (settled.cursor, settled.revision) == (CURSOR, 1)
        assert settled.updated_at is not None and settled.updated_at.tzinfo is not None
        assert await store.load(feed) == settled
        again = await store.advance(settled, to=Cursor(8))
        assert again.revision == 2
        assert (await store.load(feed)).cursor == Cursor(8)

    async def test_a_stale_checkpoint_moves_nothing(self, store: StateStore, feed: str) -> None:
        """Somebody else settled a window since: neither cursor nor rows change."""
        stale = await store.load(feed)
        settled = await store.advance(stale, to=CURSOR, parked=[row("1")])
        for checkpoint in (stale, replace(settled, revision=2)):
            with pytest.raises(CursorMoved):
                await store.advance(checkpoint, to=Cursor(99), parked=[row("2")], resolved=[key("1")])
        assert await store.load(feed) == settled
        assert await store.parked(feed) == [row("1")]

    async def test_settling_a_window_is_one_write(self, store: StateStore, feed: str) -> None:
        """One row that cannot be stored takes the cursor, the other rows and the resolved ones back with it."""
        settled = await store.advance(await store.load(feed), to=CURSOR, parked=[row("1")])
        broken = row("3", attempts=None)
        with pytest.raises(StateError):
            await store.advance(settled, to=Cursor(99), parked=[row("2"), broken, row("4")], resolved=[key("1")])
        with pytest.raises(StateError):
            await store.settle(feed, parked=[row("2"), broken], resolved=[key("1")])
        assert await store.load(feed) == settled
        assert await store.parked(feed) == [row("1")]
        assert (await store.advance(settled, to=Cursor(8))).revision == 2

    async def test_parked_and_resolved_at_once_is_refused(self, store: StateStore, feed: str) -> None:
        """A contradiction is a defect of the caller's and not guessed at."""
        at = await store.load(feed)
        with pytest.raises(ValueError, match="at once"):
            await store.advance(at, to=CURSOR, parked=[row("1"), row("2")], resolved=[key("2")])
        with pytest.raises(ValueError, match="at once"):
            await store.settle(feed, parked=[row("1")], resolved=[key("1")])
        assert await store.load(feed) == at
        assert await store.parked(feed) == []

    # --- The rows ---

    async def test_a_row_comes_back_as_it_was(self, store: StateStore, feed: str) -> None:
        """All fields, those that are not set, and moments of any time zone to the microsecond."""
        moment = datetime(2026, 3, 4, 5, 6, 7, 890123, timezone(timedelta(hours=5, minutes=30)))
        full = replace(
            row("1.2.3", "north/ward ü"),
            first_sequence=2**40,
            last_sequence=2**40 + 1,
            stage=Stage.READ,
            message="study 1.2.3: 'quoted'; --\n",
            status=422,
            codes=("invalid Patient.name", "x"),
            attempts=36,
            first_seen=moment,
            last_seen=moment,
            next_attempt=None,
        )
        bare = replace(row("1.2.4"), first_seen=None, last_seen=None, next_attempt=None)
        await store.settle(feed, parked=[full, bare])
        assert {one.key: one for one in await store.parked(feed)} == {full.key: full, bare.key: bare}

    async def test_a_row_is_replaced_and_resolved(self, store: StateStore, feed: str) -> None:
        """A study has one row; resolving what has none does nothing."""
        at = await store.advance(await store.load(feed), to=CURSOR, parked=[row("1"), row("2")])
        await store.advance(at, to=Cursor(8), parked=[row("1", attempts=2)], resolved=[key("2"), key("3")])
        assert await store.parked(feed) == [row("1", attempts=2)]

    async def test_a_study_in_two_partitions_has_two_rows(self, store: StateStore, feed: str) -> None:
        """Resolving one leaves the other."""
        await store.settle(feed, parked=[row("1"), row("1", "north"), row("1", "south")])
        await store.settle(feed, resolved=[key("1", "north")])
        assert [one.key.partition for one in await store.parked(feed)] == ["", "south"]

    async def test_rows_are_listed_oldest_first(self, store: StateStore, feed: str) -> None:
        """By the moment they were first seen, whatever time zone it was written in."""
        ages = {"a": 3, "b": 1, "c": 2, "d": 5}
        east = timezone(timedelta(hours=9))
        rows = [row(name, first_seen=(NOW - age * MINUTE).astimezone(east)) for name, age in ages.items()]
        await store.settle(feed, parked=rows)
        assert [one.key.study_uid for one in await store.parked(feed)] == ["d", "a", "c", "b"]

    async def test_what_is_due(self, store: StateStore, feed: str) -> None:
        """The longest overdue first, no more than asked for, and no dead letter ever."""
        due = {"late": -5, "later": -60, "now": 0, "soon": 1}
        rows = [row(name, next_attempt=NOW + minutes * MINUTE) for name, minutes in due.items()]
        await store.settle(feed, parked=[*rows, row("dead", next_attempt=None)])
        assert [one.key.study_uid for one in await store.due(feed, NOW)] == ["later", "late", "now"]
        assert [one.key.study_uid for one in await store.due(feed, NOW, limit=2)] == ["later", "late"]
        assert await store.due(feed, NOW - 90 * MINUTE) == []
        assert len(await store.due(feed, datetime(9999, 1, 1, tzinfo=UTC))) == 4

    async def test_settling_rows_leaves_the_cursor(self, store: StateStore, feed: str) -> None:
        """A replay, a retry or an operator beside the worker does not make its checkpoint stale."""
        at = await store.advance(await store.load(feed), to=CURSOR)
        await store.settle(feed, parked=[row("1")])
        assert await store.load(feed) == at
        assert (await store.advance(at, to=Cursor(8))).revision == 2

    async def test_feeds_do_not_meet(self, store: StateStore, feed: str) -> None:
        """Two sources in one store have their own cursor, rows and lease, for the same studies too."""
        other = feed + "/other"
        await store.acquire(other, "somebody", NOW, MINUTE)
        await store.advance(await store.load(other), to=Cursor(99), parked=[row("1", attempts=9)])
        assert await store.load(feed) == Checkpoint(feed, None)
        assert (await store.parked(feed), await store.due(feed, NOW), await store.lease(feed)) == ([], [], None)
        mine = await store.acquire(feed, "me", NOW, MINUTE)
        await store.advance(await store.load(feed), to=CURSOR, resolved=[key("1")], epoch=mine.epoch)
        assert await store.parked(other) == [row("1", attempts=9)]
        assert (await store.load(other)).cursor == Cursor(99)

    # --- The list of a backfill ---

    async def test_a_backfill_is_a_list_of_studies(self, store: StateStore, feed: str) -> None:
        """A study of two partitions is two, one that is put on it twice is on it once; what is off is off."""
        some = [StudyKey(feed, partition, uid) for partition in ("", "north ü") for uid in ("1.2", "1.3", "")]
        assert (await store.enlisted(feed), await store.count_enlisted(feed)) == ([], 0)
        await store.enlist(feed, some)
        await store.enlist(feed, some[:2])
        assert sorted(await store.enlisted(feed)) == sorted(some)
        first = await store.enlisted(feed, 2)
        assert len(first) == 2 and await store.enlisted(feed, 2) == first
        await store.delist(feed, [*first, StudyKey(feed, "", "9.9")])
        assert sorted(await store.enlisted(feed)) == sorted(set(some) - set(first))
        assert await store.count_enlisted(feed) == 4
        await store.delist(feed, [])
        await store.enlist(feed, [])
        assert await store.count_enlisted(feed) == 4
        await store.delist(feed, None)
        assert (await store.enlisted(feed), await store.count_enlisted(feed)) == ([], 0)

    async def test_a_long_backfill(self, store: StateStore, feed: str) -> None:
        """More than a store takes at once is taken in pieces, without anybody noticing."""
        some = [StudyKey(feed, "", f"1.{number}") for number in range(450)]
        await store.enlist(feed, some)
        assert await store.count_enlisted(feed) == 450
        await store.delist(feed, some[:430])
        assert sorted(await store.enlisted(feed)) == sorted(some[430:])

    async def test_backfills_do_not_meet(self, store: StateStore, feed: str) -> None:
        """What is taken off the list of one archive stays on another's."""
        other = feed + "/other"
        await store.enlist(feed, [StudyKey(feed, "", "1")])
        await store.enlist(other, [StudyKey(other, "", "1"), StudyKey(other, "", "2")])
        await store.delist(feed, None)
        await store.delist(other, [StudyKey(other, "", "2")])
        assert (await store.enlisted(feed), await store.enlisted(other)) == ([], [StudyKey(other, "", "1")])

    async def test_a_stalled_owner_changes_no_list(self, store: StateStore, feed: str) -> None:
        """Its successor may have begun another one."""
        old = await store.acquire(feed, "a", NOW, MINUTE)
        await store.enlist(feed, [StudyKey(feed, "", "1")], epoch=old.epoch)
        new = await store.acquire(feed, "b", NOW + MINUTE, MINUTE)
        with pytest.raises(LeaseLost):
            await store.enlist(feed, [StudyKey(feed, "", "2")], epoch=old.epoch)
        for studies in (None, [StudyKey(feed, "", "1")]):
            with pytest.raises(LeaseLost):
                await store.delist(feed, studies, epoch=old.epoch)
        assert await store.enlisted(feed) == [StudyKey(feed, "", "1")]
        await store.delist(feed, None, epoch=new.epoch)
        assert await store.enlisted(feed) == []

    # --- The inventory ---

    async def test_what_was_seen_is_kept(self, store: StateStore, feed: str) -> None:
        """By study; what is noted anew replaces it, None takes it out, and "" is a note like any other."""
        assert (await store.fingerprints(feed, ["1"]), await store.inventory(feed)) == ({}, [])
        await store.record(feed, {"1": "a", "2": "b", "3": "c", "4": None})
        await store.record(feed, {"2": "", "3": None, "ü'; --": "d"})
        assert await store.fingerprints(feed, ["1", "2", "3", "4", "ü'; --"]) == {"1": "a", "2": "", "ü'; --": "d"}
        assert await store.fingerprints(feed, []) == {}
        assert await store.inventory(feed) == ["1", "2", "ü'; --"]

    async def test_an_inventory_is_read_in_pieces(self, store: StateStore, feed: str) -> None:
        """In one order, behind a study that may be gone by then; any number is looked up at once."""
        uids = sorted(f"1.{number}" for number in range(2500))
        await store.record(feed, dict.fromkeys(uids, "a"))
        found: list[str] = []
        while some := await store.inventory(feed, found[-1] if found else "", 400):
            assert len(some) <= 400
            found += some
            await store.record(feed, {some[-1]: None})
        assert found == uids
        assert len(await store.inventory(feed)) == 1000
        left = await store.fingerprints(feed, uids)
        assert len(left) == 2500 - 7

    async def test_inventories_do_not_meet(self, store: StateStore, feed: str) -> None:
        """Two archives may hold the same study."""
        other = feed + "/other"
        await store.record(feed, {"1": "a", "2": "a"})
        await store.record(other, {"1": "b"})
        await store.record(feed, {"2": None})
        assert await store.fingerprints(other, ["1", "2"]) == {"1": "b"}
        assert (await store.inventory(feed), await store.inventory(other)) == (["1"], ["1"])

    async def test_a_stalled_owner_notes_nothing(self, store: StateStore, feed: str) -> None:
        """What its successor has seen since is newer."""
        old = await store.acquire(feed, "a", NOW, MINUTE)
        await store.record(feed, {"1": "a"}, epoch=old.epoch)
        new = await store.acquire(feed, "b", NOW + MINUTE, MINUTE)
        await store.record(feed, {"1": "b"}, epoch=new.epoch)
        for seen in ({"1": "c", "2": "c"}, {"1": None}):
            with pytest.raises(LeaseLost):
                await store.record(feed, seen, epoch=old.epoch)
        assert await store.fingerprints(feed, ["1", "2"]) == {"1": "b"}

    async def test_noting_leaves_the_cursor(self, store: StateStore, feed: str) -> None:
        """Neither revision nor rows change."""
        at = await store.advance(await store.load(feed), to=CURSOR, parked=[row("1")])
        await store.record(feed, {"1": "a"})
        assert (await store.load(feed), await store.parked(feed)) == (at, [row("1")])

    # --- The lease ---

    async def test_of_two_owners_one_has_the_lease(self, store: StateStore, feed: str) -> None:
        """It is prolonged under the same epoch; another is told who has it and until when."""
        lease = await store.acquire(feed, "a", NOW, MINUTE)
        assert lease == Lease(feed, "a", 1, NOW + MINUTE)
        assert await store.acquire(feed, "b", NOW + MINUTE / 2, MINUTE) == lease
        renewed = await store.acquire(feed, "a", NOW + MINUTE / 2, MINUTE)
        assert renewed == Lease(feed, "a", 1, NOW + 1.5 * MINUTE)
        assert await store.lease(feed) == renewed

    async def test_a_lease_that_ran_out_is_taken_over(self, store: StateStore, feed: str) -> None:
        """At the moment it runs out, and with a new epoch each time."""
        await store.acquire(feed, "a", NOW, MINUTE)
        assert (await store.acquire(feed, "b", NOW + MINUTE - timedelta(microseconds=1), MINUTE)).owner == "a"
        assert await store.acquire(feed, "b", NOW + MINUTE, MINUTE) == Lease(feed, "b", 2, NOW + 2 * MINUTE)
        assert (await store.acquire(feed, "a", NOW + 2 * MINUTE, MINUTE)).epoch == 3

    async def test_an_owner_that_comes_back_late_goes_on(self, store: StateStore, feed: str) -> None:
        """Nobody took over meanwhile, so its epoch is still the last."""
        await store.acquire(feed, "a", NOW, MINUTE)
        assert await store.acquire(feed, "a", NOW + 90 * MINUTE, MINUTE) == Lease(feed, "a", 1, NOW + 91 * MINUTE)

    async def test_a_released_lease_is_free_at_once(self, store: StateStore, feed: str) -> None:
        """The next owner does not wait, and gets a new epoch, so that what the last one still sends is refused."""
        lease = await store.acquire(feed, "a", NOW, MINUTE)
        await store.release(lease)
        assert await store.acquire(feed, "b", NOW, MINUTE) == Lease(feed, "b", 2, NOW + MINUTE)
        with pytest.raises(LeaseLost):
            await store.settle(feed, epoch=lease.epoch)

    async def test_releasing_what_is_anothers_does_nothing(self, store: StateStore, feed: str) -> None:
        """A worker that wakes up and says good-bye does not throw its successor out."""
        old = await store.acquire(feed, "a", NOW, MINUTE)
        taken = await store.acquire(feed, "b", NOW + MINUTE, MINUTE)
        await store.release(old)
        await store.release(replace(old, epoch=2))
        await store.release(replace(old, owner="b"))
        assert await store.lease(feed) == taken

    async def test_a_stalled_owner_writes_nothing(self, store: StateStore, feed: str) -> None:
        """After a take-over neither a window nor a row of the old epoch is taken."""
        old = await store.acquire(feed, "a", NOW, MINUTE)
        at = await store.advance(await store.load(feed), to=CURSOR, parked=[row("1")], epoch=old.epoch)
        new = await store.acquire(feed, "b", NOW + MINUTE, MINUTE)
        with pytest.raises(LeaseLost):
            await store.advance(at, to=Cursor(99), parked=[row("2")], resolved=[key("1")], epoch=old.epoch)
        with pytest.raises(LeaseLost):
            await store.settle(feed, parked=[row("2")], resolved=[key("1")], epoch=old.epoch)
        assert await store.load(feed) == at
        assert await store.parked(feed) == [row("1")]
        assert (await store.advance(at, to=Cursor(8), epoch=new.epoch)).revision == 2

    async def test_an_epoch_that_never_was_is_refused(self, store: StateStore, feed: str) -> None:
        """Without a lease there is no epoch to write under."""
        at = await store.load(feed)
        for epoch in (0, 1, 7):
            with pytest.raises(LeaseLost):
                await store.advance(at, to=CURSOR, epoch=epoch)
            with pytest.raises(LeaseLost):
                await store.settle(feed, parked=[row("1")], epoch=epoch)
        assert await store.load(feed) == at

    async def test_an_operator_needs_no_lease(self, store: StateStore, feed: str) -> None:
        """`epoch=None` is a hand from outside: it drops and revives rows beside the active worker."""
        lease = await store.acquire(feed, "a", NOW, MINUTE)
        await store.settle(feed, parked=[row("1"), row("2")])
        await store.settle(feed, resolved=[key("1")])
        assert await store.parked(feed) == [row("2")]
        assert await store.lease(feed) == lease

    # --- Tasks ---

    async def test_many_tasks_share_a_connection(self, store: StateStore, feed: str) -> None:
        """What is asked for at once is done one after the other, and all of it."""
        await asyncio.gather(*(store.settle(feed, parked=[row(f"{number:02}")]) for number in range(40)))
        assert [one.key.study_uid for one in await store.parked(feed)] == [f"{number:02}" for number in range(40)]

    async def test_a_cancelled_write_leaves_the_store_usable(self, store: StateStore, feed: str) -> None:
        """Whether it was written or not, it was written whole, and the next call works."""
        at = await store.load(feed)
        task = asyncio.create_task(store.advance(at, to=CURSOR, parked=[row("1")]))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        found, rows = await store.load(feed), await store.parked(feed)
        assert (found.cursor, rows) in ((None, []), (CURSOR, [row("1")]))
        assert (await store.advance(found, to=Cursor(8))).revision == found.revision + 1

    async def test_closing_what_was_never_used(self, opener: Opener) -> None:
        """`open_store` touches nothing yet, so there is nothing to close, and no error."""
        await opener().close()


@pytest.mark.parametrize("opener", SHARED, indirect=True)
class TestTwoConnections:
    """What holds between two processes on one store."""

    async def test_what_one_wrote_the_other_reads(self, opener: Opener, feed: str) -> None:
        """At once, and after both have gone."""
        one, two = opener(), opener()
        assert (await two.load(feed)).revision == 0
        lease = await one.acquire(feed, "a", NOW, MINUTE)
        settled = await one.advance(await one.load(feed), to=CURSOR, parked=[row("1")], epoch=lease.epoch)
        assert (await two.load(feed), await two.parked(feed), await two.lease(feed)) == (settled, [row("1")], lease)
        await one.close()
        assert await opener().load(feed) == settled

    async def test_of_two_that_settle_one_window_one_does(self, opener: Opener, feed: str) -> None:
        """Whoever is second hears of it; the cursor moves once, with the rows of the first."""
        stores = [opener(), opener()]
        for number in range(1, 9):
            at = await stores[number % 2].load(feed)
            results = await asyncio.gather(
                *(
                    store.advance(at, to=Cursor(number), parked=[row(f"{number}", f"of {name}")])
                    for name, store in enumerate(stores)
                ),
                return_exceptions=True,
            )
            (winner,) = [one for one in results if isinstance(one, Checkpoint)]
            (loser,) = [one for one in results if isinstance(one, CursorMoved)]
            assert (winner.revision, loser.exit_code) == (number, 77)
            kept = f"of {results.index(winner)}"
            assert [one.key.partition for one in await stores[0].parked(feed) if one.key.study_uid == f"{number}"] == [
                kept
            ]

    async def test_of_two_that_take_a_lease_one_has_it(self, opener: Opener, feed: str) -> None:
        """Both hear the same owner and epoch, every time it runs out."""
        stores = {"a": opener(), "b": opener()}
        for number in range(1, 9):
            now = NOW + number * MINUTE
            one, two = await asyncio.gather(*(store.acquire(feed, name, now, MINUTE) for name, store in stores.items()))
            assert one == two
            assert one.expires_at == now + MINUTE

    async def test_both_make_the_store(self, opener: Opener, feed: str) -> None:
        """The first use of a new store, by several at once, is no conflict."""
        stores = [opener() for _ in range(4)]
        assert [one.revision for one in await asyncio.gather(*(store.load(feed) for store in stores))] == [0] * 4
