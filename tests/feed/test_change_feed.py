"""The change feed on the wire, as a client meets it: versions, routes, windows, spellings, headers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from urllib.parse import unquote

import httpx
import pytest

from dicomcast.dicom import by_sequence, by_time
from dicomcast.dicom.ticks import ticks
from dicomcast.errors import ConfigError, Rejected, Retriable
from dicomcast.mapping.tags import tag
from dicomcast.model import Action, EntryState, InstanceKey, StudyKey
from tests.reader import Reader

APIS = ["v1", "v2"]


def overlapping(reader: Reader) -> None:
    """Two stores of which the one that was numbered first is the newer by time."""
    reader.store("1.2.1.1")
    reader.later(-5)
    reader.store("1.2.1.2")
    reader.later(60)


async def test_routes_of_the_version_that_is_read(reader: Reader) -> None:
    """Everything is asked for below the version's path: /changefeed, /changefeed/latest, /partitions."""
    reader.store("1.2.1.1")
    reader.later()
    feed = await reader.opened()
    del reader.wire.requests[:]
    await reader.read(feed=feed)
    await feed.latest()
    paths = {request.url.path for request in reader.wire.requests}
    assert paths == {f"/{reader.api}/changefeed", f"/{reader.api}/changefeed/latest"}
    assert {request.method for request in reader.wire.requests} == {"GET"}


async def test_v1_window_is_on_the_sequence_value(v1: Reader) -> None:
    """Offset is an exclusive start and limit a number of values: after a page with two of its 100 comes the next."""
    v1.store("1.2.1.1")
    v1.store("1.2.1.2")
    v1.archive.skip_sequences(198)
    v1.store("1.2.1.3")
    v1.later()
    await v1.read()
    assert v1.sequences == [1, 2, 201]
    pages = [(one["offset"], one["limit"]) for one in v1.wire.asked("/v1/changefeed")]
    assert pages == [("0", "100"), ("100", "100"), ("200", "100")]


async def test_v1_sends_no_times_and_v2_all_its_bounds(reader: Reader) -> None:
    """v1 does not bind startTime and endTime; v2 is sent both, and both ask for the largest page."""
    reader.store("1.2.1.1")
    reader.later()
    await reader.read()
    (query,) = reader.wire.asked(f"/{reader.api}/changefeed")
    times = {"startTime", "endTime"} if reader.api == "v2" else set()
    assert set(query) == {"offset", "limit", "includeMetadata"} | times
    assert query["limit"] == str(by_sequence.LIMIT if reader.api == "v1" else by_time.LIMIT)
    assert query["includeMetadata"] == "true"


async def test_v2_a_page_that_is_short_is_the_end_of_its_window(v2: Reader) -> None:
    """199 rows are read with one request; 200 may not be all, so another one is sent."""
    for number in range(199):
        v2.store(f"1.2.1.{number}")
        v2.later(0.001)
    v2.later(100)
    await v2.read()
    assert len(v2.wire.asked("/v2/changefeed")) == 1
    for number in range(200):
        v2.store(f"1.3.1.{number}", study="1.3")
        v2.later(0.001)
    v2.later(60)
    await v2.read()
    assert len(v2.wire.asked("/v2/changefeed")) == 3
    assert len(v2.delivered) == 399


async def test_v2_times_have_a_zone_and_their_plus_is_encoded(v2: Reader) -> None:
    """The service writes +00:00 and refuses times without a zone, as which a bare + would be read."""
    for number in range(250):
        v2.store(f"1.2.1.{number}")
        v2.later(0.001)
    v2.later(60)
    await v2.read()
    last = next(request for request in v2.wire.requests[::-1] if request.url.path == "/v2/changefeed")
    sent = dict(pair.split("=") for pair in last.url.query.decode().split("&"))
    assert v2.delivered[199].timestamp.endswith("+00:00")
    assert sent["startTime"].endswith("%2B00%3A00")
    assert unquote(sent["startTime"]) == v2.delivered[199].timestamp
    assert sent["endTime"].endswith("Z")
    assert len(v2.delivered) == 250


