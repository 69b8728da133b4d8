"""Where reading begins (WORKER__START), goes on after a change of version, and is repeated (replay)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest

from dicomcast.dicom import by_time
from dicomcast.dicom.azure import AzureFeed
from dicomcast.errors import ConfigError
from dicomcast.model import EntryState
from tests.reader import Reader

APIS = ["v1", "v2"]
SERVICES = [(["v1", "v2"], "v1"), (["v1", "v2"], "v2"), (["v2"], "v2")]


@pytest.fixture(params=APIS)
async def reader(request: pytest.FixtureRequest) -> AsyncIterator[Reader]:
    """Five entries, a minute apart, the last of them a minute old."""
    reader = Reader(api=request.param)
    fill(reader, 5)
    yield reader
    await reader.close()


def fill(reader: Reader, count: int) -> None:
    for number in range(count):
        reader.store(f"{reader.now:%H%M%S}.{number}")
        reader.later(60)


async def begin(reader: Reader, start: str | int | datetime) -> AzureFeed:
    feed = reader.feed()
    await feed.open(None)
    reader.cursor = await feed.start(start)
    return feed


async def replayed(feed: AzureFeed, first: int, last: int | None, size: int = 2500) -> list[int]:
    return [entry.sequence async for window in feed.replay(first, last, size) for entry in window.entries]


async def test_start_at_the_beginning(reader: Reader) -> None:
    """All that the archive ever logged is read."""
    await reader.read(feed=await begin(reader, "beginning"))
    assert reader.sequences == [1, 2, 3, 4, 5]


async def test_start_at_the_latest(reader: Reader) -> None:
    """Only what comes from now on is read; v2 reads the newest entry again, a lag being kept to where it begins."""
    await reader.read(feed=await begin(reader, "latest"))
    fill(reader, 2)
    await reader.read()
    assert reader.sequences == ([6, 7] if reader.api == "v1" else [5, 6, 7])


@pytest.mark.parametrize("empty", ["null", "204"])
@pytest.mark.parametrize("api", APIS)
async def test_start_at_the_latest_of_an_empty_feed(api: str, empty: str) -> None:
    """There is no latest entry yet: all that comes is read."""
    reader = Reader(api=api, empty=empty)
    await reader.read(feed=await begin(reader, "latest"))
    fill(reader, 2)
    await reader.read()
    assert reader.sequences == [1, 2]
    await reader.close()


@pytest.mark.parametrize(("start", "expected"), [(0, [1, 2, 3, 4, 5]), (1, [1, 2, 3, 4, 5]), (4, [4, 5]), (6, [])])
async def test_start_at_a_sequence(start: int, expected: list[int]) -> None:
    """The entry of that sequence is the first; one that is still to come is waited for."""
    reader = Reader(api="v1")
    fill(reader, 5)
    await reader.read(feed=await begin(reader, start))
    assert reader.sequences == expected
    fill(reader, 1)
    await reader.read()
    assert reader.sequences == [*expected, 6]
    await reader.close()


@pytest.mark.parametrize(("count", "start", "newest"), [(5, 7, 5), (5, 10**18, 5), (0, 2, 0)])
async def test_start_at_a_sequence_beyond_the_end_is_refused(count: int, start: int, newest: int) -> None:
    """The entries up to there would be left out without a word; the one that is numbered next may be waited for."""
    reader = Reader(api="v1")
    fill(reader, count)
    with pytest.raises(ConfigError, match=f"WORKER__START: .* sequence {newest},"):
        await begin(reader, start)
    await reader.read(feed=await begin(reader, newest + 1))
    fill(reader, 1)
    await reader.read()
    assert reader.sequences == [newest + 1]
    await reader.close()


@pytest.mark.parametrize("count", [0, 2])
async def test_start_at_a_time_that_is_still_to_come_is_refused(count: int) -> None:
    """The service's clock counts, whose Date has no fraction; up to now nothing is left out, in an empty feed too."""
    reader = Reader(api="v2")
    reader.later(0.9)
    fill(reader, count)
    newest = "2026-01-01T00:01:00.9000" if count else "no entry"
    for seconds in (1, 86_400):
        with pytest.raises(ConfigError, match=f"WORKER__START: .*{newest}"):
            await begin(reader, reader.now + timedelta(seconds=seconds))
    await reader.read(feed=await begin(reader, reader.now))
    fill(reader, 2)
    await reader.read()
    assert reader.sequences == [count + 1, count + 2]
    await reader.close()


