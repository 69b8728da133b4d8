"""The life of a worker in virtual time: peers away for hours, and what `once` makes of them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from dicomcast.errors import ConfigError, Rejected, Retriable, SourceReset, Unauthorized
from dicomcast.model import Outcome
from dicomcast.vitals import Phase
from dicomcast.worker import Job, Worker
from tests.virtual import VirtualHarness, away, now, until

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize("peer", ["fhir", "dicom"])
async def test_law_3_a_peer_that_is_away_is_waited_for(harness: VirtualHarness, study: None, peer: str) -> None:
    """Down for 15 minutes, then throttling with Retry-After, then well: nothing is parked, nothing is lost."""

    def weather(moment: float) -> httpx.Response | Exception | None:
        if moment < 15 * 60:
            return httpx.ConnectError("refused")
        return httpx.Response(429, headers={"Retry-After": "30"}) if moment < 15 * 60 + 45 else None

    app = harness.app()
    worker = Worker(app)
    run = asyncio.create_task(worker.run(Job(once=False)))
    harness.weather[peer] = weather
    await until(lambda: app.vitals.phase is Phase.BLOCKED)
    assert peer in app.vitals.reason
    await until(lambda: bool(harness.studies()))
    assert app.vitals.phase is Phase.ACTIVE
    worker.stop()
    report = await run
    assert report.outcomes == {Outcome.CREATED: 1}
    assert await harness.state.parked(harness.feed.source) == []
    assert await harness.settled() == 3
    assert now() < 25 * 60


async def test_a_peer_that_goes_away_in_the_middle_stops_the_feed_where_it_is(harness: VirtualHarness) -> None:
    """What was settled before stays settled; what comes meanwhile waits in the feed."""
    app = harness.app()
    worker = Worker(app)
    run = asyncio.create_task(worker.run(Job(once=False)))
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await until(lambda: len(harness.studies()) == 1)
    harness.weather["fhir"] = away
    harness.put("1.3", "1.3.1", "1.3.1.1")
    await until(lambda: app.vitals.phase is Phase.BLOCKED)
    assert await harness.settled() == 1
    await asyncio.sleep(3 * 3600)
    assert app.vitals.lag_seconds(datetime.now(UTC)) >= 0
    harness.weather.clear()
    await until(lambda: len(harness.studies()) == 2, 120)
    worker.stop()
    await run
    assert await harness.state.parked(harness.feed.source) == []


async def test_once_gives_up_when_its_time_is_over(harness: VirtualHarness, study: None) -> None:
    """A peer that stays away for --max-duration ends the run with its error (exit 75); nothing is settled."""
    harness.weather["fhir"] = away
    with pytest.raises(Retriable, match="fhir"):
        await Worker(harness.app()).run(Job(limit=240))
    assert 240 <= now() < 262
    assert await harness.settled() == 0


async def test_a_run_that_is_not_done_in_its_time_ends_well(harness: VirtualHarness) -> None:
    """With peers that answer, --max-duration finishes the window in hand and leaves the rest for the next run."""
    harness.window = 1
    harness.restart()
    for number in range(5):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1")
        harness.archive.skip_sequences(100)  # so that each has a page, and a window, of its own
    write = harness.fhir.write

    async def slowly(writes: Any) -> Any:
        await asyncio.sleep(30)
        return await write(writes)

    harness.fhir.write = slowly  # type: ignore[method-assign]
    await Worker(harness.app()).run(Job(limit=100))
    first = await harness.settled()
    assert 0 < len(harness.studies()) < 5
    assert first == 1 + 101 * (len(harness.studies()) - 1)
    harness.restart()
    await Worker(harness.app()).run(Job())
    assert len(harness.studies()) == 5


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_end_a_run_that_ends(harness: VirtualHarness, study: None, status: int) -> None:
    """`run --once` tells at once (exit 77)."""
    harness.weather["fhir"] = lambda _: httpx.Response(status)
    with pytest.raises(Unauthorized, match="FHIR__AUTH"):
        await Worker(harness.app()).run(Job())


async def test_refused_credentials_are_waited_for_by_an_endless_run(harness: VirtualHarness, study: None) -> None:
    """Somebody will mend them; until then the feed stands still, and readiness says so."""
    app = harness.app()
    worker = Worker(app)
    harness.weather["fhir"] = lambda moment: httpx.Response(403) if moment < 600 else None
    run = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: app.vitals.phase is Phase.BLOCKED)
    await until(lambda: bool(harness.studies()))
    worker.stop()
    await run


async def test_a_web_page_in_a_peers_place_is_waited_for_once_it_was_met(harness: VirtualHarness, study: None) -> None:
    """At the start it is a wrong setting (exit 78); of a peer that was itself before, it is a proxy's error page."""
    page = httpx.Response(404, text="<html>")
    harness.weather["fhir"] = lambda _: page
    with pytest.raises(ConfigError, match="FHIR__URL"):
        await Worker(harness.app()).run(Job(once=False))
    harness.restart()
    harness.weather.clear()
    app = harness.app()
    worker = Worker(app)
    run = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: bool(harness.studies()))
    gone = now() + 900
    harness.weather["fhir"] = lambda moment: page if moment < gone else None
    harness.put("1.3", "1.3.1", "1.3.1.1")
    await until(lambda: app.vitals.phase is Phase.BLOCKED)
    await until(lambda: len(harness.studies()) == 2)
    worker.stop()
    await run


