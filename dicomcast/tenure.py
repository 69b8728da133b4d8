"""Being the one active worker of a source: taking its lease, keeping it, and knowing when it is gone."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import uuid4

import structlog

from dicomcast.errors import LeaseLost, StateError
from dicomcast.model import Lease
from dicomcast.state import StateStore

__all__ = ["Tenure", "elapsed"]

_log = structlog.get_logger()


def elapsed() -> float:
    """Seconds that go on while the machine is suspended: time.monotonic stands still then on Linux, not elsewhere."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Tenure:
    """The lease of one source, as this process sees it. `clock` gives the present time, aware, in UTC.

    Whether it still holds is judged by a clock that nobody sets, `passed`, and counted from before we asked: so
    a process that was stopped for too long, or whose machine was, knows it by itself, before the store tells.
    """

    def __init__(
        self,
        store: StateStore,
        feed: str,
        *,
        ttl: timedelta,
        clock: Callable[[], datetime],
        passed: Callable[[], float] = elapsed,
    ) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._passed = passed
        self._lease: Lease | None = None
        self._until = 0.0
        self.ttl = ttl
        # The random part tells a restarted container from the one before, which had its name and process id.
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"

    @property
    def held(self) -> bool:
        """Whether we are the active worker."""
        return self._lease is not None and self._passed() < self._until

    @property
    def epoch(self) -> int:
        """The epoch under which we may write to the store.

        Raises:
            LeaseLost: we are not the active worker, or cannot know that we are.
        """
        if self._lease is None or not self.held:
            raise LeaseLost("the lease of this source has run out before it was renewed")
        return self._lease.epoch

    async def take(self) -> Lease:
        """Take the lease or prolong it; what comes back is another's if `owner` is not ours."""
        asked = self._passed()
        lease = await self._store.acquire(self._feed, self.owner, self._clock(), self.ttl)
        if lease.owner != self.owner:
            self._lease = None
        else:
            self._lease, self._until = lease, asked + self.ttl.total_seconds()
        return lease

    async def keep(self) -> None:
        """Prolong what we hold, for ever; a store that is away is asked again, while the lease lasts.

        A lease that somebody else had meanwhile is not taken anew here: what is in hand was begun before, and must
        not be written under the new epoch.
        """
        while True:
            await asyncio.sleep(self.ttl.total_seconds() / 3)
            held = self._lease
            if held is None:
                continue
            try:
                lease = await self.take()
            except StateError as error:
                _log.warning("lease.not-renewed", error=str(error))
                continue
            if lease.owner == self.owner and lease.epoch != held.epoch:
                await self.release()

    async def release(self) -> None:
        """Let the next owner have it at once."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await self._store.release(lease)
