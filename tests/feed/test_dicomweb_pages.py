"""Listing archives whose QIDO-RS has its own mind about limit, offset and order (PS3.18 §8.3.4.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dicomcast.errors import ConfigError
from dicomcast.mapping.tags import tag
from dicomcast.model import Outcome
from tests.feeds import instances, scripted
from tests.scripted import Scripted
from tests.searched import JSON, Qido

SIZE = 5
UID = tag("StudyInstanceUID")


@pytest.fixture
async def harness() -> AsyncIterator[Scripted]:
    harness = scripted("dicomweb", window=SIZE)
    yield harness
    await harness.close()


def fill(harness: Scripted, count: int) -> None:
    for number in range(1, count + 1):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1", StudyDescription="a")


async def listed(harness: Scripted) -> list[str]:
    return [uid async for page in harness.feed.listing(SIZE) for uid in page]  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 10, 12])
@pytest.mark.parametrize("kind", ["plain", "cap", "no_limit", "last_again", "no_limit no_offset"])
async def test_all_studies_are_listed(harness: Scripted, kind: str, count: int) -> None:
    """A server sends fewer than asked for, or more, or the last ones again where there are no more."""
    fill(harness, count)
    qido = Qido(harness)
    for name in kind.split():
        setattr(qido, name, 3 if name == "cap" else name != "plain")
    assert sorted(set(await listed(harness))) == sorted(f"1.{number}" for number in range(1, count + 1))


@pytest.mark.parametrize("count", [6, 50])
async def test_a_server_that_takes_no_offset_cannot_be_listed(harness: Scripted, count: int) -> None:
    """Beyond a page there is more, and no way to get at it: that is said, and not passed over."""
    fill(harness, count)
    Qido(harness).no_offset = True
    with pytest.raises(ConfigError, match=r"DICOMCAST_DICOM__KIND: this archive's QIDO-RS takes no offset"):
        await harness.cast()


@pytest.mark.parametrize("count", [1, 4, 5])
async def test_a_server_that_takes_no_offset_and_has_no_more_than_a_page(harness: Scripted, count: int) -> None:
    """Also if the page is full: nothing is missing."""
    fill(harness, count)
    Qido(harness).no_offset = True
    assert await harness.cast() == {Outcome.CREATED: count}
    assert await harness.cast() == {}


async def test_a_server_without_any_order_comes_to_an_end(harness: Scripted) -> None:
    """What slips between the pages is not taken for gone, and is found by another sweep."""
    fill(harness, 12)
    Qido(harness).shuffled = True
    for _ in range(12):
        assert Outcome.DELETED not in await harness.cast()
    assert len(instances(harness)) == 12


@pytest.mark.parametrize("left", [0, 1])
async def test_a_study_in_two_rows(harness: Scripted, left: int) -> None:
    """A UID under two PatientIDs: neither row hides that the other has gone, and nothing is written for it again."""
    fill(harness, 12)
    qido, studies = Qido(harness), Qido._studies
    shown = [True, True]

    def doubled(self: Qido, query: object) -> list[JSON]:
        rows = studies(self, query)  # type: ignore[arg-type]
        other = [row | {tag("PatientID"): {"vr": "LO", "Value": ["P2"]}} for row in rows]
        one = [row for row in rows if shown[0] or row[UID]["Value"] != ["1.3"]]
        return one + [row for row in other if shown[1] and row[UID]["Value"] == ["1.3"]]

    qido._studies = doubled.__get__(qido)  # type: ignore[method-assign]
    await harness.cast()
    versions = harness.store.total_versions()
    await harness.cast()
    assert harness.store.total_versions() == versions
    shown[1 - left] = False
    assert await harness.cast() == {Outcome.UNCHANGED: 1}
    assert await harness.cast() == {}
