"""An archive of fingerprints alone, for a sweeper to sweep, and an inventory in a dictionary."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dicomcast.dicom.sweep import Page, Sweeper
from dicomcast.model import Cursor, Window

__all__ = ["Shelf"]


@dataclass
class Shelf:
    """Studies by UID, and what was seen of them. `between` happens in front of each page of a listing.

    `told` are windows of the tail that come at its next turns, `seconds` is how long a page takes. Where they are
    `hidden` they are there, and in no listing.
    """

    studies: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    hidden: bool = False
    told: list[Window] = field(default_factory=list)
    between: Callable[[int], None] = lambda page: None
    seconds: float = 0
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    asked: list[str] = field(default_factory=list)
    turns: int = 0

    def __post_init__(self) -> None:
        self.sweeper = Sweeper(self, "shelf", timedelta(hours=1), clock=lambda: self.now)

    # What an archive does.

    async def tail(self, after: Cursor, size: int) -> AsyncIterator[Window]:
        self.turns += 1
        while self.told:
            yield self.told.pop(0)

    async def listing(self, size: int) -> AsyncIterator[Page]:
        offset = 0
        while True:
            self.between(offset // size)
            self.now += timedelta(seconds=self.seconds)
            page = dict(list(self.studies.items())[offset : offset + size])
            if not page or self.hidden:
                return
            yield page
            offset += size

    async def still(self, study_uids: Collection[str]) -> Page:
        self.asked += study_uids
        self.now += timedelta(seconds=self.seconds)
        return {uid: self.studies[uid] for uid in study_uids if uid in self.studies}

    async def recognise(self, cursor: Cursor) -> None:
        """There is but one."""

    # What a state store does.

    async def fingerprints(self, feed: str, study_uids: Collection[str]) -> dict[str, str]:
        return {uid: self.held[uid] for uid in study_uids if uid in self.held}

    async def inventory(self, feed: str, after: str = "", limit: int = 1000) -> list[str]:
        return sorted(uid for uid in self.held if uid > after)[:limit]

    # What settles the windows.

    async def sweep(self, cursor: Cursor, size: int = 2500) -> tuple[list[Window], Cursor]:
        """The windows of one poll, each noted as it comes."""
        windows: list[Window] = []
        async for window in self.sweeper.windows(self, cursor, size):
            windows.append(window)
            cursor = window.end
            self.held |= window.seen
            self.held = {uid: seen for uid, seen in self.held.items() if seen or uid not in window.seen}
        return windows, cursor
