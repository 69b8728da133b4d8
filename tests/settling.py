"""A process that settles window after window and says so, until it is killed or the disk is full.

Window n parks study n and resolves study n - 1, so that a store in which a window was settled whole has one row.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys

from dicomcast.errors import StateError
from dicomcast.model import Cursor
from dicomcast.state.sqlite import SqliteStore
from tests.stores import key, row

FEED = "https://archive.test"


async def settle(path: str, padding: int) -> None:
    store = SqliteStore(path)
    at = await store.load(FEED)
    while True:
        number = at.revision + 1
        parked = [row(str(number), message="x" * padding)]
        at = await store.advance(at, to=Cursor(number), parked=parked, resolved=[key(str(number - 1))])
        print(number, flush=True)


def main(path: str, most_bytes: str = "", padding: str = "0") -> None:
    signal.alarm(60)  # nothing that a test left behind settles for ever
    if most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(most_bytes), int(most_bytes)))
    try:
        asyncio.run(settle(path, int(padding)))
    except StateError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
