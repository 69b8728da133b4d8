"""Paging through a list of which things come and go meanwhile (PS3.18 §8.3.4.4).

A page is asked for by how many stand in front of it. When one of those goes, the rest moves up, and one of them slips
through between two pages. So pages overlap: as long as a page shows one that was seen before, whatever has stood
behind that one all the time is in it, or still to come. A page that shows none is read again from further in front.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

__all__ = ["paged"]

# Something in a list, by its name.
_Named = TypeVar("_Named", bound=tuple[str, Any])

# A tenth of a page is read twice.
_OVERLAP = 10
# So many pages are remembered.
_RECENT = 32
# After so many pages with nothing new there is nothing behind them: some servers send the last page for ever.
_STALE = 3
# 1, 2, 4 and 8 pages further in front: where that does not help, the list has no order.
_BACK = 4


async def paged(
    fetch: Callable[[int, int], Awaitable[Sequence[_Named] | None]], size: int
) -> AsyncIterator[Sequence[_Named]]:
    """All that is there, in pages; `fetch` takes an offset and a limit, and gives None where it knows that it is all.

    Nothing is left out that was there all the time, if the list is in some order and does not grow as fast as it is
    read. A name may come twice. A short page is no end, since servers send less than they are asked for; an empty one
    is, unless the list has become shorter.
    """
    overlap = max(1, size // _OVERLAP)
    recent: deque[set[str]] = deque(maxlen=_RECENT)
    last: Sequence[_Named] = ()
    offset = reached = stale = back = 0
    joined = False
    while stale < _STALE and (rows := await fetch(offset, size)) is not None:
        names = {name for name, *_ in rows}
        known = names & set().union(*recent)
        if joined and not known and back < _BACK:
            offset, back = max(0, offset - (size << back)), back + 1
            joined = offset > 0
            continue
        if not rows:
            return
        end = offset + len(rows)
        stale = 0 if names > known or end <= reached else stale + 1
        back = 0 if (joined and known) or end > reached else back
        reached = max(reached, end)
        if new := [row for row in rows if row not in last]:
            yield new
        recent.append(names)
        last, joined = rows, len(rows) > overlap
        offset = end - overlap if joined else end
