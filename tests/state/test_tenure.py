"""The lease as one process sees it: what it may do, and when it knows that it may not. Time is virtual."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest

from dicomcast.errors import LeaseLost, StateError
from dicomcast.model import Lease
from dicomcast.state import StateStore, open_store
from dicomcast.tenure import Tenure, elapsed

pytestmark = pytest.mark.looptime

FEED = "https://archive.test"
MINUTE = timedelta(minutes=1)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def clock() -> datetime:
    """The clock on the wall, which goes with the loop's."""
    return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())


@pytest.fixture
async def store() -> AsyncIterator[StateStore]:
    """A store of the test's own."""
    store = open_store("sqlite://")
    yield store
    await store.close()


def tenure(store: StateStore, passed: Callable[[], float] | None = None) -> Tenure:
    """With the loop's clock, or another one, for what has passed."""
    return Tenure(store, FEED, ttl=MINUTE, clock=clock, passed=passed or asyncio.get_running_loop().time)


class Away:
    """A store that cannot be reached for a while; it counts how often it was asked."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.away = False
        self.asked = 0

    async def acquire(self, feed: str, owner: str, now: datetime, ttl: timedelta) -> Lease:
        self.asked += 1
        if self.away:
            raise StateError("the disk is full")
        return await self.store.acquire(feed, owner, now, ttl)

    async def release(self, lease: Lease) -> None:
        await self.store.release(lease)


def test_owners_differ() -> None:
    """A container that was restarted has the name and process id of the one before, and is another owner."""
    names = {Tenure(open_store("sqlite://"), FEED, ttl=MINUTE, clock=clock).owner for _ in range(3)}
    assert len(names) == 3


async def test_nothing_may_be_written_without_a_lease(store: StateStore) -> None:
    """Before it is taken, when it ran out and after it was released, the epoch is an error."""
    mine = tenure(store)
    assert not mine.held
    with pytest.raises(LeaseLost):
        _ = mine.epoch
    await mine.take()
    assert (mine.held, mine.epoch) == (True, 1)
    await asyncio.sleep(60)
    assert not mine.held
    with pytest.raises(LeaseLost, match="run out before it was renewed"):
        _ = mine.epoch
    await mine.take()
    assert mine.epoch == 1
    await mine.release()
    with pytest.raises(LeaseLost):
        _ = mine.epoch


async def test_standing_by(store: StateStore) -> None:
    """The second hears who has it; released, it is had at once."""
    first, second = tenure(store), tenure(store)
    await first.take()
    assert (await second.take()).owner == first.owner
    assert not second.held
    await first.release()
    assert (await second.take()).owner == second.owner
    assert (second.held, second.epoch) == (True, 2)


async def test_a_stalled_owner_knows_by_itself(store: StateStore) -> None:
    """Stopped for longer than the lease, it does not write even before it asks the store; then it stands by."""
    first, second = tenure(store), tenure(store)
    await first.take()
    await asyncio.sleep(61)
    await second.take()
    with pytest.raises(LeaseLost):
        _ = first.epoch
    assert (await first.take()).owner == second.owner
    assert not first.held
    await first.release()
    assert second.held
    assert (await store.lease(FEED) or Lease(FEED, "", 0, EPOCH)).owner == second.owner


async def test_a_machine_that_was_suspended(store: StateStore) -> None:
    """The loop's clock stands still while a laptop or a VM sleeps; the lease runs out all the same."""
    asleep = 0.0
    mine = tenure(store, lambda: asyncio.get_running_loop().time() + asleep)
    await mine.take()
    await asyncio.sleep(1)
    assert mine.held
    asleep = 3600.0
    assert asyncio.get_running_loop().time() == 1
    assert not mine.held
    with pytest.raises(LeaseLost):
        _ = mine.epoch


