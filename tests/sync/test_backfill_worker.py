"""The life of a worker with a backfill, in virtual time: live studies, a rate, peers away, and other workers."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from dicomcast.backfill import Backfill
from dicomcast.errors import Fatal, LeaseLost, Rejected, Retriable
from dicomcast.model import Outcome
from dicomcast.progress import Progress
from dicomcast.vitals import Phase
from dicomcast.worker import Job, Worker
from tests.filling import backfill
from tests.virtual import VirtualHarness, away, now, until

pytestmark = pytest.mark.looptime


def fill(harness: VirtualHarness, count: int) -> None:
    for number in range(count):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1")


def begun(harness: VirtualHarness, **options: Any) -> tuple[Worker, Backfill, asyncio.Task[Any]]:
    app = harness.app(start="latest")
    work, worker = Backfill(app, **options), Worker(app)
    return worker, work, asyncio.create_task(worker.run(Job(once=False, backfill=work)))


async def test_live_studies_do_not_wait_for_it(harness: VirtualHarness) -> None:
    """While it takes hours, the feed is read at each poll, and parked studies are tried again."""
    fill(harness, 12)
    _, work, run = begun(harness, rate=1 / 120)
    await until(lambda: len(harness.studies()) == 2)
    for number in range(3):
        harness.put(f"2.{number}", f"2.{number}.1", f"2.{number}.1.1")
        stored = now()
        await until(lambda: f"urn:oid:2.{number}" in str(harness.studies()), 130)  # noqa: B023
        assert now() - stored <= 125
    assert work.progress.left and work.progress.left > 4
    await run
    assert work.complete and len(harness.studies()) == 15


@pytest.mark.parametrize(("rate", "seconds"), [(1.0, 15), (1 / 60, 19 * 60)])
async def test_a_rate(harness: VirtualHarness, rate: float, seconds: float) -> None:
    """No more studies a second than that, and not many less; nothing is waited for at the end."""
    fill(harness, 20)
    told: list[Progress] = []
    began = now()
    work = await backfill(harness, rate=rate, tell=told.append)
    assert work.complete
    assert seconds <= now() - began < seconds + 60
    assert told[-1].left == 0


async def test_its_time_is_over(harness: VirtualHarness) -> None:
    """With --max-duration it ends well, and says what is left; the next one goes on with that."""
    fill(harness, 40)
    work = await backfill(harness, rate=0.1, limit=120)
    assert not work.complete and work.progress.left
    harness.restart()
    again = await backfill(harness)
    assert again.complete and again.progress.settled == 40
    assert again.progress.before == 40 - work.progress.left > 5
    assert again.progress.outcomes.total() == work.progress.left


@pytest.mark.parametrize("peer", ["fhir", "dicom"])
async def test_law_3_a_peer_that_is_away_is_waited_for(harness: VirtualHarness, peer: str) -> None:
    """For as long as it takes: nobody is parked. With --max-duration it ends with 75."""
    fill(harness, 15)
    worker, work, run = begun(harness, rate=1.0)
    await until(lambda: len(harness.studies()) >= 5)
    harness.weather[peer] = away
    await until(lambda: worker._vitals.phase is Phase.BLOCKED)
    await asyncio.sleep(1800)
    assert not work.complete and harness.state.rows() == []
    worker.stop()
    await run
    harness.restart()
    with pytest.raises(Retriable):
        await backfill(harness, limit=600)
    harness.weather.clear()
    harness.restart()
    again = await backfill(harness)
    assert again.complete and len(harness.studies()) == 15 and harness.state.rows() == []


async def test_many_that_fail_in_a_row_do_not_stop_it(harness: VirtualHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stand side by side in the list: that it is their own trouble shows where others are tried beside them."""
    monkeypatch.setattr("dicomcast.backfill._STUDIES", 12)
    fill(harness, 60)
    write = harness.fhir.write
    bad = {f"urn:oid:1.{number}" for number in range(20, 50)}

    async def refuses(writes: Any) -> Any:
        if any(one.resource["identifier"][0]["value"] in bad for one in writes):
            raise Rejected("fhir answered 422", peer="fhir", status=422)
        return await write(writes)

    harness.fhir.write = refuses  # type: ignore[method-assign]
    work = await backfill(harness)
    assert work.complete
    assert work.progress.outcomes == {Outcome.CREATED: 30, Outcome.PARKED: 30}


async def test_beside_an_active_worker_it_ends(harness: VirtualHarness) -> None:
    """Exit 77, with what to do; of a dead one the lease is waited for."""
    fill(harness, 3)
    app = harness.app()
    worker = Worker(app)
    run = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: app.vitals.phase is Phase.ACTIVE)
    rival = VirtualHarness(rival_of=harness)
    with pytest.raises(Fatal, match="another worker .* stop it") as ended:
        await backfill(rival)
    assert ended.value.exit_code == 77 and not isinstance(ended.value, LeaseLost)
    run.cancel()  # as a kill would: nothing is released
    await asyncio.gather(run, return_exceptions=True)
    assert (await backfill(VirtualHarness(rival_of=harness))).complete


async def test_a_run_follows_the_feed_from_the_pinned_cursor(harness: VirtualHarness) -> None:
    """What an interrupted backfill has left is on its list still, however far the feed is read meanwhile."""
    fill(harness, 10)
    await backfill(harness, rate=0.1, limit=30)
    harness.restart()
    harness.put("2.1", "2.1.1", "2.1.1.1")
    await asyncio.sleep(120)
    report = await Worker(harness.app()).run(Job())
    assert report.outcomes[Outcome.CREATED] == 1
    harness.restart()
    work = await backfill(harness)
    assert work.progress.before > 0 and len(harness.studies()) == 11


async def test_an_archive_that_stumbles_while_it_is_listed(
    harness: VirtualHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list begins anew, and is whole."""
    monkeypatch.setattr("dicomcast.backfill._PAGE", 10)
    fill(harness, 45)
    answers = iter([None] * 8 + [httpx.Response(503)] * 40)
    harness.weather["dicom"] = lambda _: next(answers, None)
    work = await backfill(harness)
    assert work.progress.total == 45 and len(harness.studies()) == 45
