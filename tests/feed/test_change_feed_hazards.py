"""The hazards of reading feed v2 by time, one by one, and the little that is left of them in v1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from dicomcast.dicom import by_time
from dicomcast.dicom.ticks import TICKS, moment, text, ticks
from dicomcast.model import EntryState
from tests.reader import LAG, Reader

LAG_TICKS = LAG // timedelta(seconds=1) * TICKS


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    reader = Reader(api="v2")
    yield reader
    await reader.close()


def windows_of_time(reader: Reader) -> list[tuple[str, str, int]]:
    """(startTime, endTime, offset) of every page that was asked for with metadata."""
    asked = [one for one in reader.wire.asked("/v2/changefeed") if one["includeMetadata"] == "true"]
    return [(one["startTime"], one["endTime"], int(one["offset"])) for one in asked]


async def test_late_commits_a_round_ends_a_lag_before_the_servers_clock(reader: Reader) -> None:
    """Rows younger than the lag are not read, by the clock that the answer to /latest is dated with."""
    reader.later(0.999)
    reader.store("1.2.1.1")
    for seconds, expected in ((15, []), (15, []), (1, [1])):
        reader.later(seconds)
        await reader.read()
        assert reader.sequences == expected
    assert ticks(windows_of_time(reader)[-1][1]) == ticks("2026-01-01T00:00:01Z")


async def test_late_commits_the_machines_own_clock_does_where_answers_are_not_dated(reader: Reader) -> None:
    """Without a Date header what is old by our own clock is read."""
    reader.wire.dated = False
    reader.now -= timedelta(days=400)
    reader.store("1.2.1.1")
    await reader.read()
    assert reader.sequences == [1]


@pytest.mark.parametrize("held_for", [29, 59])
async def test_late_commits_are_found_up_to_twice_the_lag(reader: Reader, held_for: int) -> None:
    """The next round begins one lag earlier, so a row is found that took longer than the lag; no other comes twice."""
    reader.store("1.2.1.1")
    reader.archive.hold(1)
    reader.store("1.2.1.2")
    for _ in range(held_for):
        reader.later(1)
        await reader.read()
    reader.store("1.2.1.3")
    reader.archive.release()
    reader.later(61)
    await reader.read()
    assert sorted(reader.sequences) == [1, 2, 3]


async def test_late_commits_found_in_a_round_that_was_left_open_are_not_lost(reader: Reader) -> None:
    """A row that appears behind an open round is found by the next one, which begins a lag before its end."""
    for number in range(450):
        reader.store(f"1.2.1.{number}")
        reader.later(0.01)
    reader.archive.hold(1)
    reader.store("late")
    reader.later(29)
    reader.store("1.2.1.450")
    reader.later(1)
    await reader.read(size=by_time.LIMIT, take=1)
    reader.later(10)
    reader.archive.release()
    await reader.read(size=by_time.LIMIT, take=1)
    reader.later(100_000)
    await reader.read()
    assert sorted(reader.sequences) == list(range(1, 453))


async def test_late_commits_that_delete_or_replace_what_was_read_since(reader: Reader) -> None:
    """A row that is delivered late tells of the present, not of its time."""
    reader.archive.hold(1)
    reader.store("1.2.1.1", StudyDescription="late")
    reader.later(10)
    reader.store("1.2.1.2")
    reader.archive.release()
    reader.delete("1.2.1.1")
    reader.later(31)
    await reader.read()
    assert reader.sequences == [1, 2, 3]
    assert reader.states == [EntryState.DELETED, EntryState.CURRENT, EntryState.DELETED]


async def test_ties_of_more_rows_than_a_page_holds(reader: Reader) -> None:
    """500 rows of one timestamp are read by offset, from where the tie begins; a tie that arrives late as well."""
    reader.store("first")
    reader.later(1)
    reader.archive.hold(500)
    for number in range(500):
        reader.store(f"1.2.1.{number}")
    reader.later(1)
    reader.store("last")
    reader.later(31)
    await reader.read()
    assert reader.sequences == [1, 502]
    reader.archive.release()
    reader.later(10)
    for _ in range(6):
        await reader.read(size=by_time.LIMIT, take=1)
    assert reader.sequences == [1, 502, *range(2, 502)]


async def test_ties_are_not_cut_where_a_window_ends_inside_one(reader: Reader) -> None:
    """A new process goes on inside the tie by the offset in the cursor; nothing is skipped and nothing comes twice."""
    for number in range(2 * by_time.LIMIT):
        reader.store(f"1.2.1.{number}")
    reader.archive.delete("Microsoft.Default", "1.2")
    reader.later(60)
    for _ in range(4):
        assert len(await reader.read(size=by_time.LIMIT, take=1)) == 1
    assert reader.sequences == list(range(1, 4 * by_time.LIMIT + 1))
    assert {offset for _, _, offset in windows_of_time(reader)} >= {0, 200, 400, 600}


async def test_offset_drift_the_end_of_a_round_is_fixed(reader: Reader) -> None:
    """Rows that appear while a round is paged lie behind its end, which stays the same to its last page."""
    for number in range(450):
        reader.store(f"1.2.1.{number}")
        reader.later(0.01)
    reader.later(60)
    feed = await reader.opened()
    await reader.read(size=by_time.LIMIT, take=1, feed=feed)
    for number in range(450, 460):
        reader.store(f"1.2.1.{number}")
        reader.later(100)
    await reader.read(size=by_time.LIMIT, take=1)
    await reader.read(size=by_time.LIMIT, take=1)
    pages = windows_of_time(reader)
    assert len(pages) == 4
    assert len({end for _, end, _ in pages}) == 1
    assert len(reader.delivered) == 450


async def test_offset_drift_a_late_row_inside_a_tie_does_not_shift_it(reader: Reader) -> None:
    """A row that appears in a tie, in front of the offset, comes with the next round; none of the others is lost."""
    for number in range(450):
        reader.store(f"1.2.1.{number}")
    reader.later(100)
    await reader.read()
    reader.archive.hold(1)
    reader.store("late")
    reader.archive.delete("Microsoft.Default", "1.2")
    reader.later(32)
    await reader.read(size=by_time.LIMIT, take=1)
    assert reader.sequences[450:] == list(range(452, 652))
    reader.archive.release()
    await reader.read()
    assert reader.sequences[650:] == list(range(652, 902))
    reader.later(1)
    await reader.read()
    assert reader.sequences[900:] == [451]


async def test_quiet_periods_move_the_cursor(reader: Reader) -> None:
    """Each round of an idle feed is one page of two lags and a poll, though the newest entry is half a year old."""
    reader.store("1.2.1.1")
    reader.later(180 * 86_400)
    for _ in range(3):
        await reader.read()
        reader.later(60)
    assert reader.sequences == [1]
    pages = windows_of_time(reader)
    assert len(pages) == 3
    assert [ticks(end) - ticks(start) for start, end, _ in pages[1:]] == [90 * TICKS] * 2


async def test_ticks_a_round_begins_exactly_where_the_last_one_ended(reader: Reader) -> None:
    """No tick of 100 ns lies between two rounds: the next begins one lag before the end of the last, to the tick."""
    reader.store("1.2.1.1")
    reader.later(1000.123456)
    await reader.read()
    first_end = windows_of_time(reader)[-1][1]
    reader.later(60)
    await reader.read()
    assert windows_of_time(reader)[-1][0] == text(ticks(first_end) - LAG_TICKS)


async def test_ticks_are_floored_never_rounded(reader: Reader) -> None:
    """A page that is full begins the next one at the last row's own timestamp, all seven digits of it."""
    for number in range(250):
        reader.store(f"1.2.1.{number}")
        reader.later(0.000001)
    reader.later(60)
    await reader.read()
    _, (start, _, _) = windows_of_time(reader)
    assert start == reader.delivered[199].timestamp
    assert start.partition(".")[2][:7] == "0001997"
    assert len(reader.delivered) == 250


