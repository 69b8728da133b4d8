"""When the change feed answers with an error (what each status means, and instances whose metadata is bad)."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from dicomcast.errors import ConfigError, Fatal, Rejected, Retriable
from dicomcast.http import Http
from dicomcast.limiter import Limiter
from dicomcast.model import InstanceKey, Outcome, StudyKey
from tests.harness import Harness
from tests.reader import Reader

APIS = ["v1", "v2"]
PLACES = {"first": 0, "middle": 3, "last": 6}


def fail(reader: Reader, *answers: httpx.Response, path: str = "/changefeed") -> None:
    """Have the next requests for a path, as it ends, answered so."""
    following = iter(answers)
    reader.wire.intercept = lambda request: next(following, None) if request.url.path.endswith(path) else None


def recover(reader: Reader) -> None:
    reader.wire.intercept = lambda request: None


@pytest.mark.parametrize("kind", ["missing", "corrupt"])
@pytest.mark.parametrize("place", PLACES)
async def test_one_bad_instance_fails_the_page_which_is_read_without_metadata(
    reader: Reader, kind: str, place: str
) -> None:
    """A missing blob is a 500 and a corrupt one a 400 for the whole page: all its entries are delivered anyway."""
    for number in range(7):
        reader.store(f"1.2.1.{number}")
    reader.archive.poison("1.2", "1.2.1", f"1.2.1.{PLACES[place]}", kind)
    reader.later()
    await reader.read()
    assert reader.sequences == [1, 2, 3, 4, 5, 6, 7]
    assert [entry.metadata for entry in reader.delivered] == [None] * 7
    asked = reader.wire.asked(f"/{reader.api}/changefeed")
    assert [one["includeMetadata"] for one in asked] == ["true", "false"]


@pytest.mark.parametrize("kind", ["missing", "corrupt"])
async def test_one_bad_instance_alone_in_its_page(reader: Reader, kind: str) -> None:
    """A page that holds nothing but the bad instance is no end of the feed, and the next page has its metadata."""
    reader.store("1.2.1.1")
    reader.archive.poison("1.2", "1.2.1", "1.2.1.1", kind)
    reader.later()
    await reader.read()
    reader.store("1.3.1.1", study="1.3")
    reader.later()
    await reader.read()
    assert reader.sequences == [1, 2]
    # v2 reads the overlap again, and with it the bad instance.
    assert (reader.delivered[1].metadata is None) == (reader.api == "v2")


@pytest.mark.parametrize("kind", ["missing", "corrupt"])
async def test_a_study_whose_metadata_cannot_be_read_is_rejected_alone(reader: Reader, kind: str) -> None:
    """WADO-RS fails for the study and the instance, and for nothing else: their error says to park the study."""
    reader.store("1.2.1.1")
    reader.store("1.3.1.1", study="1.3")
    reader.archive.poison("1.2", "1.2.1", "1.2.1.1", kind)
    feed = await reader.opened()
    with pytest.raises(Rejected):
        await feed.snapshot(StudyKey(feed.source, "", "1.2"))
    with pytest.raises(Rejected):
        await feed.instance(StudyKey(feed.source, "", "1.2"), InstanceKey("1.2.1", "1.2.1.1"))
    assert len((await feed.snapshot(StudyKey(feed.source, "", "1.3"))).instances) == 1


async def test_a_service_that_stumbles_over_everything_is_waited_for(reader: Reader) -> None:
    """A 500 for a study is the study's fault only if the service answers otherwise."""
    reader.store("1.2.1.1")
    feed = await reader.opened()
    reader.wire.intercept = lambda request: httpx.Response(500)
    with pytest.raises(Retriable):
        await feed.snapshot(StudyKey(feed.source, "", "1.2"))


@pytest.mark.parametrize("api", APIS)
async def test_a_missing_blob_parks_its_study_and_stops_no_other(api: str) -> None:
    """Law 3: the study steps aside, the feed goes on; once the blob is back, the retry casts it."""
    harness = Harness(api=api)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.3", "1.3.1", "1.3.1.1")
    harness.archive.poison("1.2", "1.2.1", "1.2.1.1", kind="missing")
    assert await harness.cast() == {Outcome.PARKED: 1, Outcome.CREATED: 1}
    assert await harness.cast() == {}
    harness.archive.heal("1.2", "1.2.1", "1.2.1.1")
    assert [cast.outcome for cast in await harness.synchronizer.retry_parked()] == [Outcome.CREATED]
    await harness.close()


@pytest.mark.parametrize("status", [424, 429, 500, 502, 503, 504])
async def test_a_service_that_is_unavailable_is_waited_for(reader: Reader, status: int) -> None:
    """424 (customer-managed key), throttling and 5xx for everything: the feed stays where it is, and goes on later."""
    reader.store("1.2.1.1")
    reader.later()
    fail(reader, *[httpx.Response(status, text="no")] * 2)
    with pytest.raises(Retriable):
        await reader.read()
    assert reader.sequences == []
    recover(reader)
    await reader.read()
    assert reader.sequences == [1]


def heavy(reader: Reader, status: int | None, **headers: str) -> None:
    """Have every page fail that is asked for with metadata: with a status, or without an answer."""

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.url.params.get("includeMetadata") != "true":
            return None
        if status is None:
            raise httpx.ReadTimeout("too much", request=request)
        return httpx.Response(status, headers=headers)

    reader.wire.intercept = answer


