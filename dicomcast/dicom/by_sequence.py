"""Reading change feed v1: windows on the value of the sequence.

`offset` is an exclusive start and `limit` a number of sequence *values*, so a page that is short or
empty is no end of the feed: sequences have gaps (rolled-back stores, fail-overs). A gap that is still
young may yet be filled by a store that is being committed, so the cursor waits in front of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from dicomcast.dicom.cutting import full
from dicomcast.dicom.ticks import ticks
from dicomcast.model import Cursor, Entry, Window

__all__ = ["LAST", "LIMIT", "read"]

LIMIT = 100  # the most that v1 allows
LAST = 2**63 - 1  # the greatest sequence that there can be

# Rows with sequences in (offset, offset + LIMIT], in order.
Page = Callable[[int], Awaitable[list[Entry]]]


async def read(page: Page, *, after: int, latest: int, settled: int, size: int) -> AsyncIterator[Window]:
    """Windows of at most `size` entries after sequence `after`, up to `latest`; the last one holds what is left.

    `settled` is the time, in ticks, before which a gap is taken for final.
    """
    scanned = position = after
    entries: list[Entry] = []
    while scanned < latest:
        for entry in await page(scanned):
            if entry.sequence > position + 1 and ticks(entry.timestamp) > settled:
                latest = 0
                break
            position = entry.sequence
            entries.append(entry)
        scanned += LIMIT
        while entries and (count := full(entries, size) or (len(entries) if scanned >= latest else 0)):
            window, entries = entries[:count], entries[count:]
            yield Window(tuple(window), Cursor(window[-1].sequence, window[-1].timestamp, {"api": "v1"}))
