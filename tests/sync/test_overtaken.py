"""A worker that stalls with a request under way, and its successor: what arrives late must not be the last word."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from dicomcast.bundle import Write
from dicomcast.errors import LeaseLost
from dicomcast.fhir import Written
from tests.harness import Harness
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
        async for _ in rival.synchronizer.drain(await rival.open()):
            pass
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