async def test_start_at_a_time(reader: Reader) -> None:
    """v2 begins at most one lag before the time, whatever its zone; v1 knows no time and says which setting helps."""
    start = datetime(2026, 1, 1, 4, 2, tzinfo=timezone(timedelta(hours=4)))
    if reader.api == "v1":
        with pytest.raises(ConfigError, match="DICOM__API_VERSION"):
            await begin(reader, start)
        return
    await reader.read(feed=await begin(reader, start))
    assert reader.sequences == [3, 4, 5]


@pytest.mark.parametrize("offered", [["v1", "v2"], ["v2"]])
async def test_from_v1_to_v2(offered: list[str]) -> None:
    """v2 goes on an hour before the last entry of v1: nothing is lost, little is repeated."""
    reader = Reader(api="v1")
    reader.store("old")
    reader.later(7200)
    reader.store("1.2.1.1")
    reader.later()
    await reader.read()
    reader.archive.hold(1)
    reader.store("1.2.1.2")
    reader.later(1)
    reader.store("1.2.1.3")
    await reader.read()
    reader.archive.release()
    reader.later()
    reader.offer(offered)
    reader.api = "v2" if "v1" in offered else "auto"
    await reader.read()
    assert reader.sequences == [1, 2, 2, 3, 4]
    await reader.close()


@pytest.mark.parametrize("api", ["auto", "v1"])
async def test_from_v2_to_v1_there_is_no_way(api: str) -> None:
    """A cursor of v2 goes on in v2 for as long as that is offered, and is refused where v1 is forced or alone."""
    reader = Reader(api="v2")
    fill(reader, 2)
    await reader.read()
    reader.api = api
    if api == "auto":
        feed = await reader.opened()
        assert feed.version == "v2"
    else:
        with pytest.raises(ConfigError, match="DICOM__API_VERSION"):
            await reader.opened()
    await reader.close()


@pytest.mark.parametrize(("versions", "api"), SERVICES)
@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(1, None, [1, 2, 3, 7, 8]), (2, 7, [2, 3, 7]), (4, 6, []), (8, 10**15, [8]), (9, None, []), (0, 1, [1])],
)
async def test_replay_of_a_stretch_of_sequences(
    versions: Sequence[str], api: str, first: int, last: int | None, expected: list[int]
) -> None:
    """The entries from `first` to `last`, gaps or not, by either version; an end beyond the feed's is the feed's."""
    reader = Reader(api=api, versions=versions)
    fill(reader, 3)
    reader.archive.skip_sequences(3)
    fill(reader, 2)
    feed = await reader.opened()
    assert await replayed(feed, first, last) == expected
    assert len(reader.wire.requests) < 10
    await reader.close()


@pytest.mark.parametrize(("versions", "api"), SERVICES)
async def test_replay_waits_for_nothing_and_misses_nothing(versions: Sequence[str], api: str) -> None:
    """What is in the feed is replayed at once: young, behind a gap, newest by sequence but not by time."""
    reader = Reader(api=api, versions=versions)
    reader.now = datetime.now(UTC) + timedelta(days=1)  # the service's clock is ahead of ours
    fill(reader, 2)
    reader.archive.skip_sequences(1)
    reader.store("newest-by-time")
    reader.later(-10)
    reader.store("newest-by-sequence")
    feed = await reader.opened()
    assert sorted(await replayed(feed, 2, None)) == [2, 4, 5]
    await reader.close()


async def test_replay_tells_the_present(reader: Reader) -> None:
    """A replayed entry has the state that its instance has now, and the live cursor stays where it is."""
    await reader.read()
    before = reader.cursor
    reader.archive.delete("Microsoft.Default", "1.2")
    feed = await reader.opened()
    states = {entry.state async for window in feed.replay(1, 5, 1) for entry in window.entries}
    assert states == {EntryState.DELETED}
    assert reader.cursor == before


async def test_replay_in_windows_of_a_size(reader: Reader) -> None:
    """A long replay is cut as the live feed is."""
    fill(reader, 2 * by_time.LIMIT)
    feed = await reader.opened()
    sizes = [len(window.entries) async for window in feed.replay(1, None, 150)]
    assert sizes == [150, 150, 105]