@pytest.mark.parametrize("peer", ["fhir", "dicom"])
async def test_a_proxys_page_after_a_reboot_is_waited_for(harness: VirtualHarness, study: None, peer: str) -> None:
    """All is started anew, and a proxy is up before its peer: with a cursor that is no wrong setting (exit 75)."""
    await Worker(harness.app()).run(Job())
    harness.put("1.3", "1.3.1", "1.3.1.1")
    harness.weather[peer] = lambda _: httpx.Response(404, text="<html>")
    harness.restart()
    with pytest.raises(Retriable, match=f"{peer.upper()}__URL"):
        await Worker(harness.app()).run(Job())
    harness.restart()
    app = harness.app()
    worker = Worker(app)
    run = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: app.vitals.phase is Phase.BLOCKED)
    harness.weather.clear()
    await until(lambda: len(harness.studies()) == 2)
    worker.stop()
    await run


async def test_a_proxys_page_in_the_middle_of_a_run_is_no_wrong_setting(harness: VirtualHarness, study: None) -> None:
    """`run --once --max-duration` gives up on it as on any peer that is away (exit 75)."""
    met = False

    def weather(_: float) -> httpx.Response | None:
        nonlocal met
        before, met = met, True  # it is itself when it is asked for its CapabilityStatement, and then no more
        return httpx.Response(200, text="<html>") if before else None

    harness.weather["fhir"] = weather
    with pytest.raises(Retriable, match="FHIR__URL"):
        await Worker(harness.app()).run(Job(limit=240))
    assert now() >= 240


async def test_an_outage_in_the_middle_of_a_window_shows_at_once(harness: VirtualHarness) -> None:
    """Readiness does not wait until the window has given up, nor does the log."""
    app = harness.app()
    worker = Worker(app)
    run = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: app.vitals.polled_at is not None)
    assert app.vitals.ready and app.vitals.backlog is not None
    for number in range(50):
        harness.put(f"1.{number + 2}", f"1.{number + 2}.1", f"1.{number + 2}.1.1")
    down = False

    def weather(_: float) -> Exception | None:
        nonlocal down
        down = down or len(harness.studies()) > 3
        return httpx.ConnectError("refused") if down else None

    harness.weather["fhir"] = weather
    await until(lambda: down)
    noticed = now()
    await until(lambda: not app.vitals.ready, 5)
    assert "fhir" in app.vitals.trouble
    await until(lambda: app.vitals.phase is Phase.BLOCKED, 300)
    assert now() - noticed < 240, "the budget of two minutes, and not one for each study"
    harness.weather.clear()
    await until(lambda: len(harness.studies()) == 50, 120)
    assert app.vitals.ready
    worker.stop()
    await run
    assert await harness.state.parked(harness.feed.source) == []


