"""WORKER__SETTLE: what arrives collects for a while, for no longer than it may, and nothing is lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from dicomcast.app import App
from dicomcast.model import Outcome
from dicomcast.worker import Job, Worker
from tests.virtual import VirtualHarness, away, now, until

pytestmark = pytest.mark.looptime


@asynccontextmanager
async def running(harness: VirtualHarness, settle: float = 15, limit: float = 300) -> AsyncIterator[App]:
    """A worker that polls every ten seconds; it is stopped at the end, whatever it waits for."""
    app = harness.app()
    times = {"settle": timedelta(seconds=settle), "settle_limit": timedelta(seconds=limit)}
    worker = Worker(app, poll_interval=timedelta(seconds=10), **times)
    run = asyncio.create_task(worker.run(Job(once=False)))
    try:
        yield app
    finally:
        stopped = now()
        worker.stop()
        await run
        assert now() - stopped < 60


def put(harness: VirtualHarness, number: int, study: str = "1.2") -> None:
    harness.put(study, f"{study}.1", f"{study}.1.{number}", InstanceNumber=number)


def versions(harness: VirtualHarness) -> int:
    """Of the only study there is."""
    return int(harness.study()["meta"]["versionId"])


@pytest.mark.long
async def test_2000_instances_over_100_polls(harness: VirtualHarness) -> None:
    """Twenty at each poll, for 1000 s: instead of a version each there is one for each 300 s."""
    async with running(harness, settle=60):
        for number in range(1, 2001):
            put(harness, number)
            if not number % 20:
                await asyncio.sleep(10)
        await until(lambda: harness.study()["numberOfInstances"] == 2000, 320)
        assert 3 <= versions(harness) <= 5


async def test_a_study_is_written_once_when_it_is_there(harness: VirtualHarness) -> None:
    """After its last instance, and not only when the limit is over, though it took longer than some polls."""
    async with running(harness, settle=90, limit=3600):
        await asyncio.sleep(60)
        for number in range(1, 11):
            put(harness, number)
            await asyncio.sleep(12)
        last = now()
        await until(lambda: bool(harness.studies()))
        assert now() - last < 600
        assert (versions(harness), harness.study()["numberOfInstances"]) == (1, 10)


async def test_the_limit_counts_from_the_first_that_waits(harness: VirtualHarness) -> None:
    """In an archive that is never quiet nothing waits for longer; then the next begins to wait."""
    async with running(harness, settle=60, limit=60):
        await asyncio.sleep(30)
        for number in range(1, 61):
            put(harness, number)
            await asyncio.sleep(5)
        assert 3 <= versions(harness) <= 9


async def test_a_window_that_is_full_does_not_wait(harness: VirtualHarness) -> None:
    """A backlog is read at once: there is enough to do."""
    harness.window = 10
    harness.restart()
    for number in range(25):
        put(harness, number)
    async with running(harness, settle=300, limit=600):
        await until(lambda: bool(harness.studies()), 60)
        assert harness.study()["numberOfInstances"] == 25
        put(harness, 26)
        await asyncio.sleep(60)
        assert harness.study()["numberOfInstances"] == 25
        for number in range(27, 36):
            put(harness, number)
        await asyncio.sleep(300)
        assert harness.study()["numberOfInstances"] == 35


async def test_a_stop_ends_the_wait_and_loses_nothing(harness: VirtualHarness) -> None:
    """What waited stays in the feed; a run that ends by itself does not wait for others to come."""
    put(harness, 1)
    async with running(harness, settle=300, limit=600):
        await asyncio.sleep(30)
    assert harness.studies() == []
    assert await harness.settled() == 0
    harness.restart()
    began = now()
    report = await Worker(harness.app(), settle=timedelta(hours=1)).run(Job())
    assert report.outcomes == {Outcome.CREATED: 1}
    assert now() - began < 60


async def test_after_an_outage_nothing_waits_any_longer(harness: VirtualHarness) -> None:
    """It has waited already."""
    async with running(harness, settle=600, limit=1200) as app:
        await asyncio.sleep(30)
        harness.weather["dicom"] = away
        await until(lambda: app.vitals.phase == "blocked")
        put(harness, 1)
        await asyncio.sleep(300)
        harness.weather.clear()
        await until(lambda: bool(harness.studies()), 120)


async def test_parked_studies_have_their_turn_meanwhile(harness: VirtualHarness) -> None:
    """They were there before what arrives now."""
    put(harness, 1, "1.3")
    harness.archive.poison("1.3", "1.3.1", "1.3.1.1", kind="corrupt")
    async with running(harness, settle=20, limit=7200):
        await asyncio.sleep(60)
        rows: list[Any] = await harness.state.parked(harness.feed.source)
        assert [row.key.study_uid for row in rows] == ["1.3"]
        harness.archive.heal("1.3", "1.3.1", "1.3.1.1")
        for number in range(1, 200):
            put(harness, number)
            await asyncio.sleep(10)
            if harness.studies():
                break
        assert [one["identifier"][0]["value"] for one in harness.studies()] == ["urn:oid:1.3"]
