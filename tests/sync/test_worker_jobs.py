"""What a worker is there for, in virtual time: two of them, replays handed over and interrupted, and a dry run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from dicomcast.casting import Caster
from dicomcast.dry_run import DryRunServer, DryRunStore
from dicomcast.errors import LeaseLost, Rejected, Retriable
from dicomcast.model import Outcome
from dicomcast.sync import Synchronizer
from dicomcast.tenure import Tenure
from dicomcast.vitals import Phase
from dicomcast.worker import Job, Replay, Worker
from tests.virtual import VirtualHarness, until

pytestmark = pytest.mark.looptime


async def test_a_second_worker_stands_by_and_takes_over(harness: VirtualHarness) -> None:
    """One is active; the other says that it stands by, and takes over when the first is gone for a lease's time."""
    first, second = harness.app(), VirtualHarness(rival_of=harness).app()
    one = asyncio.create_task(Worker(first).run(Job(once=False)))
    await until(lambda: first.vitals.phase is Phase.ACTIVE)
    worker = Worker(second)
    other = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: second.vitals.phase is Phase.STANDBY)
    await asyncio.sleep(600)
    assert second.vitals.phase is Phase.STANDBY
    one.cancel()  # as a kill would: nothing is released
    await asyncio.gather(one, return_exceptions=True)
    await until(lambda: second.vitals.phase is Phase.ACTIVE, 70)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await until(lambda: bool(harness.studies()))
    worker.stop()
    await other


async def test_a_lease_that_was_lost_is_counted(harness: VirtualHarness) -> None:
    """For the alert: it was at work when another one took over, which one that stands by from the start was not."""
    app = harness.app()
    worker = Worker(app)
    run = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: app.vitals.phase is Phase.ACTIVE)
    assert app.vitals.leases_lost == 0
    later = datetime.now(UTC) + timedelta(days=365)
    await app.store.acquire(app.feed.source, "the-other", later, timedelta(minutes=1))
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await until(lambda: app.vitals.phase is Phase.STANDBY, 300)  # a poll to see it, and one to stand by
    worker.stop()
    await run
    assert app.vitals.leases_lost == 1
    assert harness.studies() == []


@pytest.mark.parametrize("limit", [None, 2, 240])
async def test_once_beside_an_active_worker_leaves(harness: VirtualHarness, limit: float | None) -> None:
    """A CronJob that overlaps waits for a dead owner's lease to run out, and not for a living one (exit 77).

    However long --max-duration lets it wait.
    """
    app = harness.app()
    worker = Worker(app)
    run = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: app.vitals.phase is Phase.ACTIVE)
    with pytest.raises(LeaseLost, match="another worker"):
        await Worker(VirtualHarness(rival_of=harness).app()).run(Job(limit=limit))
    worker.stop()
    await run


async def test_a_replay_beside_an_active_worker_is_handed_to_it(harness: VirtualHarness, study: None) -> None:
    """Each study has one writer: the active worker casts it at its next poll, from a snapshot."""
    app = harness.app()
    worker = Worker(app)
    run = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: bool(harness.studies()))
    harness.store.delete("ImagingStudy", harness.study()["id"])
    rival = VirtualHarness(rival_of=harness)
    report = await Worker(rival.app()).run(Job(replay=Replay(first=1), tail=False))
    assert report.handed_over == 1
    await until(lambda: bool(harness.studies()))
    worker.stop()
    await run
    assert await harness.state.parked(harness.feed.source) == []


async def test_an_interrupted_replay_says_where_to_go_on(harness: VirtualHarness) -> None:
    """A Job that is evicted in the middle has not done its work (exit 75); a blip does not make it begin anew."""
    harness.window = 5
    harness.restart()
    for number in range(20):
        harness.put(f"1.{number + 2}", f"1.{number + 2}.1", f"1.{number + 2}.1.1", PatientID=f"P{number}")
    await Worker(harness.app()).run(Job())
    pages: list[str] = []

    def weather(moment: float) -> httpx.Response | None:
        pages.append(f"{moment}")
        return httpx.Response(503) if len(pages) in (7, 8, 9) else None

    harness.weather["fhir"] = weather
    worker = Worker(harness.app())
    count = worker._count

    def counted(casts: Any, what: str) -> None:
        count(casts, what)
        if harness.studies() and worker._reached == 10:
            worker.stop()

    worker._count = counted  # type: ignore[method-assign]
    with pytest.raises(Retriable, match="behind sequence 10: go on with --replay-from 11 --replay-to 18"):
        await worker.run(Job(replay=Replay(first=1, last=18), tail=False, limit=3600))
    harness.restart()
    report = await Worker(harness.app()).run(Job(replay=Replay(first=11, last=18), tail=False))
    assert report.outcomes == {Outcome.UNCHANGED: 8}


async def test_a_dry_run_ends_though_a_row_is_due(harness: VirtualHarness, study: None) -> None:
    """Nothing settles the row, so it stays due: it is shown once."""
    write = harness.fhir.write

    async def refuses(writes: Any) -> Any:
        if any(one.resource["resourceType"] == "ImagingStudy" for one in writes):
            raise Rejected("fhir answered 422", peer="fhir", status=422)
        return await write(writes)

    harness.fhir.write = refuses  # type: ignore[method-assign]
    await Worker(harness.app()).run(Job())
    await asyncio.sleep(3600)
    shown: list[bytes] = []
    app = harness.app()
    app.store = DryRunStore(harness.state)
    app.fhir = DryRunServer(harness.server, shown.append)
    app.tenure = Tenure(app.store, harness.feed.source, ttl=timedelta(minutes=1), clock=lambda: harness.now)
    caster = Caster(harness.feed, app.fhir, harness.rules)
    app.synchronizer = Synchronizer(harness.feed, app.fhir, app.store, app.tenure, caster, clock=lambda: harness.now)
    await Worker(app).run(Job())
    assert len(shown) == 1 and b"urn:oid:1.2" in shown[0]
    assert len(await harness.state.parked(harness.feed.source)) == 1
