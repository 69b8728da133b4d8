"""Waiting for a peer: how long, how often, together, and not a moment longer than somebody wants. Time is virtual."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from dicomcast.errors import Conflict, DicomCastError, LeaseLost, Rejected, Retriable, Unauthorized
from dicomcast.http import Answer, Http

pytestmark = pytest.mark.looptime


class Peer(httpx.AsyncBaseTransport):
    """A peer that follows a script, whose last line it repeats; notes when it was asked."""

    def __init__(self, *script: Callable[[httpx.Request], Awaitable[httpx.Response]], **options: Any) -> None:
        self.script = list(script)
        self.asked: list[float] = []
        self.http = Http("dicom", "http://dicom.test", transport=self, **options)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(now())
        line = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await line(request)

    async def ask(self, **options: Any) -> Answer:
        return await self.http.request("GET", "v2/changefeed", **options)


def now() -> float:
    return asyncio.get_running_loop().time()


def say(
    status: int, retry_after: str = "", *, after: float = 0.0
) -> Callable[[httpx.Request], Awaitable[httpx.Response]]:
    """Answer, after some seconds."""

    async def line(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(after)
        return httpx.Response(status, headers={"Retry-After": retry_after} if retry_after else None)

    return line


class Trickle(httpx.AsyncByteStream):
    """A body that comes byte by byte, one in a while, and has no end."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(10)
            yield b" "


async def trickle(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=Trickle())


# --- One request ---


async def test_retried_until_it_is_answered() -> None:
    """Two refusals and an answer are three requests, two of them retries."""
    peer = Peer(say(503), say(500), say(200))
    assert (await peer.ask()).status == 200
    assert (peer.http.requests, peer.http.retries) == (3, 2)


async def test_the_time_of_answers_is_counted() -> None:
    """That of each try, and none of the waits between them."""
    peer = Peer(say(503, after=3), say(200, after=2))
    await peer.ask()
    assert peer.http.seconds == 5 <= now()


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_what_is_retried(status: int) -> None:
    """What may pass by itself is asked again."""
    peer = Peer(say(status), say(200))
    await peer.ask()
    assert peer.http.retries == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Rejected), (404, Rejected), (409, Conflict), (412, Conflict), (401, Unauthorized)]
)
async def test_what_is_not_retried(status: int, kind: type[Exception]) -> None:
    """A refusal stands; a conflict is for whoever can read anew."""
    peer = Peer(say(status), say(200))
    with pytest.raises(kind):
        await peer.ask()
    assert (peer.http.requests, peer.http.retries, now()) == (1, 0, 0.0)


async def test_waits_grow_under_full_jitter() -> None:
    """Waits are spread below 0.5, 1, 2, 4 … 60 s, so that clients which failed together do not come back together."""
    waits: list[list[float]] = []
    for _ in range(40):
        peer = Peer(*[say(503)] * 10, say(200), budget=timedelta(hours=1))
        await peer.ask()
        waits.append([after - before for before, after in zip(peer.asked, peer.asked[1:], strict=False)])
    for number, column in enumerate(zip(*waits, strict=True)):
        most = min(0.5 * 2**number, 60)
        assert max(column) <= most + 1e-6
        assert min(column) < most / 2 < max(column)


@pytest.mark.parametrize("status", [429, 503, 500])
async def test_retry_after_is_waited_for(status: int) -> None:
    """A peer that says when is asked then, and not before."""
    peer = Peer(say(status, "30"), say(200))
    await peer.ask()
    assert peer.asked == [0.0, pytest.approx(30.0)]


async def test_retry_after_never_shortens_the_wait() -> None:
    """`Retry-After: 0` does not make a busy loop."""
    peer = Peer(*[say(503, "0")] * 8, say(200), budget=timedelta(hours=1))
    await peer.ask()
    assert peer.asked[-1] > 1.0


async def test_the_budget_is_for_all_tries_together() -> None:
    """No try begins after the budget, and there is one in its second half."""
    peer = Peer(say(500), budget=timedelta(minutes=2))
    with pytest.raises(Retriable, match="500"):
        await peer.ask()
    assert now() <= 120
    assert 60 < peer.asked[-1] <= 120