async def test_v1_waits_for_a_gap_that_is_younger_than_the_lag() -> None:
    """The one hazard that v1 has: a sequence that was taken and not yet committed; what is behind it waits."""
    reader = Reader(api="v1")
    reader.store("1.2.1.1")
    reader.archive.hold(1)
    reader.store("1.2.1.2")
    reader.later(1)
    reader.store("1.2.1.3")
    for seconds in (0, 15, 15):
        reader.later(seconds)
        await reader.read()
        assert reader.sequences == [1]
    reader.archive.release()
    await reader.read()
    assert reader.sequences == [1, 2, 3]
    await reader.close()


async def test_v1_passes_a_gap_that_is_older_than_the_lag() -> None:
    """A sequence that was lost for good holds the feed up for one lag and no longer."""
    reader = Reader(api="v1")
    reader.archive.skip_sequences(3)
    reader.store("1.2.1.1")
    await reader.read()
    assert reader.sequences == []
    reader.later(31)
    await reader.read()
    assert reader.sequences == [4]
    await reader.close()


@pytest.mark.parametrize(("offered", "expected"), [(["v1", "v2"], "v1"), (["v1"], "v1"), (["v2"], "v2")])
async def test_auto_is_v1_where_it_is_offered(offered: list[str], expected: str) -> None:
    """The version with fewer hazards is preferred, and what is delivered is the same."""
    reader = Reader(api="auto", versions=offered)
    reader.store("1.2.1.1")
    reader.later()
    feed = await reader.opened()
    await reader.read(feed=feed)
    assert feed.version == expected
    assert reader.sequences == [1]
    await reader.close()


async def test_a_service_whose_clock_is_ahead_moves_no_cursor_into_the_future(reader: Reader) -> None:
    """The earlier of two clocks counts: rows of the time that a wrong Date header skips would be lost."""
    reader.store("1.2.1.1")
    reader.now = datetime.now(UTC) + timedelta(days=2)
    await reader.read()
    assert reader.sequences == [1]
    assert ticks(windows_of_time(reader)[-1][1]) <= moment(datetime.now(UTC))