async def test_v2_a_start_in_another_zone_is_the_same_moment(v2: Reader) -> None:
    """WORKER__START may be in any zone; what is sent is in UTC."""
    feed = await v2.opened()
    start = await feed.start(datetime(2026, 1, 1, 9, 30, tzinfo=timezone(timedelta(hours=9, minutes=30))))
    assert start.position["start"] == "2026-01-01T00:00:00.0000000Z"


async def test_latest_of_v1_is_the_highest_sequence_and_of_v2_the_newest_by_time() -> None:
    """Each version is asked for its own newest entry, and neither is taken for a reset where they differ."""
    for api, newest in (("v1", 2), ("v2", 1)):
        reader = Reader(api=api)
        overlapping(reader)
        feed = await reader.opened()
        assert (await feed.latest()).sequence == newest
        await reader.read(feed=feed)
        assert sorted(reader.sequences) == [1, 2]
        assert reader.cursor is not None
        assert reader.cursor.sequence == newest
        assert await reader.read() == []
        await reader.close()


async def test_updates_are_in_both_versions(reader: Reader) -> None:
    """A bulk update is an entry of its own in v1, too."""
    reader.store("1.2.1.1")
    reader.archive.bulk_update("Microsoft.Default", ["1.2"], {tag("PatientID"): {"vr": "LO", "Value": ["P2"]}})
    reader.later()
    await reader.read()
    assert [entry.action for entry in reader.delivered] == [Action.CREATE, Action.UPDATE]


@pytest.mark.parametrize("api", APIS)
async def test_the_feed_has_no_partition_route_and_reads_have_one(api: str) -> None:
    """The feed spans all partitions at the base; each entry names its own, and it is read below /partitions/{name}."""
    reader = Reader(api=api, partitions=True)
    reader.store("1.2.1.1", partition="north-1")
    reader.store("1.2.1.1")
    reader.later()
    feed = await reader.opened()
    await reader.read(feed=feed)
    assert [entry.partition for entry in reader.delivered] == ["north-1", ""]
    assert not [one for one in reader.wire.requests if "/partitions/" in one.url.path]
    del reader.wire.requests[:]
    for partition in ("north-1", ""):
        key = StudyKey(feed.source, partition, "1.2")
        assert list((await feed.snapshot(key)).instances) == [InstanceKey("1.2.1", "1.2.1.1")]
        assert await feed.instance(key, InstanceKey("1.2.1", "1.2.1.1")) is not None
    below = [request.url.path for request in reader.wire.requests]
    named = [f"/{api}/partitions/{name}/studies/1.2" for name in ("north-1", "Microsoft.Default")]
    ends = ("/metadata", "/series/1.2.1/instances/1.2.1.1/metadata")
    assert below == [base + end for base in named for end in ends]
    assert feed.base_url("north-1").endswith(f"/{api}/partitions/north-1")
    await reader.close()


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("partitions", "stored", "expected", "path"),
    [
        (True, ["a.b_c-1", "Microsoft.Default"], ["a.b_c-1", ""], "/partitions/Microsoft.Default/"),
        (True, [], [], "/partitions/Microsoft.Default/"),
        (False, ["Microsoft.Default"], [""], ""),
    ],
    ids=["200", "204", "400"],
)
async def test_partitions_are_found_out_by_asking_for_them(
    api: str, partitions: bool, stored: Sequence[str], expected: Sequence[str], path: str
) -> None:
    """GET /partitions lists them, answers 204 while there are none, and 400 where they are switched off."""
    reader = Reader(api=api, partitions=partitions)
    for name in stored:
        reader.store("1.2.1.1", partition=name)
    feed = await reader.opened()
    assert await feed.partitions() == expected
    assert ("/partitions/" in feed.base_url("")) == (path != "")
    await reader.close()


