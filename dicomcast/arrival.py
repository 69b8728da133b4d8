"""How long what arrives may collect, so that a study is written once when it is there, and not again at each poll.

Nothing is read while it collects, so nothing is held and nothing can be lost: the cursor stays where it is.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from dicomcast.dicom.feed import Feed
from dicomcast.model import Cursor

__all__ = ["Arrivals"]


class Arrivals:
    """Watches the end of a feed: entries have arrived when none has come behind them for `settle`.

    None waits for longer than `limit`, or where there are enough for a `window`. What an archive does not tell before
    it is searched does not wait.
    """

    def __init__(self, feed: Feed, *, settle: timedelta, limit: timedelta, window: int) -> None:
        self._feed = feed
        self._settle = settle.total_seconds()
        self._limit = limit.total_seconds()
        self._window = window
        self._read: Cursor | None = None
        self._seen: Cursor | None = None
        self._since = 0.0

    async def wait(self, settled: Cursor) -> float:
        """How many seconds later to look again; 0 if it is time to read."""
        if not self._settle:
            return 0.0
        newest, now = await self._feed.latest(), asyncio.get_running_loop().time()
        read = settled if self._read is None else self._read
        if (newest.sequence, newest.timestamp) == (read.sequence, read.timestamp):
            return 0.0
        if self._seen is None:
            self._since = now
        full = self._feed.measurable and newest.sequence - settled.sequence >= self._window
        left = self._since + self._limit - now
        if newest == self._seen or full or left <= 0:
            return 0.0
        self._seen = newest
        return min(self._settle, left)

    def read(self) -> None:
        """The feed was read to its end, as it was told then."""
        self._read, self._seen = self._feed.newest, None