@pytest.mark.parametrize("status", [None, 408, 502, 503, 504])
async def test_a_page_that_comes_only_without_metadata(reader: Reader, status: int | None) -> None:
    """A blob that takes too long fails its page for as long as it is tried: the page is asked for once without."""
    reader.store("1.2.1.1")
    reader.store("1.3.1.1", study="1.3")
    reader.later()
    heavy(reader, status)
    await reader.read()
    assert [(entry.study_uid, entry.metadata) for entry in reader.delivered] == [("1.2", None), ("1.3", None)]
    asked = reader.wire.asked(f"/{reader.api}/changefeed")
    assert [one["includeMetadata"] for one in asked] == ["true", "false"]


@pytest.mark.parametrize(("status", "headers"), [(424, {}), (429, {}), (503, {"Retry-After": "0"})])
async def test_throttling_and_lost_keys_are_no_matter_of_metadata(
    reader: Reader, status: int, headers: dict[str, str]
) -> None:
    """A service that asks to be left alone, or has lost its customer's key, is not asked for another page."""
    reader.store("1.2.1.1")
    reader.later()
    heavy(reader, status, **headers)
    with pytest.raises(Retriable, match=str(status)):
        await reader.read()
    assert [one["includeMetadata"] for one in reader.wire.asked(f"/{reader.api}/changefeed")] == ["true"]


@pytest.mark.parametrize("second", [400, 429, 503])
async def test_a_page_that_does_not_come_without_metadata_either(reader: Reader, second: int) -> None:
    """Then the service is away, and what it said first is told."""
    reader.store("1.2.1.1")
    reader.later()
    feed = await reader.opened()
    fail(reader, httpx.Response(504), httpx.Response(second))
    with pytest.raises(Retriable, match="504"):
        await reader.read(feed=feed)
    assert reader.sequences == []


@pytest.mark.parametrize("api", APIS)
async def test_a_study_too_heavy_for_its_page_is_parked_alone(api: str) -> None:
    """Law 3: its page is read without metadata, the others are cast, and the feed goes on."""

    class Heavy(Harness):
        def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
            return TooHeavy(transport) if peer == "dicom" else transport

    class TooHeavy(httpx.AsyncBaseTransport):
        def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
            self._inner = inner

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.params.get("includeMetadata") == "true" or "/studies/1.2/" in request.url.path:
                return httpx.Response(504)
            return await self._inner.handle_async_request(request)

    harness = Heavy(api=api)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.3", "1.3.1", "1.3.1.1")
    assert await harness.cast() == {Outcome.PARKED: 1, Outcome.CREATED: 1}
    assert [row.key.study_uid for row in await harness.state.parked(harness.feed.source)] == ["1.2"]
    await harness.close()


async def test_a_refused_page_is_waited_for(reader: Reader) -> None:
    """A page that is refused with and without metadata, by a proxy say, stops the feed where it is."""
    reader.store("1.2.1.1")
    reader.later()
    for path in ("/changefeed", "/latest"):
        feed = await reader.opened()
        fail(reader, *[httpx.Response(404)] * 2, path=path)
        with pytest.raises(Retriable):
            await reader.read(feed=feed)
        recover(reader)
    await reader.read()
    assert reader.sequences == [1]


async def test_a_key_that_was_revoked_parks_no_study(reader: Reader) -> None:
    """424 says nothing about the study that was asked for."""
    reader.store("1.2.1.1")
    feed = await reader.opened()
    fail(reader, httpx.Response(424), path="/metadata")
    with pytest.raises(Retriable):
        await feed.snapshot(StudyKey(feed.source, "", "1.2"))


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_need_an_operator(reader: Reader, status: int) -> None:
    """401, and 403 where the role lacks the data action `read`."""
    fail(reader, httpx.Response(status), path="/latest")
    with pytest.raises(Fatal, match="DICOM__AUTH"):
        await reader.opened()


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(reader: Reader, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is as long as the service asks for, and then the request is sent again."""
    waits: list[float] = []

    async def wait(_http: Http, seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(Http, "_again", wait)
    monkeypatch.setattr(Limiter, "pause", 0.0)
    reader.store("1.2.1.1")
    reader.later()
    feed = reader.feed(budget=timedelta(minutes=10))
    await feed.open(None)
    reader.cursor = await feed.start("beginning")
    fail(reader, httpx.Response(status, headers={"Retry-After": "120"}, text="slower"))
    await reader.read(feed=feed)
    assert reader.sequences == [1]
    assert waits == [120.0]


async def test_retry_after_beyond_the_budget_is_not_waited_for(reader: Reader) -> None:
    """Then the worker waits, which can be stopped; the error says how long the service asked for."""
    feed = await reader.opened()
    fail(reader, httpx.Response(503, headers={"Retry-After": "120"}))
    reader.store("1.2.1.1")
    reader.later()
    with pytest.raises(Retriable) as caught:
        await reader.read(feed=feed)
    assert caught.value.retry_after == 120.0


async def test_plain_text_errors_are_read_but_not_repeated(reader: Reader) -> None:
    """Errors are text, not JSON, and may name a patient: the message has the status and none of the text."""
    said = "The query parameter 'limit' is invalid. Doe^Jane"
    fail(reader, httpx.Response(400, text=said), httpx.Response(400, text=said), path="/latest")
    with pytest.raises(ConfigError) as caught:
        await reader.opened()
    assert "400" in str(caught.value)
    assert "Doe" not in str(caught.value)
