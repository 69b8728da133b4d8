"""How many requests a peer gets at once: halved when it throttles, creeping back while it answers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Limiter"]


class Limiter:
    """Additive increase, multiplicative decrease, between one request and `most`; a pause is everybody's."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._running = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._halved_at = -1.0
        self._resume_at = 0.0

    @property
    def limit(self) -> int:
        """How many requests may run at once now."""
        return int(self._limit)

    @property
    def pause(self) -> float:
        """For how many more seconds the peer wants to be left alone."""
        return max(0.0, self._resume_at - _now())

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Room for one request; who waits longest is next."""
        await self._enter()
        try:
            yield
        finally:
            self._leave()

    async def _enter(self) -> None:
        if self._running < self.limit and not self._queue:
            self._running += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._queue:
                self._queue.remove(turn)
            elif not turn.cancelled():  # The slot was ours already: pass it on.
                self._leave()
            raise

    def _leave(self) -> None:
        self._running -= 1
        while self._running < self.limit and self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                self._running += 1
                turn.set_result(None)

    def answered(self) -> None:
        """The peer kept up: after as many answers as run at once, one more may run."""
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def throttled(self, began: float, retry_after: float) -> None:
        """The peer did not: half as many, once for all that were under way when it said so."""
        self._resume_at = max(self._resume_at, _now() + retry_after)
        if began > self._halved_at:
            self._limit = max(1.0, self._limit / 2)
            self._halved_at = _now()


def _now() -> float:
    return asyncio.get_running_loop().time()