@pytest.mark.parametrize("empty", ["null", "204"])
@pytest.mark.parametrize("casing", ["camel", "pascal"])
@pytest.mark.parametrize("api", APIS)
async def test_either_spelling_and_either_emptiness(api: str, casing: str, empty: str) -> None:
    """camelCase or PascalCase keys, values in either case, nulls left out, an empty feed as `null` or 204."""
    reader = Reader(api=api, casing=casing, empty=empty, partitions=True)
    assert (await (await reader.opened()).latest()).sequence == 0
    assert [entry for window in await reader.read() for entry in window.entries] == []
    reader.store("1.2.1.1", partition="north", StudyDescription="knee")
    reader.store("1.3.1.1", study="1.3", partition="north")
    reader.archive.delete("north", "1.3")
    reader.later(60)
    feed = await reader.opened()
    await reader.read(feed=feed)
    created, stored, deleted = reader.delivered
    assert (created.partition, created.study_uid, created.series_uid) == ("north", "1.2", "1.2.1")
    assert (created.action, created.state) == (Action.CREATE, EntryState.CURRENT)
    assert created.metadata is not None
    assert created.metadata[tag("StudyDescription")]["Value"] == ["knee"]
    assert (stored.state, deleted.action, deleted.metadata) == (EntryState.DELETED, Action.DELETE, None)
    assert await feed.partitions() == ["north"]
    await reader.close()


@pytest.mark.parametrize(
    ("header", "api", "version"),
    [
        ("1.0-prerelease, 1, 2", "auto", "v1"),
        ("1.0-prerelease,1.0,2.0", "auto", "v1"),
        ("2", "auto", "v2"),
        ("1.0-prerelease, 2", "auto", "v2"),
        ("1, 2", "v2", "v2"),
        ("1, 2, 3", "auto", "v1"),
        (None, "auto", "v1"),
        ("", "v2", "v2"),
    ],
)
async def test_supported_versions_are_reported_in_a_header(header: str | None, api: str, version: str) -> None:
    """`api-supported-versions` says which there are, previews aside; where it is absent each version is asked."""
    reader = Reader(api=api)
    reader.wire.headers = {"api-supported-versions": header}
    feed = await reader.opened()
    assert feed.version == version
    assert bool(reader.wire.asked("/v1/changefeed/latest")) == (version == "v1" or not header)
    await reader.close()


@pytest.mark.parametrize(
    ("versions", "header", "api"), [(["v1"], "1", "v2"), (["v2"], "2", "v1"), (["v2"], "1.0-prerelease", "auto")]
)
async def test_a_version_that_is_not_offered_is_a_setting_to_change(
    versions: Sequence[str], header: str, api: str
) -> None:
    """The error names the setting, and what the service offers."""
    reader = Reader(api=api, versions=versions)
    reader.wire.headers = {"api-supported-versions": header}
    with pytest.raises(ConfigError, match="DICOM__API_VERSION: the service offers"):
        await reader.opened()
    await reader.close()


async def test_a_service_of_previews_alone_is_not_taken() -> None:
    """v1.0-prerelease is answered at a path of its own, which is not asked for."""
    reader = Reader(api="auto", versions=[])
    with pytest.raises(ConfigError, match="DICOM__URL"):
        await reader.opened()
    await reader.close()


async def test_a_page_that_is_no_json_is_waited_for(reader: Reader) -> None:
    """A web page in place of the feed: at the start a wrong setting, later a proxy that will go away."""
    feed = await reader.opened()
    reader.store("1.2.1.1")
    reader.later()
    reader.wire.intercept = lambda request: httpx.Response(200, html="<html>Doe</html>")
    with pytest.raises(Retriable) as later:
        await reader.read(feed=feed)
    with pytest.raises(ConfigError, match="DICOM__URL") as first:
        await reader.opened()
    assert "Doe" not in f"{later.value} {first.value}"
    assert not isinstance(later.value, Rejected)


async def test_rows_of_any_clock_are_read_in_ticks(v2: Reader) -> None:
    """The archive's timestamps have seven digits, of which the cursor loses none."""
    v2.store("1.2.1.1")
    v2.later(60)
    await v2.read()
    assert v2.cursor is not None
    assert ticks(v2.cursor.timestamp) % 10 == 7
