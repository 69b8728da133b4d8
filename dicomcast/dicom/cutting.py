"""Where a window ends: with so many entries, or with so many bytes, so that fat metadata do not fill the memory."""

from __future__ import annotations

from collections.abc import Iterable

from dicomcast.model import Entry

__all__ = ["BYTES", "full"]

# Two windows are held at a time, one that is cast and one that is read, and what is parsed takes several times as much.
BYTES = 8 * 2**20


def full(entries: Iterable[Entry], size: int) -> int:
    """How many of these entries make a window, 0 where they do not fill it yet."""
    held = 0
    for count, entry in enumerate(entries, 1):
        held += entry.size
        if count == size or held >= BYTES:
            return count
    return 0
