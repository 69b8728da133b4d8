"""The life of a worker: open the peers, drain the feed, wait for the next poll, stop when told to.

A peer that is down stops the feed where it is, for as long as it takes. SIGTERM and Ctrl-C finish the
window in hand; the schedule only pokes, so that stopping it cancels nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from dicomcast.app import App
from dicomcast.errors import Retriable, StateError
from dicomcast.model import Checkpoint, Outcome
from dicomcast.sync import Cast

__all__ = ["Replay", "Report", "Worker"]

_log = structlog.get_logger()

# How long a window may take to finish after a stop signal, before it is dropped (and read again later).
_GRACE = 20.0


@dataclass(frozen=True, slots=True)
class Replay:
    """What to cast once more: a stretch of the feed, or studies by their UID."""

    first: int | None = None
    last: int | None = None
    studies: Sequence[str] = ()

    def __bool__(self) -> bool:
        return self.first is not None or bool(self.studies)


@dataclass(slots=True)
class Report:
    """What a run did."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)

    def add(self, casts: list[Cast]) -> None:
        """Count the casts of a window."""
        self.outcomes.update(cast.outcome for cast in casts)

    def __str__(self) -> str:
        counts = ", ".join(f"{self.outcomes[outcome]} {outcome.value}" for outcome in Outcome if self.outcomes[outcome])
        return counts or "nothing new"


class Worker:
    """Runs an `App` until it is stopped, or its work is done."""

    def __init__(self, app: App, *, poll_interval: timedelta = timedelta(minutes=1)) -> None:
        self._app = app
        self._poll_interval = poll_interval
        self._stop = asyncio.Event()
        self._due = asyncio.Event()
        self.report = Report()

    def stop(self) -> None:
        """Finish the window in hand, then end."""
        self._stop.set()
        self._due.set()
        self._app.give_up()

    async def run(
        self, *, once: bool, replay: Replay | None = None, tail: bool = True, limit: float | None = None
    ) -> Report:
        """Replay if asked to, then follow the feed: to its present end (`once`) or until stopped.

        Raises:
            Retriable: with `once`, a peer stayed away for `limit` seconds.
            ConfigError, Fatal, StateError: see there.
        """
        with _signals(asyncio.get_running_loop(), self.stop):
            work = asyncio.create_task(self._work(once=once, replay=replay, tail=tail, limit=limit))
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await asyncio.wait({work}, timeout=_GRACE)
            stopping.cancel()
            if not work.done():
                work.cancel()
            try:
                await work
            except asyncio.CancelledError:
                _log.warning("window.dropped", reason="it did not finish in time after the stop signal")
            except Retriable:
                if not self._stop.is_set():
                    raise
        return self.report

    async def _work(self, *, once: bool, replay: Replay | None, tail: bool, limit: float | None) -> None:
        """Until the work is done; a peer that is away is waited for, with `once` no longer than `limit` seconds."""
        now = asyncio.get_running_loop().time
        deadline = now() + (limit or 0.0) if once or not tail else math.inf
        while not self._stop.is_set():
            try:
                checkpoint = await self._app.open()
                if replay:
                    await self._replay(replay)
                    replay = None
                if tail:
                    await self._tail(checkpoint, once=once)
                return
            except (Retriable, StateError) as error:
                left = deadline - now()
                if left <= 0:
                    raise
                _log.warning("peer.unavailable", error=str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), min(self._poll_interval.total_seconds(), left))

    async def _replay(self, replay: Replay) -> None:
        if replay.studies:
            self.report.add(await self._app.synchronizer.replay_studies(replay.studies))
        if replay.first is not None:
            async for casts in self._app.synchronizer.replay(replay.first, replay.last):
                self.report.add(casts)
                if self._stop.is_set():
                    return

    async def _tail(self, checkpoint: Checkpoint, *, once: bool) -> None:
        if once:
            await self._drain(checkpoint)
            return
        scheduler = AsyncIOScheduler(timezone=UTC)
        scheduler.add_job(self._poke, "interval", seconds=self._poll_interval.total_seconds())
        scheduler.start()
        try:
            while not self._stop.is_set():
                self._due.clear()
                checkpoint = await self._drain(checkpoint)
                if not self._stop.is_set():
                    await self._due.wait()
        finally:
            scheduler.shutdown(wait=False)

    async def _poke(self) -> None:
        """A coroutine, because the scheduler runs plain functions in a thread."""
        self._due.set()

    async def _drain(self, checkpoint: Checkpoint) -> Checkpoint:
        self.report.add(await self._app.synchronizer.retry_parked())
        async for settled, casts in self._app.synchronizer.drain(checkpoint):
            checkpoint = settled
            self.report.add(casts)
            if self._stop.is_set():
                break
        return checkpoint


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Iterator[None]:
    """Have SIGTERM and Ctrl-C call `stop`; a second Ctrl-C is as abrupt as ever."""

    def once(number: signal.Signals) -> None:
        _log.info("worker.stopping", signal=number.name)
        loop.remove_signal_handler(number)
        stop()

    numbers = (signal.SIGTERM, signal.SIGINT)
    try:
        for number in numbers:
            loop.add_signal_handler(number, once, number)
    except (NotImplementedError, RuntimeError, ValueError):
        pass  # no signals on this platform, or not in the main thread: Ctrl-C is a KeyboardInterrupt then
    try:
        yield
    finally:
        for number in numbers:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(number)
