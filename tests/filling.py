"""Backfills of a harness, by a worker as the command line makes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx

from dicomcast.backfill import Backfill
from dicomcast.errors import Retriable
from dicomcast.worker import Job, Worker
from tests.feeds import KINDS, scripted
from tests.harness import Harness
from tests.scripted import Scripted
from tests.trouble import Crash

__all__ = ["Killed", "backfill", "everything", "partitioned", "worked"]


async def backfill(harness: Harness, *, limit: float | None = None, **options: Any) -> Backfill:
    """`dicomcast backfill`; options are those of `Backfill`."""
    app = harness.app(start="latest")
    work = Backfill(app, **options)
    await Worker(app).run(Job(once=False, limit=limit, backfill=work))
    return work


async def worked(harness: Harness, steps: int) -> None:
    """The same without a clock: the feed to its present end, and so many steps of the backfill, in turns."""
    app = harness.app(start="latest")
    work = Backfill(app)
    for _ in range(50):
        with contextlib.suppress(Retriable):
            await app.tenure.take()
            checkpoint = await app.open()
            assert checkpoint.cursor is not None
            if not checkpoint.revision:
                checkpoint = await app.store.advance(checkpoint, to=checkpoint.cursor, epoch=app.tenure.epoch)
            while not work.complete:
                harness.now += timedelta(minutes=2)
                async for settled, _ in app.synchronizer.drain(checkpoint):
                    checkpoint = settled
                await app.synchronizer.retry_parked()
                for _ in range(steps):
                    if not work.complete:
                        checkpoint, _ = await work.step(checkpoint, lambda: False)
            return
    raise AssertionError("it does not come to its end")


def partitioned(kind: str, **options: Any) -> Scripted:
    """A harness of a kind, with partitions where there are any."""
    more = {"partitions": True} if KINDS[kind]["api"] in ("v1", "v2") else {}
    return scripted(kind, **more, **options)


def everything(harness: Harness) -> dict[str, list[str]]:
    """What the archive holds: partitions by StudyInstanceUID."""
    found: dict[str, set[str]] = {}
    for one in harness.archive.partition_list():
        name = one["partitionName"]
        for instance in harness.archive.catalogue(name):
            found.setdefault(instance["0020000D"]["Value"][0], set()).add(name)
    return {uid: sorted(names) for uid, names in sorted(found.items())}


class Killed:
    """What happens at the requests of a harness, by their number from now on: a change, or its process is killed.

    A process that is killed sends nothing more; `before` or `after` the request was answered.
    """

    def __init__(self, harness: Scripted) -> None:
        self.events: dict[int, Callable[[], None]] = {}
        self.kill_before: set[int] = set()
        self.kill_after: set[int] = set()
        self.requests = 0
        self.dead = False
        harness.before, harness.afterwards = self.before, self.afterwards

    async def before(self, peer: str, request: httpx.Request) -> None:
        """Something happens."""
        if self.dead:
            raise Crash
        await asyncio.sleep(0)
        self.requests += 1
        self.events.pop(self.requests, lambda: None)()
        self.die(self.requests in self.kill_before)

    def afterwards(self, peer: str, request: httpx.Request, answer: httpx.Response) -> None:
        """The peer has done it, and nobody hears of it."""
        self.die(self.requests in self.kill_after)

    def die(self, now: bool) -> None:
        """From now on nothing leaves this process."""
        if now or self.dead:
            self.dead = True
            raise Crash
