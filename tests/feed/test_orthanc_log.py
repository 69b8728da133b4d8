"""The change log of an Orthanc: what it tells and does not tell, and what is asked for what it tells."""

from __future__ import annotations

from datetime import datetime, timedelta

import httpx

from dicomcast.model import Cursor, Outcome
from tests.feeds import fill, study_reads
from tests.scripted import Scripted

PARTITION = "Microsoft.Default"


def asked(harness: Scripted, path: str = "") -> list[httpx.Request]:
    return [request for peer, request in harness.seen if peer == "dicom" and path in request.url.path]


async def cursor_of(harness: Scripted) -> Cursor:
    cursor = (await harness.state.load(harness.feed.source)).cursor
    assert cursor is not None
    return cursor


def sweep_at(cursor: Cursor) -> datetime:
    return datetime.fromisoformat(cursor.position["sweep_at"])


async def test_the_log_was_emptied(harness: Scripted) -> None:
    """By an administrator, or by a script that every so often does: the sweep comes soon, and finds what was in it."""
    await harness.cast()
    fill(harness, 2)
    await harness.dicom.request("DELETE", "changes")
    before = await cursor_of(harness)
    checkpoint = await harness.open()
    assert [cast async for _, casts in harness.synchronizer.drain(checkpoint) for cast in casts] == []
    after = await cursor_of(harness)
    assert (after.sequence, harness.feed.newest.sequence) == (2, 2)
    assert sweep_at(after) <= harness.now + timedelta(seconds=5) < sweep_at(before)
    assert await harness.cast() == {Outcome.CREATED: 2}


async def test_a_gap_brings_the_next_sweep_forward(harness: Scripted) -> None:
    """Something was deleted: that is found soon, and without a gap it has time."""
    fill(harness, 1)
    await harness.cast()
    before = await cursor_of(harness)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast(timedelta(seconds=1))
    assert sweep_at(await cursor_of(harness)) == sweep_at(before)
    harness.put("1.3", "1.3.1", "1.3.1.1")
    harness.archive.delete(PARTITION, "1.3")
    harness.put("1.4", "1.4.1", "1.4.1.1")
    await harness.cast(timedelta(seconds=1))
    assert sweep_at(await cursor_of(harness)) <= harness.now + timedelta(seconds=5) < sweep_at(before)


async def test_the_last_rows_that_vanish_leave_no_lag(harness: Scripted) -> None:
    """The cursor goes over them, as far as sequences were given out, for nothing is left to wait for."""
    fill(harness, 2)
    await harness.cast()
    harness.put("1.3", "1.3.1", "1.3.1.1")
    harness.archive.delete(PARTITION, "1.3")
    await harness.cast(timedelta(seconds=1))
    assert harness.feed.newest.sequence == (await cursor_of(harness)).sequence == 4
    assert harness.feed.measurable


async def test_a_row_that_comes_between_the_rows_and_the_last_sequence(harness: Scripted) -> None:
    """The log was empty, and is not any more: the cursor does not go over what came."""
    fill(harness, 1)
    await harness.cast()
    calls = 0

    async def before(peer: str, request: httpx.Request) -> None:
        nonlocal calls
        calls += request.url.path == "/changes"
        if calls == 1:  # An empty page, that tells of a sequence which is not in it.
            harness.afterwards = lambda peer, request, answer: late(request)

    def late(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != "/changes":
            return None
        harness.afterwards = lambda peer, request, answer: None
        fill_later()
        return httpx.Response(200, json={"Changes": [], "Done": True, "Last": 2})

    def fill_later() -> None:
        harness.put("1.2", "1.2.1", "1.2.1.1")

    checkpoint = await harness.open()
    harness.before = before
    assert [cast async for _, casts in harness.synchronizer.drain(checkpoint) for cast in casts] == []
    assert (await cursor_of(harness)).sequence == 1, "the row at sequence 2 is still to be read"
    harness.now += timedelta(seconds=1)
    assert [cast.outcome for cast in await harness.drain()] == [Outcome.CREATED]


async def test_rows_that_report_no_change(harness: Scripted) -> None:
    """Stable… and Updated… rows: the cursor passes them, and nothing is read for it."""
    fill(harness, 1)
    await harness.cast()
    harness.put("1.1", "1.1.1", "1.1.1.2")

    def afterwards(peer: str, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if request.url.path != "/changes":
            return None
        kinds = iter(("StableStudy", "UpdatedAttachment") * 9)
        rows = [row | {"ChangeType": next(kinds)} for row in answer.json()["Changes"]]
        return httpx.Response(200, json=answer.json() | {"Changes": rows})

    harness.afterwards = afterwards
    del harness.seen[:]
    assert await harness.cast(timedelta(seconds=1)) == {}
    assert (study_reads(harness), (await cursor_of(harness)).sequence) == (0, 2)


async def test_a_replay_of_a_stretch(harness: Scripted) -> None:
    """The studies of the rows that are still there, each once a window, and none behind the stretch."""
    harness.window = 2
    harness.restart()
    fill(harness, 6)
    harness.archive.delete(PARTITION, "1.3")
    await harness.cast()
    cursor = await cursor_of(harness)
    told = [
        (reached, [cast.key.study_uid for cast in casts]) async for reached, casts in harness.synchronizer.replay(2, 5)
    ]
    assert [(reached, sorted(uids)) for reached, uids in told] == [(4, ["1.2", "1.4"]), (5, ["1.5"])]
    assert [casts async for _, casts in harness.synchronizer.replay(8, None)] == []
    assert sorted(key.study_uid for key in await harness.synchronizer.keys_of(5, None)) == ["1.5", "1.6"]
    assert await cursor_of(harness) == cursor


async def test_a_large_study_costs_a_handful_of_requests(harness: Scripted) -> None:
    """A thousand rows are one study, which is read once."""
    await harness.cast()
    for number in range(1000):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}")
    del harness.seen[:]
    assert await harness.cast(timedelta(seconds=1)) == {Outcome.CREATED: 1}
    assert study_reads(harness) == 1
    assert len(asked(harness)) < 12