async def test_time_that_a_request_takes_counts() -> None:
    """A peer that lets every request run into its time-out is tried for the budget, not for each try anew."""
    peer = Peer(say(200, after=60), budget=timedelta(minutes=2))
    with pytest.raises(Retriable, match="does not answer"):
        await peer.ask()
    assert len(peer.asked) == 2
    assert now() <= 121


async def test_a_wait_that_outlasts_the_budget_is_not_started() -> None:
    """Who is told to come back in an hour hears at once that there is no answer."""
    peer = Peer(say(503, "3600"), budget=timedelta(minutes=2))
    with pytest.raises(Retriable) as caught:
        await peer.ask()
    assert (caught.value.retry_after, caught.value.throttled, now()) == (300.0, True, 0.0)


async def test_a_request_may_have_a_budget_of_its_own() -> None:
    """What only looks, as `status` does, waits less."""
    peer = Peer(say(500), budget=timedelta(minutes=2))
    with pytest.raises(Retriable):
        await peer.ask(budget=5)
    assert now() <= 5


async def test_no_budget_is_one_try() -> None:
    """With a budget of nothing, nothing is waited for."""
    peer = Peer(say(500), budget=timedelta(0))
    with pytest.raises(Retriable):
        await peer.ask()
    assert (len(peer.asked), now()) == (1, 0.0)


async def test_an_answer_that_trickles_is_a_time_out() -> None:
    """DICOM__TIMEOUT is for a whole request: a byte now and then does not prolong it."""
    peer = Peer(trickle, timeout=timedelta(seconds=60), budget=timedelta(0))
    with pytest.raises(Retriable, match=r"does not answer \(TimeoutError\)"):
        await asyncio.wait_for(peer.ask(), 600)
    assert now() == pytest.approx(60)


# --- Many requests ---


async def test_a_pause_holds_everybody() -> None:
    """While a peer wants to be left alone, nothing is sent: not what waits for a slot, nor what comes later."""
    peer = Peer(say(429, "30", after=1), say(200, after=1), concurrency=1, budget=timedelta(minutes=5))

    async def later() -> None:
        await asyncio.sleep(10)
        await peer.ask()

    await asyncio.gather(peer.ask(), peer.ask(), peer.ask(), later())
    assert peer.asked[0] == 0.0
    assert min(peer.asked[1:]) == pytest.approx(31.0)


async def test_a_pause_that_outlasts_the_budget_is_told_at_once() -> None:
    """Who comes while the peer is left alone does not wait for longer than its budget allows."""
    peer = Peer(say(503, "300"), budget=timedelta(minutes=2))
    with pytest.raises(Retriable):
        await peer.ask()
    with pytest.raises(Retriable, match="dicom at http://dicom.test throttles") as caught:
        await peer.ask()
    assert caught.value.throttled
    assert caught.value.retry_after == pytest.approx(300)
    assert (len(peer.asked), now()) == (1, 0.0)


async def test_a_peer_that_throttles_gets_half_as_much() -> None:
    """Eight requests are refused together: of what is sent next, no more than four run at once."""
    running = most = 0

    async def count(_: httpx.Request) -> httpx.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        return httpx.Response(200)

    peer = Peer(*[say(429, "5", after=1)] * 8, count, concurrency=8)
    await asyncio.gather(*(peer.ask() for _ in range(8)))
    assert most == 4
    assert len(peer.asked) == 16


# --- Stopping ---


@pytest.mark.parametrize("line", [say(503, "60"), say(500)])
async def test_give_up_ends_a_wait_at_once(line: Callable[[httpx.Request], Awaitable[httpx.Response]]) -> None:
    """A worker that is told to stop does not sit out a Retry-After: one last try, then the error."""
    peer = Peer(line, budget=timedelta(hours=1))
    task = asyncio.create_task(peer.ask())
    await asyncio.sleep(50)
    tries = len(peer.asked)
    peer.http.give_up()
    with pytest.raises(Retriable):
        await task
    assert now() == pytest.approx(50)
    assert len(peer.asked) == tries + 1


