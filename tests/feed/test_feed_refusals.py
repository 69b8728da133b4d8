"""What every feed makes of an archive that is down, refuses, or is something else; and of each WORKER__START."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from dicomcast.errors import ConfigError, DicomCastError, Retriable, Unauthorized
from dicomcast.model import Outcome
from tests.feeds import KINDS, SWEEPING, scripted
from tests.scripted import Scripted

PAGE = httpx.Response(200, content=b"<html>Please log in</html>", headers={"Content-Type": "text/html"})
ANSWERS: list[tuple[int | str, type[DicomCastError], type[DicomCastError]]] = [
    # what answers, what that means at the first meeting, and later
    ("page", ConfigError, Retriable),
    (404, ConfigError, Retriable),
    (400, ConfigError, Retriable),
    (401, Unauthorized, Unauthorized),
    (403, Unauthorized, Unauthorized),
    (500, Retriable, Retriable),
    (503, Retriable, Retriable),
]


@pytest.fixture(params=KINDS)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Scripted]:
    harness = scripted(request.param)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    yield harness
    await harness.close()


def answer(harness: Scripted, what: int | str) -> None:
    """Have the archive answer everything so."""

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        if peer != "dicom":
            return None
        return httpx.Response(what) if isinstance(what, int) else httpx.Response(200, content=PAGE.content)

    harness.instead = instead


@pytest.mark.parametrize(("what", "at_first", "later"), ANSWERS)
async def test_an_archive_that_answers_something_else(
    harness: Scripted, what: int | str, at_first: type[DicomCastError], later: type[DicomCastError]
) -> None:
    """At the first meeting a wrong setting, which is named; later it is waited for, and nothing is settled."""
    answer(harness, what)
    with pytest.raises(at_first) as caught:
        await harness.open()
    assert at_first is not ConfigError or "DICOMCAST_DICOM__URL" in str(caught.value)
    harness.instead = lambda peer, request: None
    checkpoint = await harness.open()
    answer(harness, what)
    with pytest.raises(later):
        await anext(harness.synchronizer.drain(checkpoint))
    with pytest.raises(later):
        await harness.feed.probe()
    assert harness.state.rows() == [] and harness.studies() == []
    harness.instead = lambda peer, request: None
    await harness.feed.probe()
    assert await harness.cast() == {Outcome.CREATED: 1}


@pytest.mark.parametrize("kind", SWEEPING)
@pytest.mark.parametrize("what", ["page", 401, 404, 500, 503])
async def test_trouble_at_any_request_of_a_poll(kind: str, what: int | str) -> None:
    """Whichever request of a later poll it meets, no study is removed for it; the next poll goes on, or a retry."""
    harness = scripted(kind)
    for study in ("1.2", "1.3"):
        harness.put(study, f"{study}.1", f"{study}.1.1")
    await harness.cast()
    harness.archive.delete("Microsoft.Default", "1.3")
    left = 0

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        nonlocal left
        left -= peer == "dicom"
        return None if left >= 0 or peer != "dicom" else harness_answer

    harness_answer = httpx.Response(what) if isinstance(what, int) else PAGE
    checkpoint = await harness.open()
    harness.now += timedelta(minutes=5)
    harness.instead = instead
    for requests in range(30):
        left = requests
        try:
            async for settled, _ in harness.synchronizer.drain(checkpoint):
                checkpoint = settled
            break
        except (Retriable, Unauthorized):
            assert len(harness.studies()) == 2
    else:
        pytest.fail("it never gets through")
    assert requests > 2
    harness.instead = lambda peer, request: None
    harness.now += timedelta(days=1)
    await harness.open()
    await harness.synchronizer.retry_parked()
    assert harness.state.rows() == []
    assert [one["identifier"][0]["value"] for one in harness.studies()] == ["urn:oid:1.2"]
    await harness.close()


async def test_an_archive_that_is_down(harness: Scripted) -> None:
    """Nobody listens: it is waited for, at the first meeting too."""

    def down(peer: str, request: httpx.Request) -> httpx.Response | None:
        if peer == "dicom":
            raise httpx.ConnectError("refused")
        return None

    harness.instead = down
    for asked in (harness.feed.probe(), harness.feed.open(None)):
        with pytest.raises(Retriable, match=r"cannot be reached.*DICOMCAST_DICOM__URL"):
            await asked


MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("kind", SWEEPING)
async def test_where_to_start(kind: str) -> None:
    """The beginning is a sweep that casts, everything else one that takes note."""
    harness = scripted(kind)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.open()
    feed = harness.feed
    beginning, latest = [await feed.start(one) for one in ("beginning", "latest")]
    assert beginning.sequence == latest.sequence == (0 if kind == "dicomweb" else 1)
    assert latest.position == beginning.position | {"baseline": True}
    # By the newest row an Orthanc that is recreated before the first change is recognised.
    assert len(beginning.position.get("known", [])) == (0 if kind == "dicomweb" else 1)
    if kind != "dicomweb":
        assert [(await feed.start(one)).sequence for one in (0, 1, 2)] == [0, 0, 1]
        with pytest.raises(ConfigError, match=r"DICOMCAST_WORKER__START: .*ends at sequence 1, and 3 is beyond it"):
            await feed.start(3)
    await harness.close()


@pytest.mark.parametrize(
    ("kind", "start", "said"),
    [
        ("orthanc", MOMENT, "Orthanc's times have no zone; write beginning, latest or a sequence"),
        ("dicomweb", MOMENT, "this archive has no feed; write beginning or latest"),
        ("dicomweb", 1, "this archive has no feed; write beginning or latest"),
        ("dicomweb", 0, "this archive has no feed; write beginning or latest"),
    ],
)
async def test_where_a_feed_cannot_start(kind: str, start: int | datetime, said: str) -> None:
    """What a kind of archive cannot know is a setting to change, and the error says to what."""
    harness = scripted(kind)
    await harness.open()
    with pytest.raises(ConfigError) as caught:
        await harness.feed.start(start)
    assert str(caught.value) == f"DICOMCAST_WORKER__START: {said}"
    await harness.close()
