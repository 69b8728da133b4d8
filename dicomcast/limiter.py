"""How many requests a peer gets at once: halved when it throttles, creeping back while it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Limiter"]


class Limiter:
    """Additive increase, multiplicative decrease, between one request and `most`; a pause is everybody's."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._running = 0
        self._freed = asyncio.Condition()
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
    async def slot(self) -> AsyncIterator[float]:
        """Room for one request; yields when it began."""
        async with self._freed:
            await self._freed.wait_for(lambda: self._running < self.limit)
            self._running += 1
        try:
            yield _now()
        finally:
            self._running -= 1
            async with self._freed:
                self._freed.notify_all()

    def answered(self) -> None:
        """The peer kept up: after as many answers as run at once, one more may run."""
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def throttled(self, began: float, retry_after: float) -> None:
        """The peer did not: half as many, once for all that were under way when it said so."""
        self._resume_at = max(self._resume_at, _now() + retry_after)
        if began >= self._halved_at:
            self._limit = max(1.0, self._limit / 2)
            self._halved_at = _now()


def _now() -> float:
    return asyncio.get_running_loop().time()
