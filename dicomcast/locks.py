"""Locks by identifier: two studies of one Patient, and one study of two partitions, are not cast at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from dicomcast.fhir import Identifier

__all__ = ["Locks"]


class Locks:
    """What must not be written by two casts at once."""

    def __init__(self) -> None:
        # Weak, so that a lock is there for as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[Identifier, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, identifiers: Iterable[Identifier]) -> AsyncIterator[None]:
        """Hold those of all `identifiers`; sorted, so that nobody waits for each other."""
        async with AsyncExitStack() as stack:
            for identifier in sorted(set(identifiers)):
                lock = self._locks.setdefault(identifier, asyncio.Lock())
                await stack.enter_async_context(lock)
            yield
