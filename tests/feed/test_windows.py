"""Windows of exactly WORKER__WINDOW entries, or of so many bytes: inside a page, a tie, and where rows appear."""

from __future__ import annotations

import pytest

from dicomcast.dicom import by_sequence, by_time, cutting
from tests.reader import Reader

# Pages so small that a few entries fill them.
PAGE = 20


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_sequence, "LIMIT", PAGE)
    monkeypatch.setattr(by_time, "LIMIT", PAGE)


def fill(reader: Reader, count: int, seconds: float = 0.001) -> None:
    for number in range(count):
        reader.store(f"{reader.now:%H%M%S%f}.{number}")
        reader.later(seconds)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, [1] * 45), (7, [7] * 6 + [3]), (20, [20, 20, 5]), (15, [15] * 3), (25, [25, 20]), (2500, [45])],
)
async def test_a_window_has_exactly_its_size(reader: Reader, size: int, expected: list[int]) -> None:
    """Pages are cut and joined; only the end of the feed makes a window smaller, and no page is asked for twice."""
    fill(reader, 45)
    reader.later(60)
    windows = await reader.read(size)
    assert [len(window.entries) for window in windows] == expected
    assert reader.sequences == list(range(1, 46))
    offsets = [(one["offset"], one.get("startTime")) for one in reader.wire.asked(f"/{reader.api}/changefeed")]
    assert len(offsets) == len(set(offsets))


@pytest.mark.parametrize(("most", "largest"), [(1, 1), (4000, 12), (10**6, 45)])
async def test_a_window_is_full_of_bytes_too(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, most: int, largest: int
) -> None:
    """At least one entry however large it is; and the cursor is that of a smaller window, wherever a process ends."""
    monkeypatch.setattr(cutting, "BYTES", most)
    fill(reader, 45)
    reader.later(60)
    sizes = [len(window.entries) for window in await reader.read(2500, take=2)]
    while windows := await reader.read(2500, take=1):
        sizes += [len(window.entries) for window in windows]
    assert reader.sequences == list(range(1, 46))
    assert largest / 3 <= max(sizes) <= largest


@pytest.mark.parametrize("size", [1, 7, 20, 24])
@pytest.mark.parametrize("seconds", [0, 0.001, 0.1])
async def test_a_process_for_each_window_goes_on_with_the_next_entry(reader: Reader, size: int, seconds: float) -> None:
    """A cursor inside a page, or inside a tie longer than a page, is followed by the next entry and no other."""
    fill(reader, PAGE + 5, seconds)
    reader.later(100)
    while windows := await reader.read(size, take=1):
        assert len(windows[0].entries) <= size
    assert reader.sequences == list(range(1, PAGE + 6))


async def test_v1_a_cursor_inside_a_page_waits_in_front_of_a_young_gap() -> None:
    """The entries in front of the gap are settled, however the windows are cut, and what is behind it waits."""
    reader = Reader(api="v1")
    fill(reader, 3)
    reader.archive.hold(1)
    fill(reader, 3, 1)
    for _ in range(4):
        await reader.read(2, take=1)
    assert reader.sequences == [1, 2, 3]
    reader.archive.release()
    await reader.read(2)
    assert reader.sequences == [1, 2, 3, 4, 5, 6]
    await reader.close()


async def test_v2_rows_that_appear_in_a_page_that_is_half_settled(v2: Reader) -> None:
    """Whether they come before or behind the cursor they are delivered, and nothing else comes twice."""
    v2.store("first")
    v2.archive.hold(1)
    v2.store("before")
    v2.later(0.001)
    fill(v2, 5)
    v2.archive.hold(1)
    v2.store("behind")
    v2.later(0.001)
    fill(v2, PAGE)
    v2.later(60)
    await v2.read(4, take=1)
    assert v2.sequences == [1, 3, 4, 5]
    v2.archive.release()
    while await v2.read(4, take=1):
        continue
    assert v2.sequences == [1, 3, 4, 5, 2, *range(6, PAGE + 9)]


async def test_v2_rows_that_appear_in_front_of_the_cursor_inside_a_tie(v2: Reader) -> None:
    """They shift the offset of what is left of the tie; what was settled is known, and the rest is not lost."""
    v2.archive.hold(3)
    fill(v2, PAGE + 8, 0)
    v2.later(40)
    await v2.read(15, take=1)
    assert v2.sequences == list(range(4, 19))
    v2.archive.release()
    for _ in range(10):
        await v2.read(4, take=1)
        v2.later(2)
    assert sorted(v2.sequences) == list(range(1, PAGE + 9))


@pytest.mark.parametrize("seconds", [0, 0.001, 1])
async def test_v2_a_cursor_does_not_grow_with_what_is_settled(v2: Reader, seconds: float) -> None:
    """It remembers the rows of a page and of an overlap, as one run of sequences for each second, and no more."""
    fill(v2, 3 * PAGE, seconds)
    v2.later(60)
    sizes = []
    while await v2.read(5, take=1):
        assert v2.cursor is not None
        sizes.append(len(v2.cursor.position["recent"]))
    assert len(sizes) >= 12
    assert max(sizes) <= (PAGE + 30 if seconds == 1 else 2)
