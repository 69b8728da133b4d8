"""A worker in virtual time: the harness' clock is the event loop's, and its peers have weather."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.harness import Harness

__all__ = ["VirtualHarness", "Weather", "away", "now", "until"]

# What a peer answers at a moment of the loop's time, in seconds; None lets it answer by itself.
Weather = Callable[[float], httpx.Response | Exception | None]


def now() -> float:
    return asyncio.get_running_loop().time()


class VirtualHarness(Harness):
    """A harness whose clock is the loop's, and whose peers have weather."""

    budget = timedelta(minutes=2)

    def __init__(self, **options: Any) -> None:
        self._base = datetime(2026, 1, 1, tzinfo=UTC)
        self.weather: dict[str, Weather] = {}
        super().__init__(**options)

    @property
    def now(self) -> datetime:
        return self._base + timedelta(seconds=now())

    @now.setter
    def now(self, moment: datetime) -> None:
        self._base = moment - timedelta(seconds=now())

    def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return _Weathered(transport, lambda moment: self.weather.get(peer, lambda _: None)(moment))

    async def settled(self) -> int:
        checkpoint = await self.state.load(self.feed.source)
        return checkpoint.cursor.sequence if checkpoint.cursor else 0


class _Weathered(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport, weather: Weather) -> None:
        self._inner, self._weather = inner, weather

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._weather(now())
        if isinstance(answer, Exception):
            raise answer
        return answer if answer is not None else await self._inner.handle_async_request(request)


async def until(condition: Callable[[], bool], limit: float = 3600) -> None:
    end = now() + limit
    while not condition():
        assert now() < end, "it does not come true"
        await asyncio.sleep(1)


def away(_: float) -> Exception:
    return httpx.ConnectError("refused")
