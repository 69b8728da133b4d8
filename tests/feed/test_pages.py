"""Paging through a list that changes between two pages: what is there all the time is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dicomcast.dicom.pages import paged
from dicomcast.errors import ConfigError
from tests.feeds import fill, scripted
from tests.searched import Qido


class Shelf:
    """A list in some order, of which `between` is called in front of each page."""

    def __init__(self, count: int, between: Callable[[Shelf], None] = lambda _: None) -> None:
        self.things = [f"{number}" for number in range(count)]
        self.between = between
        self.offsets: list[int] = []

    async def page(self, offset: int, limit: int) -> list[tuple[str, int]]:
        assert len(self.offsets) < 1000, "it goes round in circles"
        self.between(self)
        self.offsets.append(offset)
        return [(one, 0) for one in self.things[offset : offset + limit]]

    async def read(self, size: int) -> list[str]:
        return [name async for rows in paged(self.page, size) for name, _ in rows]


# What happens in front of each page: where something is deleted, and where something is inserted.
change = st.tuples(st.lists(st.integers(0, 39), max_size=4), st.none() | st.integers(0, 40))


@given(count=st.integers(0, 40), size=st.integers(2, 8), changes=st.lists(change, max_size=25))
@example(count=3, size=2, changes=[([], None), ([0, 0], None)])
def test_what_is_there_all_the_time_is_seen(count: int, size: int, changes: list[tuple[list[int], int | None]]) -> None:
    """Whatever is deleted between two pages, and wherever; and inserted, but not as fast as it is read."""
    gone: set[str] = set()

    def between(shelf: Shelf) -> None:
        deleted, inserted = changes[len(shelf.offsets)] if len(shelf.offsets) < len(changes) else ([], None)
        for at in deleted:
            gone.update(shelf.things[at : at + 1])
            del shelf.things[at : at + 1]
        if inserted is not None and len(shelf.offsets) % 2:
            shelf.things.insert(inserted, f"new {len(shelf.offsets)}")

    seen = asyncio.run(Shelf(count, between).read(size))
    assert {f"{number}" for number in range(count)} - gone <= set(seen)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 100, 105])
async def test_a_list_that_rests_is_read_once(count: int) -> None:
    """Each thing is told once, a tenth is read twice, and two more pages see that nothing stands behind the end."""
    shelf = Shelf(count)
    assert await shelf.read(10) == [f"{number}" for number in range(count)]
    assert len(shelf.offsets) <= count / 9 + 3


async def test_a_list_that_loses_its_front_is_read_again_from_further_in_front() -> None:
    """All that was read is deleted while the next page is asked for."""

    def between(shelf: Shelf) -> None:
        if len(shelf.offsets) == 3:
            del shelf.things[:30]

    shelf = Shelf(200, between)
    seen = await shelf.read(10)
    assert seen[-170:] == [f"{number}" for number in range(30, 200)]
    assert shelf.offsets[:6] == [0, 9, 18, 27, 17, 0]


@pytest.mark.parametrize("kind", ["v1", "v2", "orthanc", "orthanc-rest", "dicomweb"])
async def test_each_kind_of_archive_lists_its_studies(kind: str) -> None:
    """All of them, also while one that was listed is deleted in front of each page."""
    harness = scripted(kind)
    fill(harness, 12)
    await harness.open()
    assert sorted([uid async for page in harness.feed.studies("", 3) for uid in page]) == sorted(
        f"1.{number}" for number in range(1, 13)
    )
    seen: list[str] = []
    gone: list[str] = []
    async for page in harness.feed.studies("", 3):
        seen += page
        if len(gone) < 5:
            gone.append(seen[len(gone)])
            harness.archive.delete("Microsoft.Default", gone[-1])
    assert set(seen) == {f"1.{number}" for number in range(1, 13)}
    await harness.close()


async def test_partitions_are_listed_one_by_one() -> None:
    """The same study in two of them is two."""
    harness = scripted("v2", partitions=True)
    for partition, study in (("north", "1.2"), ("south", "1.2"), ("south", "1.3")):
        harness.put(study, f"{study}.1", f"{study}.1.1", partition)
    await harness.open()
    found = {
        partition: sorted([uid async for page in harness.feed.studies(partition, 200) for uid in page])
        for partition in await harness.feed.partitions()
    }
    assert found == {"north": ["1.2"], "south": ["1.2", "1.3"]}
    await harness.close()


async def test_a_server_that_takes_no_offset_is_told() -> None:
    """Half a list would look like a whole one."""
    harness = scripted("dicomweb")
    fill(harness, 12)
    Qido(harness).no_offset = True
    await harness.open()
    with pytest.raises(ConfigError, match="takes no offset"):
        [page async for page in harness.feed.studies("", 3)]
    await harness.close()
