"""Which Orthanc is taken, and how one is told from another that stands in its place."""

from __future__ import annotations

import httpx
import pytest

from dicomcast.errors import ConfigError, SourceReset
from dicomcast.model import Cursor, Outcome
from tests.feeds import fill, instances
from tests.scripted import Scripted

PARTITION = "Microsoft.Default"


async def cursor_of(harness: Scripted) -> Cursor:
    cursor = (await harness.state.load(harness.feed.source)).cursor
    assert cursor is not None
    return cursor


async def test_one_that_is_too_old(harness: Scripted) -> None:
    """Without tools/bulk-content; the version that it has is named, and the one that it takes."""

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(404) if request.url.path == "/tools/bulk-content" else None

    harness.instead = instead
    with pytest.raises(ConfigError, match=r"Orthanc 1\.10\.1 is too old: 1\.9\.4 is the oldest"):
        await harness.open()


async def test_what_is_said_of_it(harness: Scripted) -> None:
    """Its version, for people; whether there is DICOMweb is found out at each start."""
    await harness.open()
    assert harness.feed.version == "Orthanc 1.10.1"
    assert (harness.feed.base_url(""), await harness.feed.partitions()) == (harness.feed.source, [""])


async def test_a_database_that_was_recreated_is_behind(harness: Scripted) -> None:
    """At the next start, and also while it is being followed: nothing is written, and the exit code asks for help."""
    fill(harness, 3)
    await harness.cast()
    checkpoint = await harness.open()
    harness.archive.reset()
    fill(harness, 1)
    with pytest.raises(SourceReset, match="no sequence beyond 1, and 3 was settled before"):
        await anext(harness.synchronizer.drain(checkpoint))
    harness.restart()
    with pytest.raises(SourceReset):
        await harness.cast()
    assert len(harness.studies()) == 3


async def test_a_database_that_was_recreated_and_has_grown(harness: Scripted) -> None:
    """It is beyond the cursor by now, but has other resources where we know some."""
    fill(harness, 3)
    await harness.cast()
    harness.put("1.9", "1.9.1", "1.9.1.1")
    await harness.cast()
    harness.archive.reset()
    for number in range(20, 30):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1")
    harness.restart()
    with pytest.raises(SourceReset, match="has another resource at sequence 4 than it had"):
        await harness.cast()
    assert len(harness.studies()) == 4


async def test_known_rows_that_were_deleted_are_no_other_database(harness: Scripted) -> None:
    """A deletion takes rows out of the log: some of those we know, or all of them."""
    await harness.cast()
    for known in ("1.1", "1.2", "1.3"):
        fill(harness, 3)
        await harness.cast()
        harness.archive.delete(PARTITION, known)
        harness.restart()
        assert (await harness.cast())[Outcome.DELETED] == 1
    for left in instances(harness):
        harness.archive.delete(PARTITION, left)
    fill(harness, 1)
    harness.restart()
    await harness.cast()
    assert instances(harness) == {"1.1": ["1.1.1.1"]}


async def test_a_cursor_does_not_grow(harness: Scripted) -> None:
    """However much is settled, eight rows are known."""
    harness.window = 2
    harness.restart()
    await harness.cast()
    fill(harness, 20)
    await harness.cast()
    cursor = await cursor_of(harness)
    assert len(cursor.position["known"]) == 8
    assert cursor.position.keys() == {"kind", "known", "rest_until", "sweep_at", "swept_at", "whole"}
