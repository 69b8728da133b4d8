"""Reading ahead: each item of an iterator, while the one behind it is being read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

__all__ = ["ahead"]

_T = TypeVar("_T")


async def ahead(items: AsyncIterator[_T]) -> AsyncGenerator[_T, None]:
    """The same items, one read ahead; an error of reading is raised behind the item before it. Close it when done."""
    reading = asyncio.ensure_future(anext(items, None))
    try:
        while (item := await reading) is not None:
            reading = asyncio.ensure_future(anext(items, None))
            yield item
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
