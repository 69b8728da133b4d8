"""Reading change feed v2: windows of time, ordered by (timestamp, sequence).

* A round ends at a fixed time, `until`, that is old enough for all stores before it to be committed.
* Within a round the next page starts at the timestamp of the last row, inclusive: rows seen before are
  known by their sequence. Only where a whole page shares one timestamp is `offset` used, so its cost
  stays small and rows that appear meanwhile cannot shift what is skipped.
* The next round starts one overlap earlier, for what was committed later than anyone thought.
* A window that ends inside a page leaves the position in front of the page, which is then read again, and
  remembers which of its rows are settled: so it does not matter what became visible among them meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from dicomcast.dicom.cutting import full
from dicomcast.dicom.ticks import TICKS, text, ticks
from dicomcast.model import Cursor, Entry, Window

__all__ = ["BEGINNING", "END", "LIMIT", "Position", "read"]

LIMIT = 200  # the most that v2 allows
BEGINNING = -62_135_596_800 * TICKS  # 0001-01-01, where the service itself begins
END = 253_402_300_800 * TICKS - 1  # the last tick of 9999, where it ends

# Rows with start <= timestamp < end, in order, without the first `offset`.
Page = Callable[[str, str, int], Awaitable[list[Entry]]]

# (second, first, last): consecutive sequences seen within one second.
Run = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading stands. `start` is where the next page begins, `until` the end of an open round ("" if none)."""

    start: str = text(BEGINNING)
    until: str = ""
    offset: int = 0
    recent: tuple[Run, ...] = ()

    @classmethod
    def of(cls, cursor: Cursor) -> Position:
        """The position that a cursor of ours carries."""
        stored = cursor.position
        recent = tuple((run[0], run[1], run[2]) for run in stored.get("recent", []))
        return cls(stored["start"], stored["until"], stored["offset"], recent)

    def stored(self) -> dict[str, Any]:
        """As it goes into a cursor."""
        return {
            "api": "v2",
            "start": self.start,
            "until": self.until,
            "offset": self.offset,
            "recent": [list(run) for run in self.recent],
        }


async def read(
    page: Page, position: Position, *, until: int, overlap: int, size: int, seen: Cursor
) -> AsyncIterator[Window]:
    """Windows of at most `size` entries from `position` to `until` (in ticks); the last of a round holds what is left.

    `seen` is the newest entry settled so far. A round that was left open is finished first, whenever it was, and
    then the feed is read to `until`.
    """
    known = _Known(position.recent)
    entries: list[Entry] = []
    while position.until or ticks(position.start) < until:
        if not position.until:
            start = max(ticks(position.start) - overlap, BEGINNING)
            position = Position(text(start), text(until), 0, position.recent)
        rows = await page(position.start, position.until, position.offset)
        entries += [row for row in rows if known.add(row)]
        before, position = position, _after(position, rows, known, overlap)
        while (count := full(entries, size)) or not position.until:
            window, entries = entries[: count or None], entries[count or len(entries) :]
            seen = max([seen, *(Cursor(row.sequence, row.timestamp) for row in window)], key=_age)
            before = _within(before, window, overlap)
            here = before if entries else position
            yield Window(tuple(window), Cursor(seen.sequence, seen.timestamp, here.stored()))
            if not entries:
                break


def _age(cursor: Cursor) -> tuple[int, int]:
    return ticks(cursor.timestamp) if cursor.timestamp else -1, cursor.sequence


def _after(position: Position, rows: list[Entry], known: _Known, overlap: int) -> Position:
    """Where to go on after a page. Rows that can come again are remembered, the rest is forgotten."""
    end = ticks(position.until)
    if len(rows) < LIMIT:
        return Position(position.until, "", 0, known.since(end - overlap))
    first, last = rows[0].timestamp, rows[-1].timestamp
    recent = known.since(min(ticks(last), end - overlap))
    if ticks(last) <= ticks(position.start):
        # A tie fills the page, or a server that cuts ticks off sent what is older: count on from here.
        return Position(position.start, position.until, position.offset + len(rows), recent)
    # Where one timestamp fills the page, the tie begins with it.
    return Position(last, position.until, len(rows) if first == last else 0, recent)


def _within(position: Position, settled: Iterable[Entry], overlap: int) -> Position:
    """In front of a page of which some rows are settled."""
    known = _Known(position.recent)
    for row in settled:
        known.add(row)
    moment = min(ticks(position.start), ticks(position.until) - overlap)
    return replace(position, recent=known.since(moment))


class _Known:
    """Which sequences were seen, by the second of their timestamp, so that old ones can be forgotten."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._seconds: dict[int, set[int]] = {}
        for second, first, last in runs:
            self._seconds.setdefault(second, set()).update(range(first, last + 1))

    def add(self, entry: Entry) -> bool:
        """Remember an entry; False if it was known."""
        known = self._seconds.setdefault(ticks(entry.timestamp) // TICKS, set())
        if entry.sequence in known:
            return False
        known.add(entry.sequence)
        return True

    def since(self, moment: int) -> tuple[Run, ...]:
        """Forget what is older than `moment`, and tell the rest as runs."""
        second = moment // TICKS
        self._seconds = {at: known for at, known in self._seconds.items() if at >= second}
        return tuple((at, *run) for at, known in sorted(self._seconds.items()) for run in _runs(known))


def _runs(sequences: Iterable[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for sequence in sorted(sequences):
        if runs and sequence == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], sequence)
        else:
            runs.append((sequence, sequence))
    return runs