async def test_a_peer_that_answers_but_takes_nothing_leaves_the_worker_blocked(harness: VirtualHarness) -> None:
    """That it can be asked is not that it is well: readiness comes back with the first window that is settled."""
    app = harness.app()
    worker = Worker(app)
    run = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: app.vitals.polled_at is not None)
    write, refused = harness.fhir.write, True

    async def refuses(writes: Any) -> Any:
        if refused:
            raise Rejected("fhir answered 422", peer="fhir", status=422)
        return await write(writes)

    harness.fhir.write = refuses  # type: ignore[method-assign]
    for number in range(5):
        harness.put(f"1.{number + 2}", f"1.{number + 2}.1", f"1.{number + 2}.1.1")
    await until(lambda: app.vitals.phase is Phase.BLOCKED)
    for _ in range(300):
        await asyncio.sleep(1)
        assert app.vitals.phase is Phase.BLOCKED
    refused = False
    await until(lambda: app.vitals.ready, 120)
    assert len(harness.studies()) == 5
    worker.stop()
    await run


async def test_a_recreated_archive_is_never_waited_for(harness: VirtualHarness, study: None) -> None:
    """Not by an endless run either: what its entries say must not be written."""
    await Worker(harness.app()).run(Job())
    harness.archive.reset()
    harness.restart()
    with pytest.raises(SourceReset):
        await Worker(harness.app()).run(Job(once=False))


async def test_start_at_latest_holds_from_the_first_run_on(harness: VirtualHarness, study: None) -> None:
    """A CronJob's runs on a quiet feed must not start at "latest" each time: what came between would be lost."""
    await Worker(harness.app(start="latest")).run(Job())
    harness.put("1.3", "1.3.1", "1.3.1.1")
    harness.restart()
    await Worker(harness.app(start="latest")).run(Job())
    assert [one["identifier"][0]["value"] for one in harness.studies()] == ["urn:oid:1.3"]


async def test_what_stood_before_the_start_comes_with_the_next_change(harness: VirtualHarness, study: None) -> None:
    """With WORKER__START=latest a study that changes is cast whole, not only what the feed tells of it."""
    await Worker(harness.app(start="latest")).run(Job())
    harness.put("1.2", "1.2.1", "1.2.1.4")
    harness.restart()
    await Worker(harness.app()).run(Job())  # the setting is gone, the cursor remembers
    assert harness.study()["numberOfInstances"] == 4


async def test_stop_while_waiting_ends_at_once(harness: VirtualHarness, study: None) -> None:
    """A stop signal does not wait for a peer that is away, and is no error."""
    harness.weather["dicom"] = away
    worker = Worker(harness.app())
    run = asyncio.create_task(worker.run(Job(once=False)))
    await asyncio.sleep(10)
    worker.stop()
    await run
    assert now() < 11


async def test_a_study_that_alone_finds_no_answer_steps_aside(harness: VirtualHarness) -> None:
    """Law 3: the server chokes on one study and answers for others: that one is parked, the rest is cast."""
    write = harness.fhir.write

    async def chokes(writes: Any) -> Any:
        if any("1.2" in str(one.resource.get("identifier")) and "1.2.1" in str(one.resource) for one in writes):
            raise Retriable("fhir answered 504", peer="fhir", status=504)
        return await write(writes)

    harness.fhir.write = chokes  # type: ignore[method-assign]
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.3", "1.3.1", "1.3.1.1")
    report = await Worker(harness.app()).run(Job())
    assert report.outcomes == {Outcome.PARKED: 1, Outcome.CREATED: 1}
    (row,) = await harness.state.parked(harness.feed.source)
    assert (row.key.study_uid, row.reason, row.stage, row.status) == ("1.2", "no-usable-answer", "write", 504)
    assert await harness.settled() == 2


async def test_a_throttling_peer_parks_nothing(harness: VirtualHarness, study: None) -> None:
    """429 and 503 say that there is too much, not that this study is bad."""
    write = harness.fhir.write

    async def throttles(writes: Any) -> Any:
        if now() < 1800:
            raise Retriable("fhir answered 503", peer="fhir", status=503)
        return await write(writes)

    harness.fhir.write = throttles  # type: ignore[method-assign]
    worker = Worker(harness.app())
    run = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: bool(harness.studies()))
    worker.stop()
    report = await run
    assert report.outcomes == {Outcome.CREATED: 1}
