"""The limiter: how many requests a peer gets at once, whatever it answers and whoever is cancelled. Time is virtual."""

from __future__ import annotations

import asyncio

import pytest

from dicomcast.limiter import Limiter

pytestmark = pytest.mark.looptime


async def crowd(limiter: Limiter, size: int, seconds: float = 1.0) -> tuple[int, float]:
    """Let `size` requests of some seconds compete; the most that ran at once, and how long all took."""
    loop = asyncio.get_running_loop()
    began, running, most = loop.time(), 0, 0

    async def request() -> None:
        nonlocal running, most
        async with limiter.slot():
            running += 1
            most = max(most, running)
            await asyncio.sleep(seconds)
            running -= 1

    await asyncio.gather(*(request() for _ in range(size)))
    return most, loop.time() - began


async def test_no_more_than_the_limit_run_at_once() -> None:
    """Ten requests of a second with room for four take three seconds, and never five at once."""
    assert await crowd(Limiter(4), 10) == (4, 3.0)


async def throttle(limiter: Limiter, *, began: float | None = None, retry_after: float = 0.0) -> None:
    """A second passes, and the peer throttles what began at its start, or at a given time."""
    now = asyncio.get_running_loop().time
    began = now() if began is None else began
    await asyncio.sleep(1)
    limiter.throttled(began, retry_after)


async def test_a_burst_of_refusals_halves_once() -> None:
    """Eight requests under way when the peer throttles are one reason to halve, not eight."""
    limiter = Limiter(8)
    for _ in range(8):
        await throttle(limiter, began=0.0)
    assert limiter.limit == 4
    await throttle(limiter)
    assert limiter.limit == 2


async def test_refusals_within_one_instant_halve_once() -> None:
    """A clock that is too coarse to tell requests apart makes no second burst of one."""
    limiter = Limiter(8)
    limiter.throttled(0.0, 0.0)
    limiter.throttled(0.0, 0.0)
    assert limiter.limit == 4


async def test_a_refusal_of_what_began_before_the_halving_changes_nothing() -> None:
    """Refusals that come late, one by one, of requests that began before, do not halve again."""
    limiter = Limiter(16)
    await asyncio.sleep(5)
    await throttle(limiter)
    assert limiter.limit == 8
    for began in (0.0, 4.0, 5.5, 6.0):
        await throttle(limiter, began=began)
    assert limiter.limit == 8
    await throttle(limiter, began=6.5)
    assert limiter.limit == 4


async def test_never_below_one() -> None:
    """However often a peer throttles, it is still asked, one request at a time."""
    limiter = Limiter(8)
    for _ in range(20):
        await throttle(limiter)
    assert limiter.limit == 1
    assert await crowd(limiter, 3) == (1, 3.0)


async def test_creeps_back_one_by_one_and_no_further_than_most() -> None:
    """As many answers as run at once add one, up to what the settings allow."""
    limiter = Limiter(8)
    await throttle(limiter)
    assert limiter.limit == 4
    for limit in (5, 6, 7, 8):
        answers = 0
        while limiter.limit < limit:
            limiter.answered()
            answers += 1
        assert limit - 2 <= answers <= limit
    for _ in range(100):
        limiter.answered()
    assert limiter.limit == 8


async def test_room_that_comes_back_is_used_by_those_who_wait() -> None:
    """The limit rises while requests wait: the next one that ends lets two of them go."""
    limiter = Limiter(2)
    await throttle(limiter)
    assert limiter.limit == 1
    started = []

    async def request(number: int) -> None:
        async with limiter.slot():
            started.append((number, asyncio.get_running_loop().time()))
            await asyncio.sleep(1)
            limiter.answered()

    await asyncio.gather(*(request(number) for number in range(3)))
    assert started == [(0, 1.0), (1, 2.0), (2, 2.0)]


async def test_a_pause_runs_out_and_the_longest_counts() -> None:
    """Two refusals with different Retry-After leave the peer alone for the longer one."""
    limiter = Limiter(8)
    assert limiter.pause == 0.0
    limiter.throttled(0.0, 30.0)
    limiter.throttled(0.0, 5.0)
    assert limiter.pause == 30.0
    await asyncio.sleep(12)
    assert limiter.pause == 18.0
    await asyncio.sleep(18)
    assert limiter.pause == 0.0


async def test_who_waits_longest_is_next() -> None:
    """A task that asks again and again does not overtake those that wait: there is one queue."""
    limiter = Limiter(1)
    order = []

    async def study(name: str) -> None:
        for _ in range(3):
            async with limiter.slot():
                order.append(name)
                await asyncio.sleep(1)

    await asyncio.gather(*map(study, "abc"))
    assert order == list("abcabcabc")


async def test_a_waiter_that_is_cancelled_frees_its_place() -> None:
    """Cancelled in the queue, a request leaves no hole: those behind it go when their turn comes."""
    limiter = Limiter(1)
    began = []

    async def request(number: int) -> None:
        async with limiter.slot():
            began.append((number, asyncio.get_running_loop().time()))
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(request(number)) for number in range(4)]
    await asyncio.sleep(0.5)
    tasks[1].cancel()
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert began == [(0, 0.0), (3, 1.0)]
    assert await crowd(limiter, 2) == (1, 2.0)


@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_a_turn_that_comes_with_the_cancellation_is_passed_on(cancelled_first: bool) -> None:
    """The slot is freed and its next owner cancelled in one instant: the one behind gets it, nobody hangs."""
    limiter = Limiter(1)
    began = []

    async def request(number: int) -> None:
        async with limiter.slot():
            began.append(number)
            await asyncio.sleep(1)

    async with limiter.slot():
        tasks = [asyncio.create_task(request(number)) for number in range(2)]
        await asyncio.sleep(1)
        if cancelled_first:
            tasks[0].cancel()
    if not cancelled_first:
        tasks[0].cancel()
    await asyncio.wait_for(asyncio.wait(tasks), 10)
    assert began == [1]
    assert await crowd(limiter, 2) == (1, 2.0)


async def test_a_request_that_is_cancelled_under_way_frees_its_slot() -> None:
    """Whatever ends a request, its slot is free again."""
    limiter = Limiter(2)
    tasks = [asyncio.create_task(crowd(limiter, 1, 100.0)) for _ in range(2)]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    with pytest.raises(ValueError, match="its own"):
        async with limiter.slot():
            raise ValueError("its own")
    assert await crowd(limiter, 4) == (2, 2.0)