def test_the_clock_that_goes_on_in_suspension(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLOCK_BOOTTIME where there is one, and what a lease is judged by unless it is told otherwise."""
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 77, raising=False)
    monkeypatch.setattr(time, "clock_gettime", lambda clock: clock * 1000.0)
    assert elapsed() == 77_000
    assert Tenure(open_store("sqlite://"), FEED, ttl=MINUTE, clock=clock)._passed is elapsed
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    assert elapsed() == 5


async def test_the_lease_is_counted_from_before_it_was_asked_for() -> None:
    """A store that answers late gives less time, never more."""

    class Slow:
        async def acquire(self, feed: str, owner: str, now: datetime, ttl: timedelta) -> Lease:
            await asyncio.sleep(40)
            return Lease(feed, owner, 1, now + ttl)

    mine = tenure(Slow())  # type: ignore[arg-type]
    await mine.take()
    assert asyncio.get_running_loop().time() == 40
    assert mine.held
    await asyncio.sleep(20)
    assert not mine.held


async def test_it_is_kept(store: StateStore) -> None:
    """Renewed three times in its life, it does not run out."""
    asked = Away(store)
    mine = tenure(asked)  # type: ignore[arg-type]
    await mine.take()
    keeper = asyncio.create_task(mine.keep())
    for _ in range(30):
        await asyncio.sleep(59)
        assert mine.held and mine.epoch == 1
    assert asked.asked == 1 + 30 * 59 // 20
    keeper.cancel()


async def test_a_store_that_is_away_is_asked_again(store: StateStore) -> None:
    """A failure that passes costs nothing; one that lasts costs the lease, which comes back with the store."""
    asked = Away(store)
    mine = tenure(asked)  # type: ignore[arg-type]
    await mine.take()
    keeper = asyncio.create_task(mine.keep())
    await asyncio.sleep(15)
    asked.away = True
    await asyncio.sleep(30)
    asked.away = False
    await asyncio.sleep(30)
    assert mine.held
    asked.away = True
    await asyncio.sleep(60)
    assert not mine.held
    asked.away = False
    await asyncio.sleep(21)
    assert mine.held
    assert not keeper.done()
    keeper.cancel()


async def test_nothing_is_kept_that_is_not_held(store: StateStore) -> None:
    """While it stands by, or after it was released, the keeper does not take the lease behind the worker's back."""
    first, second = tenure(store), tenure(store)
    await first.take()
    await second.take()
    keeper = asyncio.create_task(second.keep())
    await first.release()
    await asyncio.sleep(300)
    assert not second.held
    assert (await store.acquire(FEED, "third", clock(), MINUTE)).owner == "third"
    keeper.cancel()


async def test_a_take_over_is_noticed_by_the_keeper(store: StateStore) -> None:
    """When another took over meanwhile, the next renewal says so and changes nothing."""
    mine = tenure(store)
    await mine.take()
    keeper = asyncio.create_task(mine.keep())
    await store.acquire(FEED, "other", clock() + timedelta(hours=1), timedelta(days=1))
    await asyncio.sleep(25)
    assert not mine.held
    assert (await store.lease(FEED) or Lease(FEED, "", 0, EPOCH)).owner == "other"
    assert not keeper.done()
    keeper.cancel()


async def test_a_lease_that_somebody_else_had_meanwhile_is_not_taken_anew(store: StateStore) -> None:
    """A worker that slept through its lease wakes with a window in hand: what it was begun under is gone for good."""
    slept, other = tenure(store), tenure(store)
    await slept.take()
    keeping = asyncio.create_task(slept.keep())
    lease = slept._lease
    assert lease is not None
    slept._store = Away(store)  # type: ignore[assignment]
    slept._store.away = True  # type: ignore[attr-defined]
    await asyncio.sleep(90)
    await other.take()
    await other.release()
    slept._store = store
    await asyncio.sleep(45)
    with pytest.raises(LeaseLost):
        slept.epoch  # noqa: B018
    assert not slept.held
    taken = await other.take()
    assert other.held and taken.epoch > lease.epoch, "it was given back at once"
    await slept.take()
    assert not slept.held
    keeping.cancel()
