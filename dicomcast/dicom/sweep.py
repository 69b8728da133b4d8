"""A sweep: all studies that an archive holds, page by page, compared with what was seen of them before.

It finds what no feed tells: a study that vanished, one that changed while nobody was told, and, at the
first time, all there is. What was seen before is the inventory, which the state store keeps.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Protocol

from dicomcast.errors import Retriable
from dicomcast.model import Cursor, Window

__all__ = ["Archive", "Inventory", "Page", "Sweeper", "complete", "fingerprint"]

# What an archive says of some studies: a fingerprint by StudyInstanceUID.
Page = Mapping[str, str]

_AT_A_TIME = 100
# As many as this, and no more, may vanish from an archive of any size.
_HANDFUL, _MOST = 10, 100
# Listing takes no more than a tenth of the archive's time, however large it is.
_REST = 9
# … and rests no longer than this: what is due later was put off by a clock that has been set since.
_LONGEST = timedelta(days=30)
# While a sweep goes on, the newest changes have their turn so often.
_TURN = timedelta(seconds=10)


class Inventory(Protocol):
    """What was seen of an archive before; a state store keeps it."""

    async def fingerprints(self, feed: str, study_uids: Collection[str]) -> dict[str, str]:
        """Those of these studies that are in it."""

    async def inventory(self, feed: str, after: str = "", limit: int = 1000) -> list[str]:
        """The UIDs in it, in their order."""


class Archive(Protocol):
    """An archive that can be listed, beside what it tells by itself."""

    def tail(self, after: Cursor, size: int) -> AsyncIterator[Window]:
        """What it tells by itself of what changed."""

    def listing(self, size: int) -> AsyncIterator[Page]:
        """All its studies, in pages of at most `size`."""

    async def still(self, study_uids: Collection[str]) -> Page:
        """What it holds of some studies now; those that are gone are left out."""

    async def recognise(self, cursor: Cursor) -> None:
        """Make sure that it is the one that was read up to `cursor`, where it shows.

        Raises:
            SourceReset: it is another one.
        """


@dataclass(slots=True)
class Sweeper:
    """Sweeps the archive of the feed `source`, not before `interval` has passed since the last time.

    Of `limit` studies it is believed that they vanished at once; more than that are taken for an archive in trouble.
    Without one that is half of what was seen, but never more than a hundred or less than a handful.
    """

    inventory: Inventory
    source: str
    interval: timedelta = timedelta(hours=1)
    limit: int | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    # Why the last sweep was not believed, and until when it is not repeated.
    _refused: tuple[Retriable, datetime] | None = None
    # How long the archive took for this sweep.
    _spent: timedelta = timedelta()

    # The position of a first run whose sweep takes note of what there is, and casts nothing.
    baseline = {"baseline": True}  # noqa: RUF012  # nobody writes to it

    @staticmethod
    def has_swept(cursor: Cursor) -> bool:
        """Whether everything that the archive held was looked at once."""
        return "sweep_at" in cursor.position

    @staticmethod
    def is_noting(cursor: Cursor) -> bool:
        """Whether a first run still takes note of what there is."""
        return "baseline" in cursor.position

    def hasten(self, cursor: Cursor) -> Cursor:
        """The cursor with the next sweep brought forward, as far as it has rested: the feed has missed something."""
        if not self.has_swept(cursor):
            return cursor
        at, rest_until = _times(cursor, "sweep_at", "rest_until")
        at = min(at, max(rest_until, self.clock() + self.interval / 12))
        return replace(cursor, position={**cursor.position, "sweep_at": at.isoformat()})

    async def windows(self, archive: Archive, after: Cursor, size: int) -> AsyncIterator[Window]:
        """The tail to its present end, and where it is time, a sweep; the tail has its turn in between.

        Raises:
            Retriable: more than `limit` studies are gone.
        """
        here = after
        async for window in archive.tail(here, size):
            yield window
            here = window.end
        turn = self.clock()
        if self._refused is not None and turn < self._refused[1]:
            raise self._refused[0]
        if not self._is_due(here, turn):
            return
        self._spent = timedelta()
        noting = self.is_noting(here)
        await archive.recognise(here)
        async for news, known in self._finds(archive, size):
            if news:
                # Note is taken of what is new to us; what is not as we have seen it before is cast all the same.
                yield Window((), here, tuple(uid for uid in news if uid in known or not noting), news)
            if abs(self.clock() - turn) >= _TURN:
                async for window in archive.tail(here, size):
                    yield window
                    here = window.end
                yield Window((), here)  # Who settles them can stop, or do something else, between two windows alone.
                turn = self.clock()
        yield Window((), self._rested(here))

    async def _finds(self, archive: Archive, size: int) -> AsyncIterator[tuple[dict[str, str], Collection[str]]]:
        """What is not as it was seen before, and which of it was seen at all; {} to give the tail a turn.

        A study that was not listed may be there all the same: where others come and go meanwhile, one slips through
        between two pages.
        """
        listed: set[str] = set()
        async for page in self._timed(complete(archive, archive.listing(min(size, _AT_A_TIME)), listed)):
            known = await self.inventory.fingerprints(self.source, list(page))
            yield _news(page, known), known
        async for missing in self._missing(archive, listed, size):
            yield missing, missing

    async def _missing(self, archive: Archive, listed: Collection[str], size: int) -> AsyncIterator[dict[str, str]]:
        """What was seen before and is not listed: gone, or there all the same."""
        missing: dict[str, str] = {}
        held = len(listed)
        async for uids in self._unlisted(listed):
            began = self.clock()
            there = await archive.still(uids)
            self._spent += self.clock() - began
            missing |= await self.news(there)
            missing |= dict.fromkeys((uid for uid in uids if uid not in there), "")
            self._refuse_loss(missing, _MOST if self.limit is None else self.limit)
            held += len(uids)
            yield {}
        if self.limit is None:
            self._refuse_loss(missing, max(_HANDFUL, held // 2))
        for some in _pieces(missing, size):
            yield some

    async def _timed(self, pages: AsyncIterator[Page]) -> AsyncIterator[Page]:
        """The pages, while the time is taken that the archive needs for them."""
        began = self.clock()
        async for page in pages:
            self._spent += self.clock() - began
            yield page
            began = self.clock()
        self._spent += self.clock() - began

    async def news(self, page: Page) -> dict[str, str]:
        """The part of a page that is not as it was seen before."""
        return _news(page, await self.inventory.fingerprints(self.source, list(page)))

    async def _unlisted(self, listed: Collection[str]) -> AsyncIterator[list[str]]:
        after = ""
        while held := await self.inventory.inventory(self.source, after):
            unlisted = [uid for uid in held if uid not in listed]
            for start in range(0, len(unlisted), _AT_A_TIME):
                yield unlisted[start : start + _AT_A_TIME]
            after = held[-1]

    def _refuse_loss(self, missing: Page, limit: int) -> None:
        if sum(not seen for seen in missing.values()) <= limit:
            return
        error = Retriable(
            f"the archive no longer holds more than {limit} of the studies that were read from it: is it whole? "
            "Nothing was removed from FHIR. If they are meant to be gone, set DICOM__VANISHED_LIMIT to more",
            peer="dicom",
        )
        self._refused = error, self.clock() + self.interval
        raise error

    def _is_due(self, cursor: Cursor, now: datetime) -> bool:
        if not self.has_swept(cursor):
            return True
        at, rest_until, swept_at = _times(cursor, "sweep_at", "rest_until", "swept_at")
        # An interval that was made shorter since holds from now on.
        return not now < min(at, max(rest_until, swept_at + self.interval)) <= now + _LONGEST

    def _rested(self, cursor: Cursor) -> Cursor:
        self._refused = None
        now, rest = self.clock(), min(self._spent * _REST, _LONGEST)
        times = {"swept_at": now, "rest_until": now + rest, "sweep_at": now + max(self.interval, rest)}
        position = {name: value for name, value in cursor.position.items() if name not in self.baseline}
        return replace(cursor, position=position | {name: time.isoformat() for name, time in times.items()})


async def complete(archive: Archive, pages: AsyncIterator[Page], listed: set[str]) -> AsyncIterator[Page]:
    """Pages as they come, which are noted in `listed`; a study that comes twice is looked for alone the second time.

    It stands in the archive more than once, and each page tells of a part of it: who knows one part alone would not
    see the other go.
    """
    async for page in pages:
        twice = page.keys() & listed
        listed.update(page)
        yield {**page, **await archive.still(twice)} if twice else page


def _times(cursor: Cursor, *names: str) -> list[datetime]:
    return [datetime.fromisoformat(cursor.position[name]) for name in names]


def _news(page: Page, known: Page) -> dict[str, str]:
    return {uid: seen for uid, seen in page.items() if known.get(uid) != seen}


def _pieces(page: Page, size: int) -> Iterator[dict[str, str]]:
    items = list(page.items())
    for start in range(0, len(items), size):
        yield dict(items[start : start + size])


def fingerprint(facts: Iterable[str]) -> str:
    """A digest of what an archive says of a study, in any order."""
    return blake2b("\n".join(sorted(facts)).encode(errors="surrogatepass"), digest_size=16).hexdigest()
