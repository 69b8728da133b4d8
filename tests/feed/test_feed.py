"""Reading the two versions of the change feed, without a server: gaps, ties, late rows, slices."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.dicom import by_sequence, by_time
from dicomcast.dicom.entries import entries, entry
from dicomcast.dicom.ticks import TICKS, text, ticks
from dicomcast.errors import Retriable
from dicomcast.http import parse_json
from dicomcast.model import Action, Cursor, Entry, EntryState

SECOND = TICKS


def row(sequence: int, at: int = 0) -> Entry:
    return Entry(sequence, "", "1", "2", str(sequence), Action.CREATE, EntryState.CURRENT, text(at))


def read_v1(rows: list[Entry], after: int, *, settled: int = 10**18, size: int = 2500) -> list[Any]:
    async def page(offset: int) -> list[Entry]:
        return [one for one in rows if offset < one.sequence <= offset + by_sequence.LIMIT]

    async def collect() -> list[Any]:
        latest = max((one.sequence for one in rows), default=0)
        return [one async for one in by_sequence.read(page, after=after, latest=latest, settled=settled, size=size)]

    return asyncio.run(collect())


@given(st.sets(st.integers(1, 900), max_size=40), st.integers(0, 900), st.integers(1, 50))
def test_v1_reads_every_entry_once_over_any_gap(sequences: set[int], after: int, size: int) -> None:
    """A short or empty page is no end of the feed (v1 gap rule)."""
    windows = read_v1([row(one) for one in sorted(sequences)], after, size=size)
    assert [one.sequence for window in windows for one in window.entries] == sorted(s for s in sequences if s > after)
    assert all(window.end.sequence == window.entries[-1].sequence for window in windows)


def test_v1_waits_in_front_of_a_young_gap() -> None:
    """A missing sequence before a young entry may be a store that is being committed: the cursor waits."""
    rows = [row(1, 0), row(2, 0), row(4, 100 * SECOND)]
    assert [one.end.sequence for one in read_v1(rows, 0, settled=50 * SECOND)] == [2]
    assert [one.end.sequence for one in read_v1(rows, 0, settled=100 * SECOND)] == [4]


class TimeFeed:
    """A v2 feed in memory: rows ordered by (timestamp, sequence), OFFSET as SQL does it."""

    def __init__(self, rows: list[Entry]) -> None:
        self.rows = rows
        self.offsets: list[int] = []

    async def page(self, start: str, end: str, offset: int) -> list[Entry]:
        self.offsets.append(offset)
        chosen = [one for one in self.rows if ticks(start) <= ticks(one.timestamp) < ticks(end)]
        chosen.sort(key=lambda one: (ticks(one.timestamp), one.sequence))
        return chosen[offset : offset + by_time.LIMIT]

    def read(
        self,
        cursor: Cursor | None,
        until: int,
        *,
        size: int = 2500,
        take: int | None = None,
        overlap: int = 30 * SECOND,
    ) -> list[Any]:
        async def collect() -> list[Any]:
            position = by_time.Position.of(cursor) if cursor else by_time.Position()
            windows = []
            reading = by_time.read(
                self.page, position, until=until, overlap=overlap, size=size, seen=cursor or Cursor()
            )
            async for window in reading:
                windows.append(window)
                if len(windows) == take:
                    break
            return windows

        return asyncio.run(collect())


@given(st.lists(st.integers(0, 6), max_size=900), st.integers(1, 500))
def test_v2_reads_every_entry_once_in_ties_and_slices(seconds: list[int], size: int) -> None:
    """Thousands of rows may share a timestamp; every one is read once, however the windows are cut."""
    feed = TimeFeed([row(number, at * SECOND) for number, at in enumerate(seconds, 1)])
    seen: list[int] = []
    cursor: Cursor | None = None
    for _ in range(2000):  # a new process for every window
        windows = feed.read(cursor, 100 * SECOND, size=size, take=1)
        if not windows:
            break
        seen += [one.sequence for one in windows[0].entries]
        cursor = windows[0].end
    assert sorted(seen) == list(range(1, len(seconds) + 1))


def test_v2_catches_a_row_that_was_committed_late() -> None:
    """A row whose timestamp lies before the end of the last round is found by the overlap, and once."""
    feed = TimeFeed([row(1, 10 * SECOND), row(3, 40 * SECOND)])
    (first,) = feed.read(None, 50 * SECOND)
    feed.rows.append(row(2, 39 * SECOND))
    (second,) = feed.read(first.end, 60 * SECOND)
    assert [one.sequence for one in second.entries] == [2]


def test_v2_cursor_advances_over_quiet_time() -> None:
    """Empty windows move the cursor too."""
    feed = TimeFeed([])
    (window,) = feed.read(None, 50 * SECOND)
    assert window.entries == ()
    assert ticks(window.end.position["start"]) == 50 * SECOND


def test_v2_uses_offset_only_inside_a_tie() -> None:
    """OFFSET costs the server; where timestamps differ the next page starts at the last one."""
    feed = TimeFeed([row(number, number) for number in range(1, 1000)])
    feed.read(None, 50 * SECOND)
    assert set(feed.offsets) == {0}


def test_v2_start_is_inclusive_and_end_exclusive() -> None:
    """A row of exactly the time at which a round ends belongs to the next, which begins there if nothing overlaps."""
    feed = TimeFeed([row(1, 49 * SECOND), row(2, 50 * SECOND), row(3, 50 * SECOND + 1)])
    (first,) = feed.read(None, 50 * SECOND, overlap=0)
    (second,) = feed.read(first.end, 50 * SECOND + 1, overlap=0)
    (third,) = feed.read(second.end, 60 * SECOND, overlap=0)
    assert [[one.sequence for one in window.entries] for window in (first, second, third)] == [[1], [2], [3]]


def test_v2_goes_on_after_a_round_that_was_left_open() -> None:
    """A cursor inside a round may be taken up much later: that round is finished, and the feed read to its end."""
    feed = TimeFeed([row(number, number * SECOND) for number in range(1, 301)])
    (first,) = feed.read(None, 400 * SECOND, size=by_time.LIMIT, take=1)
    assert first.end.position["until"] != ""
    feed.rows.append(row(301, 500 * SECOND))
    windows = feed.read(first.end, 1000 * SECOND)
    assert [one.sequence for window in windows for one in window.entries] == list(range(201, 302))
    assert ticks(windows[-1].end.position["start"]) == 1000 * SECOND


def test_v2_comes_to_an_end_where_the_server_cuts_ticks_off() -> None:
    """Rows from before the start of a page, more of them than fit in it, are counted off and not read for ever."""
    feed = TimeFeed([row(number, SECOND + number) for number in range(1, 451)])

    class Coarse(TimeFeed):
        async def page(self, start: str, end: str, offset: int) -> list[Entry]:
            assert len(self.offsets) < 10, "the reader goes round in circles"
            return await super().page(text(ticks(start) // SECOND * SECOND), end, offset)

    (window,) = Coarse(feed.rows).read(None, 50 * SECOND)
    assert [one.sequence for one in window.entries] == list(range(1, 451))


@pytest.mark.parametrize("page", [None, [], {"Sequence": 1, "Timestamp": "2026-01-01T00:00:00Z"}])
def test_a_page_may_be_null_empty_or_bare(page: Any) -> None:
    """`null` and 204 are empty pages; a single bare object is a page of one."""
    assert len(list(entries(page))) == (1 if page else 0)


@pytest.mark.parametrize("upper", [False, True])
def test_keys_and_values_in_any_case(upper: bool) -> None:
    """camelCase and PascalCase keys, any case of action and state, unknown fields."""
    fields = {"sequence": 5, "partitionName": "Microsoft.Default", "studyInstanceUid": "1", "seriesInstanceUid": "2",
              "sopInstanceUid": "3", "action": "CREATE" if upper else "create", "state": "current", "new": 1,
              "timestamp": "2026-01-01T00:00:00.1234567+00:00"}  # fmt: skip
    if upper:
        fields = {key[0].upper() + key[1:]: value for key, value in fields.items()}
    found = entry(fields)
    assert (found.action, found.state, found.partition, found.study_uid) == ("create", "current", "", "1")


def test_unknown_action_is_kept_as_such() -> None:
    """An action that does not exist yet is no crash."""
    found = entry({"sequence": 5, "timestamp": "2026-01-01T00:00:00Z", "action": "explode", "state": "current"})
    assert found.action is Action.OTHER


@pytest.mark.parametrize(
    "garbage",
    [
        *(1, "text", {}),
        *({"sequence": "x", "timestamp": "y"}, {"sequence": 1, "timestamp": "y"}),
        {"sequence": 2**63, "timestamp": "2026-01-01T00:00:00Z"},
    ],
)
def test_rows_that_are_no_rows_stop_the_feed(garbage: Any) -> None:
    """What cannot even be numbered cannot be settled: nothing is taken from such a page."""
    with pytest.raises(Retriable):
        entry(garbage)


@pytest.mark.parametrize(("uid", "known"), [(r"1.2\ud800", ""), (r"1.2\ufffd.3", ""), (r"1.2\u0000", "1.2")])
def test_a_damaged_name_is_no_name(uid: str, known: str) -> None:
    """A lone surrogate in a UID parks its entry, since nothing could carry it, and so does a lost character."""
    row = f'[{{"Sequence": 1, "Timestamp": "2026-01-01T00:00:00Z", "StudyInstanceUid": "{uid}"}}]'
    (found,) = entries(parse_json(row.encode()))
    assert (found.sequence, found.study_uid) == (1, known)


def test_ticks_are_cut_not_rounded() -> None:
    """100 ns ticks are finer than datetime; rounding up would skip entries."""
    assert ticks("2026-01-01T00:00:00.99999999Z") - ticks("2026-01-01T00:00:00Z") == TICKS - 1
    assert text(ticks("0001-01-01T00:00:00.0000001+00:00")) == "0001-01-01T00:00:00.0000001Z"
