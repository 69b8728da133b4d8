"""A body that is received in pieces: anew for each try, at the pace of its size, of a 200 alone. Time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import httpx
import pytest

from dicomcast.errors import NotFound, Rejected, Retriable
from dicomcast.http import Http

pytestmark = pytest.mark.looptime

MEBIBYTE = bytes(2**20)


class Body(httpx.AsyncByteStream):
    """Some pieces, each after some seconds; the connection is cut behind them where that is wanted."""

    def __init__(self, *pieces: bytes, pause: float = 0.0, cut: bool = False) -> None:
        self.pieces, self.pause, self.cut = pieces, pause, cut

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            await asyncio.sleep(self.pause)
            yield piece
        if self.cut:
            raise httpx.ReadError("reset")


class Received:
    """What came of each try."""

    def __init__(self) -> None:
        self.tries: list[bytes] = []

    def __call__(self) -> Callable[[bytes], object]:
        self.tries.append(b"")

        def take(piece: bytes) -> None:
            self.tries[-1] += piece

        return take


async def ask(*answers: httpx.Response, into: Callable[[], Callable[[bytes], object]]) -> tuple[bytes, float]:
    """The content of the answer, and how long it took; 20 s are the time-out."""
    script = iter(answers)
    http = Http(
        "dicom",
        "http://dicom.test",
        timeout=timedelta(seconds=20),
        budget=timedelta(seconds=30),
        transport=httpx.MockTransport(lambda _: next(script)),
    )
    began = asyncio.get_running_loop().time()
    try:
        answer = await http.request("GET", "studies/1.2/metadata", receive=into)
        return answer.content, asyncio.get_running_loop().time() - began
    finally:
        await http.close()


async def test_an_answer_that_breaks_off_is_received_anew() -> None:
    """What came of the first half does not mix with the second try, nor does what was not a 200."""
    received = Received()
    broken = httpx.Response(200, stream=Body(MEBIBYTE, cut=True))
    away = httpx.Response(503, content=b"away")
    content, _ = await ask(broken, away, httpx.Response(200, stream=Body(b"abc", b"def")), into=received)
    assert (content, received.tries) == (b"", [MEBIBYTE, b"abcdef"])


async def test_a_large_answer_may_take_longer_than_the_time_out() -> None:
    """It is given anew for each MiB: what goes on is not away."""
    received = Received()
    _, took = await ask(httpx.Response(200, stream=Body(*[MEBIBYTE] * 5, pause=15)), into=received)
    assert len(received.tries[0]) == 5 * len(MEBIBYTE)
    assert took == pytest.approx(75)


async def test_one_that_trickles_is_a_time_out() -> None:
    """As it is where the body is wanted at once."""
    with pytest.raises(Retriable, match=r"does not answer \(TimeoutError\)"):
        await ask(*[httpx.Response(200, stream=Body(*[b" "] * 100, pause=5)) for _ in range(99)], into=Received())


async def test_a_part_is_not_received() -> None:
    """Who asked sees by the status that it is one (206)."""
    received = Received()
    content, _ = await ask(httpx.Response(206, content=b"a part"), into=received)
    assert (content, received.tries) == (b"a part", [])


async def test_a_refusal_is_told_as_ever() -> None:
    """Its body belongs to the error."""
    with pytest.raises(NotFound):
        await ask(httpx.Response(404, content=b"{}"), into=Received())


async def test_what_cannot_be_used_ends_it() -> None:
    """An error of who receives is raised as it is, and not tried again."""
    tries = 0

    def begin() -> Callable[[bytes], object]:
        nonlocal tries
        tries += 1

        def refuse(_: bytes) -> None:
            raise Rejected("no", reason="metadata-without-uids", peer="dicom")

        return refuse

    with pytest.raises(Rejected, match="no"):
        await ask(*[httpx.Response(200, stream=Body(b"x")) for _ in range(3)], into=begin)
    assert tries == 1
