"""The life of a worker: take the lease, open the peers, drain the feed, wait for the next poll, stop when told to.

A peer that is away, throttles or refuses credentials stops the feed where it is, for as long as it takes;
with `once`, for as long as was allowed. SIGTERM and Ctrl-C finish the window in hand; the schedule only
pokes, so that stopping it cancels nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import structlog

from dicomcast.app import App
from dicomcast.arrival import Arrivals
from dicomcast.errors import (
    ConfigError,
    CursorMoved,
    DicomCastError,
    Fatal,
    LeaseLost,
    Rejected,
    Retriable,
    SourceReset,
    StateError,
    StateRefused,
    Stranger,
    Unauthorized,
)
from dicomcast.job import Job, Replay
from dicomcast.model import Checkpoint, Outcome
from dicomcast.settling import Cast
from dicomcast.signals import stopping
from dicomcast.vitals import Backlog, Phase, Report

__all__ = ["Job", "Replay", "Worker"]

_log = structlog.get_logger()

# How long a window may take to finish after a stop signal, before it is dropped (and read again later).
_GRACE = 20.0
# What one waits for, whether it is a run to the present end of the feed or an endless one.
_PASSING = (Retriable, Rejected, StateError, LeaseLost, CursorMoved)


class Worker:
    """Runs an `App` until it is stopped, or its work is done."""

    def __init__(
        self,
        app: App,
        *,
        poll_interval: timedelta = timedelta(minutes=1),
        settle: timedelta = timedelta(0),
        settle_limit: timedelta = timedelta(minutes=5),
    ) -> None:
        self._app = app
        self._arrivals = Arrivals(app.feed, settle=settle, limit=settle_limit, window=app.synchronizer.window)
        self._vitals = app.vitals
        self._poll_interval = poll_interval.total_seconds()
        self._stop = asyncio.Event()
        self._due = asyncio.Event()
        self._met = False
        self._replayed = False
        self._reached: int | None = None
        self._checkpoint: Checkpoint | None = None
        self._trouble: DicomCastError | None = None

    def stop(self) -> None:
        """Finish the window in hand, then end."""
        self._stop.set()
        self._due.set()
        self._app.give_up()

    async def run(self, job: Job) -> Report:
        """Do a job.

        Raises:
            Retriable, Rejected, StateError: a job that ends found a peer or the store away for too long.
            LeaseLost: … or another worker active for too long.
            Unauthorized, StateRefused: … or its credentials refused.
            ConfigError: a peer is not what the settings say.
        """
        loop = asyncio.get_running_loop()
        end = math.inf if job.limit is None else loop.time() + job.limit
        with stopping(self.stop):
            # Endless, both: one that ends by itself has a defect, which must be heard of.
            beside = [asyncio.create_task(self._beat()), asyncio.create_task(self._app.tenure.keep())]
            work = asyncio.create_task(self._work(job, end))
            told = asyncio.create_task(self._stop.wait())
            timer = loop.call_later(job.limit, self.stop) if job.limit is not None else None
            try:
                await asyncio.wait({work, told, *beside}, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait({work}, timeout=_GRACE)
                await self._finish(work, job, expired=loop.time() >= end)
                for task in beside:
                    if task.done():
                        task.result()
            finally:
                for one in (work, told, timer, *beside):
                    if one is not None:
                        one.cancel()
        return self._vitals.report

    async def _finish(self, work: asyncio.Task[None], job: Job, *, expired: bool) -> None:
        """What an interrupted job says: it fails where its time ran out while it waited, or a replay is not done."""
        if not work.done():
            work.cancel()
        try:
            await work
        except asyncio.CancelledError:
            said = "the window in hand did not finish in time: a peer keeps its answer back"
            _log.warning("window.dropped", reason=said)
            self._trouble = self._trouble or Retriable(said)
        except _PASSING:
            if expired or not self._stop.is_set():
                raise
        finally:
            # A write that is under way may still come: then nobody takes over before the lease runs out.
            if not self._app.synchronizer.interrupted:
                with contextlib.suppress(StateError):
                    await self._app.tenure.release()
        if expired and self._trouble is not None:
            raise self._trouble
        if self._stop.is_set() and self._reached is not None and not self._replayed:
            again = f"--replay-from {self._reached + 1}"
            again += f" --replay-to {job.replay.last}" if job.replay.last else ""
            raise Retriable(f"the replay was interrupted behind sequence {self._reached}: go on with {again}")

    async def _beat(self) -> None:
        """Show that the event loop turns and how it goes, and say at once when a peer goes away: a window may take long
        to end.
        """
        told: dict[str, str] = {}
        self._vitals.owner = self._app.tenure.owner
        while True:
            self._vitals.beat = time.monotonic()
            self._vitals.leads = self._app.tenure.held
            self._vitals.sample(datetime.now(UTC))
            for peer in self._vitals.peers:
                before = told.get(peer.peer, "")
                if peer.trouble and not before:
                    _log.warning("peer.away", peer=peer.peer, error=peer.trouble)
                elif before and not peer.trouble:
                    _log.info("peer.back", peer=peer.peer)
                told[peer.peer] = peer.trouble
            await asyncio.sleep(1)

    async def _work(self, job: Job, end: float) -> None:
        """Until the job is done; what is passing is waited out."""
        now = asyncio.get_running_loop().time
        patience = math.inf if not job.ends else end if job.limit is not None else now()
        while not self._stop.is_set():
            try:
                if await self._active(job):
                    await self._do(job)
                return
            except DicomCastError as error:
                if not self._passes(error, job) or now() >= patience:
                    raise
                self._vitals.leases_lost += isinstance(error, LeaseLost)
                await self._wait_out(error)

    async def _open(self) -> Checkpoint:
        """Open both peers.

        One that was itself once may show the page of a proxy while it restarts, or before it is up when all is started
        anew: that is no wrong setting where there is a cursor, so it is waited for.
        """
        try:
            checkpoint = await self._app.open()
        except SourceReset:
            raise
        except ConfigError as error:
            if self._met or (isinstance(error, Stranger) and await self._was_followed()):
                raise Retriable(str(error)) from None
            raise
        self._met = True
        return checkpoint

    async def _was_followed(self) -> bool:
        return (await self._app.store.load(self._app.feed.source)).cursor is not None

    def _passes(self, error: DicomCastError, job: Job) -> bool:
        """Whether waiting may help.

        Credentials are mended by somebody else, so an endless run waits for that.
        """
        if isinstance(error, Unauthorized | StateRefused):
            return not job.ends
        return isinstance(error, _PASSING)

    async def _wait_out(self, error: DicomCastError) -> None:
        self._trouble = error
        if self._vitals.enter(Phase.BLOCKED, str(error)):
            _log.warning("worker.blocked", error=str(error))
        if self._checkpoint is not None:  # The archive may have been asked for its newest entry all the same.
            with contextlib.suppress(StateError):
                await self._take_stock(self._checkpoint)
        asked = error.retry_after if isinstance(error, Retriable) else None
        await self._sleep(max(self._poll_interval, asked or 0.0))

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _active(self, job: Job) -> bool:
        """Stand by until the lease is ours; False if we were stopped before, or handed the job over.

        Raises:
            LeaseLost: a job that ends by itself waited long enough for a dead owner's lease to run out.
        """
        tenure, now = self._app.tenure, asyncio.get_running_loop().time
        patience = now() + (job.limit or 1.5 * tenure.ttl.total_seconds()) if job.ends else math.inf
        first = await tenure.take()
        while not tenure.held and not self._stop.is_set():
            said = f"another worker ({first.owner}) is active on this source"
            if not job.tail:
                said += "; it gets the replay once it has renewed its lease"
            if self._vitals.enter(Phase.STANDBY, said):
                _log.info("worker.standby", reason=f"{said}; its lease runs until {_clock(first.expires_at)}")
            if job.ends:  # What is said if its time is over before anything else happens.
                self._trouble = LeaseLost(said)
            await self._sleep(min(tenure.ttl.total_seconds() / 3, 5.0))
            lease = await tenure.take()
            if tenure.held or self._stop.is_set():
                break
            if lease != first and not job.tail:  # renewed meanwhile: its owner is alive
                await self._hand_over(job.replay, lease.owner)
                return False
            if lease != first and job.backfill is not None:
                raise Fatal(f"another worker ({lease.owner}) is active on this source: stop it until this is complete")
            if now() >= patience:
                raise LeaseLost(f"{said}; its lease runs until {_clock(lease.expires_at)}")
        if tenure.held:
            self._trouble = None
        return tenure.held

    async def _hand_over(self, replay: Replay, owner: str) -> None:
        """A replay beside an active worker is that worker's to do, so that each study has one writer."""
        await self._open()
        keys = set(replay.keys)
        if replay.studies:
            keys.update(await self._app.synchronizer.keys_of_studies(replay.studies))
        if replay.first is not None:
            keys |= await self._app.synchronizer.keys_of(replay.first, replay.last)
        await self._app.synchronizer.hand_over(keys)
        self._vitals.report.handed_over += len(keys)
        _log.info("replay.handed-over", studies=len(keys), owner=owner)

    async def _do(self, job: Job) -> None:
        checkpoint = await self._open()
        await self._take_stock(checkpoint)
        if self._vitals.phase is not Phase.BLOCKED:  # What it was blocked by may be there still.
            self._well()
        if job.replay and not self._replayed:
            await self._replay(job.replay)
            self._replayed = not self._stop.is_set()
        if job.tail:
            await self._tail(checkpoint, job)

    def _well(self) -> None:
        self._trouble = None
        if self._vitals.phase is Phase.BLOCKED:
            _log.info("worker.unblocked")
        self._vitals.enter(Phase.ACTIVE)

    async def _replay(self, replay: Replay) -> None:
        if replay.keys:
            self._count(await self._app.synchronizer.retry(replay.keys), "replay")
        if replay.studies:
            casts = await self._app.synchronizer.replay_studies(replay.studies)
            self._count(casts, "replay")
            found = {cast.key.study_uid for cast in casts if cast.outcome is not Outcome.SKIPPED}
            self._vitals.report.absent += [uid for uid in replay.studies if uid not in found]
        if replay.first is not None:
            first = replay.first if self._reached is None else self._reached + 1
            async for reached, casts in self._app.synchronizer.replay(first, replay.last):
                self._reached = reached
                self._count(casts, "replay")
                if self._stop.is_set():
                    return

    async def _tail(self, checkpoint: Checkpoint, job: Job) -> None:
        if not checkpoint.revision:
            # Where a first run starts must outlive it: "latest" is another place the next time.
            assert checkpoint.cursor is not None
            checkpoint = await self._app.store.advance(checkpoint, to=checkpoint.cursor, epoch=self._app.tenure.epoch)
        assert checkpoint.cursor is not None
        await self._app.note_take_over(checkpoint.cursor)
        if job.once:
            await self._drain(checkpoint)
            return
        from apscheduler.schedulers.asyncio import AsyncIOScheduler  # here, since a run that ends needs none

        scheduler = AsyncIOScheduler(timezone=UTC)
        scheduler.add_job(self._poke, "interval", seconds=self._poll_interval, coalesce=True, misfire_grace_time=None)
        scheduler.start()
        try:
            while not self._stop.is_set():
                self._due.clear()
                await self._collect(checkpoint)
                if self._stop.is_set():
                    return
                checkpoint = await self._drain(checkpoint)
                self._arrivals.read()
                if job.backfill is not None:
                    checkpoint = await job.backfill.work(checkpoint, self._due.is_set, self._count)
                    if job.backfill.complete:
                        return
                elif not self._stop.is_set():
                    await self._due.wait()
        finally:
            # It cancels a poke that was due and has not run yet, and would log that with a traceback: let it run.
            scheduler.pause()
            await asyncio.sleep(0)
            scheduler.shutdown(wait=False)

    async def _poke(self) -> None:
        """A coroutine, because the scheduler runs plain functions in a thread."""
        self._due.set()

    async def _collect(self, checkpoint: Checkpoint) -> None:
        """Wait while a study may still be arriving; after an outage nothing waits any longer."""
        assert checkpoint.cursor is not None
        while not self._stop.is_set() and self._vitals.phase is not Phase.BLOCKED:
            seconds = await self._arrivals.wait(checkpoint.cursor)
            if not seconds:
                return
            await self._take_stock(checkpoint)
            await self._retry_some()
            await self._sleep(seconds)

    async def _drain(self, checkpoint: Checkpoint) -> Checkpoint:
        """To the present end of the feed; parked studies whose time has come get their turn between the windows."""
        await self._retry_some()
        async with contextlib.aclosing(self._app.synchronizer.drain(checkpoint)) as windows:
            async for settled, casts in windows:
                checkpoint = settled
                self._count(casts, "window")
                self._vitals.windows += 1
                await self._take_stock(checkpoint)
                if self._stop.is_set():
                    return checkpoint
                await self._retry_some()
        self._well()
        await self._take_stock(checkpoint)
        self._vitals.polled_at = datetime.now(UTC)
        while not self._due.is_set() and await self._retry_some():
            await self._take_stock(checkpoint)
        return checkpoint

    async def _retry_some(self) -> bool:
        """Whether any was tried."""
        casts = [] if self._stop.is_set() else await self._app.synchronizer.retry_parked()
        if casts:
            self._count(casts, "retry")
        return bool(casts)

    async def _take_stock(self, checkpoint: Checkpoint) -> None:
        assert checkpoint.cursor is not None
        self._checkpoint = checkpoint
        feed = self._app.feed
        rows = await self._app.store.parked(feed.source)
        self._vitals.stock(Backlog.of(checkpoint.cursor, feed.newest, rows, measurable=feed.measurable))

    def _count(self, casts: list[Cast], what: str) -> None:
        """Those that were cast are counted already."""
        outcomes = Counter(cast.outcome for cast in casts)
        if outcomes[Outcome.PARKED]:
            self._vitals.report.outcomes[Outcome.PARKED] += outcomes[Outcome.PARKED]
        if outcomes:
            self._vitals.did(what, outcomes)
        self._well()


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S} UTC unless it is renewed"
