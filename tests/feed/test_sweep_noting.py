"""A first run that starts behind the beginning takes note of what is new to us; what was seen before is cast."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from dicomcast.model import Outcome
from tests.feeds import SWEEPING, instances, scripted
from tests.scripted import Scripted
from tests.trouble import Crash

PARTITION = "Microsoft.Default"
LOGS = [kind for kind in SWEEPING if kind.startswith("orthanc")]


@pytest.fixture
async def harness(kind: str) -> AsyncIterator[Scripted]:
    harness = scripted(kind)
    harness.start = "latest"
    yield harness
    await harness.close()


def put(harness: Scripted, *studies: str) -> None:
    """Studies of two instances each."""
    for study in studies:
        for number in (1, 2):
            harness.put(study, f"{study}.1", f"{study}.1.{number}")


def shrink(harness: Scripted, study: str) -> None:
    """Delete an instance, which no log tells."""
    harness.archive.delete(PARTITION, study, f"{study}.1", f"{study}.1.2")


def listing_from(peer: str, request: httpx.Request) -> int | None:
    """Where a page of the listing begins; None for another request."""
    if peer != "dicom" or not request.url.path.endswith("/studies"):
        return None
    asked = request.url.params
    return int(asked.get("since", asked.get("offset", "0")))


@pytest.mark.parametrize("kind", SWEEPING)
async def test_what_is_new_is_noted_and_cast_when_it_changes(harness: Scripted) -> None:
    """Nothing of it is in FHIR until then, and then the whole study is."""
    put(harness, "1.2", "1.3")
    assert await harness.cast() == {}
    shrink(harness, "1.2")
    await harness.cast()
    assert instances(harness) == {"1.2": ["1.2.1.1"]}
    assert await harness.cast() == {}


@pytest.mark.parametrize("kind", LOGS)
async def test_what_the_log_told_is_cast_when_it_is_listed_otherwise(harness: Scripted) -> None:
    """It lost an instance between its cast and the first page, and no later sweep would find anything new about it."""
    put(harness, "1.2")
    start = await harness.open()
    put(harness, "1.3")
    cast: list[dict[str, list[str]]] = []

    def instead(peer: str, request: httpx.Request) -> None:
        if listing_from(peer, request) == 0 and not cast:
            cast.append(instances(harness))
            shrink(harness, "1.3")

    harness.instead = instead
    async for _ in harness.synchronizer.drain(start):
        pass
    assert cast == [{"1.3": ["1.3.1.1", "1.3.1.2"]}]
    assert instances(harness) == {"1.3": ["1.3.1.1"]}


@pytest.mark.parametrize("kind", SWEEPING)
async def test_what_an_interrupted_noting_has_seen_is_cast_when_it_differs(harness: Scripted) -> None:
    """The noting begins anew, and does not take what it noted before for new."""
    harness.window = 2
    harness.restart()
    put(harness, "1.2", "1.3", "1.4", "1.5")

    def instead(peer: str, request: httpx.Request) -> None:
        if listing_from(peer, request) == 2:
            raise Crash

    harness.instead = instead
    with pytest.raises(Crash):
        await harness.cast()
    noted, *_ = await harness.state.inventory(harness.feed.source)
    harness.instead = lambda peer, request: None
    harness.restart()
    shrink(harness, noted)
    await harness.cast(timedelta(days=2))
    assert instances(harness) == {noted: [f"{noted}.1.1"]}
    assert len(await harness.state.inventory(harness.feed.source)) == 4


@pytest.mark.parametrize("kind", LOGS)
async def test_a_sequence_casts_the_rows_behind_it_and_notes_the_rest(harness: Scripted) -> None:
    """What stands in front of it is cast once it changes, as with `latest`."""
    put(harness, "1.2", "1.3", "1.4")
    harness.start = 5
    assert await harness.cast() == {Outcome.CREATED: 1}
    assert list(instances(harness)) == ["1.4"]
    shrink(harness, "1.2")
    await harness.cast()
    assert instances(harness) == {"1.2": ["1.2.1.1"], "1.4": ["1.4.1.1", "1.4.1.2"]}
