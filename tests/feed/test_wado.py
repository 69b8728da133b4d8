"""What is asked of the archive about one study or instance, whatever its UIDs are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import orjson
import pytest

from dicomcast.errors import NotItself, Rejected, Retriable
from dicomcast.model import InstanceKey, Outcome, StudyKey
from tests.harness import Harness
from tests.reader import Reader


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    reader = Reader(api="v1")
    reader.store("1.2.1.1")
    yield reader
    await reader.close()


@pytest.mark.parametrize(
    ("uid", "segment"),
    [
        ("1.2/../../x", b"1.2%2F..%2F..%2Fx"),
        ("1.2?x", b"1.2%3Fx"),
        ("1.2#x", b"1.2%23x"),
        ("../x", b"..%2Fx"),
        ("a b", b"a%20b"),
        ("%2F", b"%252F"),
    ],
)
async def test_a_uid_stays_one_segment_of_the_path(reader: Reader, uid: str, segment: bytes) -> None:
    """No text of an entry leads to another address: everything that means something in a URL is escaped."""
    feed = await reader.opened()
    del reader.wire.requests[:]
    reader.wire.intercept = lambda request: httpx.Response(404 if request.url.path.endswith("/metadata") else 204)
    await feed.snapshot(StudyKey(feed.source, "", uid))
    await feed.instance(StudyKey(feed.source, "", "1.2"), InstanceKey(uid, uid))
    study, search, instance, other = [request.url.raw_path for request in reader.wire.requests]
    assert study == b"/v1/studies/" + segment + b"/metadata"
    assert search.startswith(b"/v1/studies?StudyInstanceUID=")
    assert other.startswith(b"/v1/instances?StudyInstanceUID=1.2&SOPInstanceUID=")
    assert instance == b"/v1/studies/1.2/series/" + segment + b"/instances/" + segment + b"/metadata"


@pytest.mark.parametrize("uid", ["", ".", "..", "..."])
async def test_a_uid_of_dots_alone_is_not_asked_for(reader: Reader, uid: str) -> None:
    """Dots alone are another path even if they are escaped: their study is parked."""
    feed = await reader.opened()
    del reader.wire.requests[:]
    with pytest.raises(Rejected) as study:
        await feed.snapshot(StudyKey(feed.source, "", uid))
    with pytest.raises(Rejected) as instance:
        await feed.instance(StudyKey(feed.source, "", "1.2"), InstanceKey("1.2.1", uid))
    assert study.value.reason == instance.value.reason == "uid-unusable"
    assert reader.wire.requests == []


class Renaming(httpx.AsyncBaseTransport):
    """The feed calls study 1.2 something else; what is asked for is kept."""

    def __init__(self, inner: httpx.AsyncBaseTransport, name: str) -> None:
        self._inner, self._name = inner, name
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        response = await self._inner.handle_async_request(request)
        if not request.url.path.endswith("/changefeed"):
            return response
        rows = orjson.loads(await response.aread())
        rows = [row | {"studyInstanceUid": self._name} if row["studyInstanceUid"] == "1.2" else row for row in rows]
        return httpx.Response(200, json=rows, headers={"Date": response.headers["Date"]})


@pytest.mark.parametrize("name", ["1.2/../../x", "..", "", "Doe^Jane"])
@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_an_entry_whose_study_cannot_be_asked_for_is_a_dead_letter(api: str, name: str) -> None:
    """It is kept with its sequences until somebody has looked; the archive is never asked, the other study is cast."""

    class Renamed(Harness):
        def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
            if peer == "dicom":
                transport = self.wire = Renaming(transport, name)
            return transport

    harness = Renamed(api=api)
    harness.put("1.3", "1.3.1", "1.3.1.1")
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.2", "1.2.1", "1.2.1.2")
    assert await harness.cast() == {Outcome.CREATED: 1, Outcome.PARKED: 1}
    assert await harness.synchronizer.retry_parked() == []
    (row,) = await harness.state.parked(harness.feed.source)
    assert (row.key.study_uid, row.first_sequence, row.last_sequence, row.next_attempt) == ("", 2, 3, None)
    assert row.reason == "entry-not-understood"
    assert not name or name not in row.message
    assert not [url for url in harness.wire.asked if "/studies" in url]
    await harness.close()


@pytest.mark.parametrize(("status", "content"), [(204, b""), (200, b""), (200, b"[]"), (200, b"null"), (404, b"")])
async def test_a_study_is_gone_only_when_the_search_says_so_too(reader: Reader, status: int, content: bytes) -> None:
    """An empty answer may be a proxy's, and would delete the study in FHIR."""
    feed = await reader.opened()
    key = StudyKey(feed.source, "", "1.2")
    there = b'[{"0020000D": {"vr": "UI", "Value": ["1.2"]}}]'
    searched = httpx.Response(200, content=there)
    reader.wire.intercept = lambda request: (
        httpx.Response(status, content=content) if request.url.path.endswith("/metadata") else searched
    )
    with pytest.raises((Retriable, Rejected)):
        await feed.snapshot(key)
    searched = httpx.Response(204)
    if content != b"null":
        assert (await feed.snapshot(key)).instances == {}


async def test_a_part_of_the_metadata_is_not_the_study(reader: Reader) -> None:
    """206: what is not in it would be taken for gone."""
    feed = await reader.opened()
    there = b'[{"0020000D": {"vr": "UI", "Value": ["1.2"]}}]'
    reader.wire.intercept = lambda request: httpx.Response(206, content=there)
    with pytest.raises(Retriable, match="a part of the metadata"):
        await feed.snapshot(StudyKey(feed.source, "", "1.2"))


@pytest.mark.parametrize("content", [b'{"a": 1}', b"[1]", b'"x"', b"<html>", b"7"])
async def test_partitions_that_are_none(content: bytes) -> None:
    """What is no list of partitions is not the archive."""
    harness = Harness(partitions=True)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.open()
    harness.dicom._client._transport = httpx.MockTransport(lambda _: httpx.Response(200, content=content))
    with pytest.raises(NotItself, match="DICOMCAST_DICOM__URL"):
        await harness.feed.partitions()
    await harness.close()
