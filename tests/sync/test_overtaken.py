"""A worker that stalls with a request under way, and its successor: what arrives late must not be the last word."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from dicomcast.bundle import Write
from dicomcast.errors import LeaseLost
from dicomcast.fhir import Written
from dicomcast.model import Outcome
from tests.harness import Harness
from tests.scripted import Scripted, bundle_of
from tests.trouble import Trouble, Troubled


class Stalling(Harness):
    """A harness whose requests can be held up."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        super().__init__()

    def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return Troubled(transport, peer, self.trouble)


async def test_a_create_that_arrives_after_the_successors_is_mended_by_the_successor() -> None:
    """The late PUT has no If-Match, so the server takes it: the loser finds out, and hands the study over."""
    stalled = Stalling()
    stalled.put("1.2", "1.2.1", "1.2.1.1")
    rival = Harness(rival_of=stalled)

    async def take_over() -> None:
        stalled.put("1.2", "1.2.1", "1.2.1.2")
        rival.now = stalled.now = stalled.now.replace(hour=12)
        await rival.drain()
        assert rival.study()["numberOfInstances"] == 2
        stalled.tenure.expire()

    write = stalled.fhir.write

    async def held_up(writes: list[Write]) -> list[Written]:
        if any(one.resource["resourceType"] == "ImagingStudy" for one in writes):
            stalled.trouble.kind, stalled.trouble.action = "call", take_over
        return await write(writes)

    stalled.fhir.write = held_up  # type: ignore[method-assign]
    with pytest.raises(LeaseLost):
        await stalled.cast()
    assert stalled.study()["numberOfInstances"] == 1, "the late create was taken: this is what has to be mended"

    rival.now += timedelta(minutes=1)
    await rival.open()
    await rival.synchronizer.retry_parked()
    assert rival.study()["numberOfInstances"] == 2
    assert await rival.state.parked(rival.feed.source) == []
    await stalled.close()


async def test_an_update_that_arrives_after_its_sender_stalled_is_asked_for_again() -> None:
    """The successor found nothing to write, so the version is the same, and the late PUT is taken."""
    stalled = Scripted()
    stalled.put("1.2", "1.2.1", "1.2.1.1")
    await stalled.cast()
    stalled.put("1.2", "1.2.1", "1.2.1.2")
    rival, met = Harness(rival_of=stalled), []

    async def before(peer: str, request: httpx.Request) -> None:
        if bundle_of(peer, request, "1.2") and not met:
            met.append(request)
            stalled.archive.delete("Microsoft.Default", "1.2", "1.2.1", "1.2.1.2")
            rival.now = stalled.now = stalled.now + timedelta(minutes=10)
            await rival.cast()
            assert rival.study()["numberOfInstances"] == 1
            stalled.tenure.expire()

    stalled.before = before
    with pytest.raises(LeaseLost):
        await stalled.cast()
    assert stalled.study()["numberOfInstances"] == 2, "the late update was taken: this is what has to be mended"
    rival.now += timedelta(minutes=1)
    await rival.open()
    await rival.synchronizer.retry_parked()
    assert rival.study()["numberOfInstances"] == 1
    assert await rival.state.parked(rival.feed.source) == []
    await stalled.close()


async def test_a_write_under_way_when_the_window_is_dropped_is_asked_for_again() -> None:
    """A server that takes longer than the grace may do it after our successor has looked."""
    harness = Scripted()
    harness.put("1.2", "1.2.1", "1.2.1.1")
    under_way = asyncio.Event()

    async def before(peer: str, request: httpx.Request) -> None:
        if bundle_of(peer, request, "1.2"):
            under_way.set()
            await asyncio.sleep(3600)

    harness.before = before
    work = asyncio.create_task(harness.cast())
    await under_way.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert [row.reason for row in await harness.state.parked(harness.feed.source)] == ["replay-requested"]
    await harness.close()


async def test_a_server_without_versions_is_not_overtaken_by_its_updates() -> None:
    """That nothing is known of a version does not make an update a create."""
    harness = Scripted()

    def unversioned(peer: str, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if peer == "dicom" or not answer.content:
            return None
        return httpx.Response(answer.status_code, content=orjson.dumps(_bare(orjson.loads(answer.content))))

    harness.afterwards = unversioned
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    for number in (2, 3):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}")
        assert await harness.cast() == {Outcome.UPDATED: 1}
        assert await harness.state.parked(harness.feed.source) == []
    assert harness.study()["numberOfInstances"] == 3
    assert not [request for peer, request in harness.seen if request.url.path.endswith("/studies/1.2/metadata")]
    await harness.close()


def _bare(node: Any) -> Any:
    """JSON without what tells a version."""
    if isinstance(node, dict):
        return {name: _bare(value) for name, value in node.items() if name not in ("etag", "versionId")}
    if isinstance(node, list):
        return list(map(_bare, node))
    return node.partition("/_history/")[0] if isinstance(node, str) else node