async def test_give_up_ends_the_pause_of_all() -> None:
    """Those that wait because another was throttled end, too, each after one try."""
    peer = Peer(say(429, "60"), budget=timedelta(hours=1), concurrency=2)
    tasks = [asyncio.create_task(peer.ask()) for _ in range(4)]
    await asyncio.sleep(50)
    peer.http.give_up()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in results] == [Retriable] * 4
    assert now() == pytest.approx(50)


async def test_after_giving_up_a_request_is_tried_once() -> None:
    """What still has to be finished is done, but not waited for."""
    peer = Peer(say(500), say(200))
    peer.http.give_up()
    with pytest.raises(Retriable):
        await peer.ask()
    assert (await peer.ask()).status == 200
    assert (len(peer.asked), peer.http.retries, now()) == (2, 0, 0.0)


async def test_a_cancelled_request_leaves_room() -> None:
    """Cancelled while it waits, runs or pauses, a request takes no slot with it."""
    peer = Peer(say(200, after=100), concurrency=1, budget=timedelta(hours=1))
    tasks = [asyncio.create_task(peer.ask()) for _ in range(3)]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    peer.script = [say(200)]
    assert (await peer.ask()).status == 200
    assert now() == 1.0


async def test_the_budget_is_the_outages_and_not_each_requests() -> None:
    """A peer that has been away for as long as the budget is asked once by whoever comes then."""
    peer = Peer(say(502), budget=timedelta(seconds=60))
    with pytest.raises(Retriable):
        await peer.ask()
    assert now() > 20 and len(peer.asked) > 3
    await asyncio.sleep(60)
    for _ in range(5):
        began, asked = now(), len(peer.asked)
        with pytest.raises(Retriable):
            await peer.ask()
        assert (now(), len(peer.asked)) == (began, asked + 1)
    peer.script = [say(200), say(502)]
    await peer.ask()
    began = now()
    with pytest.raises(Retriable):
        await peer.ask()
    assert now() > began + 10, "it was back, so this is another outage"


@pytest.mark.parametrize("status", [200, 404, 409, 422, 401])
async def test_trouble_is_told_until_there_is_an_answer(status: int) -> None:
    """Health and log say so at once; a refusal is an answer too, and one study that makes it stumble is none."""
    peer = Peer(say(503), budget=timedelta(0))
    assert peer.http.trouble == ""
    with pytest.raises(Retriable):
        await peer.ask()
    assert peer.http.trouble == "dicom answered 503 to GET /v2/changefeed"
    peer.script = [say(500)]
    with pytest.raises(Retriable):
        await peer.ask()
    assert "503" in peer.http.trouble
    peer.script = [say(status)]
    with contextlib.suppress(DicomCastError):
        await peer.ask()
    assert peer.http.trouble == ""


async def test_the_fence_is_asked_when_it_is_sent_and_not_when_it_is_asked_for() -> None:
    """It may have to wait for a slot, or for what the peer asked for."""
    peer = Peer(say(429, "20"), say(200), budget=timedelta(seconds=60))
    asked: list[float] = []
    await peer.ask(fence=lambda: asked.append(now()))
    assert asked == peer.asked and asked[1] >= 20
    peer.script = [say(200)]

    def closed() -> None:
        raise LeaseLost("gone")

    with pytest.raises(LeaseLost):
        await peer.ask(fence=closed)
    assert len(peer.asked) == 2


async def test_rest_is_no_longer_than_the_budget_or_than_somebody_wants() -> None:
    """Between two looks at a study that somebody else writes too."""
    peer = Peer(say(200), budget=timedelta(seconds=60))
    await peer.http.rest(300)
    assert now() == 60
    resting = asyncio.create_task(peer.http.rest(30))
    await asyncio.sleep(5)
    peer.http.give_up()
    await resting
    assert now() == 65
