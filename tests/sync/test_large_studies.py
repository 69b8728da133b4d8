"""Studies of more instances than are listed: counted from the archive, in bounded memory, and right after deletions."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import orjson
import pytest

from dicomcast.gathering import Gathering
from dicomcast.mapping.rules import Rules
from dicomcast.model import Outcome, StudyKey
from tests.harness import SYSTEM, Harness, dataset

STUDY = "1.2"
PADDING = {"vr": "LT", "Value": ["x" * 2000]}  # what a real header has beside what is mapped


class Shelf(httpx.AsyncBaseTransport):
    """An archive whose study 1.2 has two series of `count` instances, less those that are `gone`; it counts reads."""

    def __init__(self, inner: httpx.AsyncBaseTransport, count: int) -> None:
        self.inner, self.count, self.reads = inner, count, 0
        self.gone: set[int] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith(f"/studies/{STUDY}/metadata"):
            return await self.inner.handle_async_request(request)
        self.reads += 1
        return httpx.Response(200, stream=_Body(self))


class _Body(httpx.AsyncByteStream):
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"["
        numbers = [one for one in range(self._shelf.count, 0, -1) if one not in self._shelf.gone]
        for number in numbers:  # the speaker comes last
            metadata = _instance(number) | {"00204000": PADDING}
            yield orjson.dumps(metadata) + (b"," if number != numbers[-1] else b"")
        yield b"]"


def _instance(number: int) -> dict[str, Any]:
    series = f"1.2.{number % 2 + 1}"
    return dataset(STUDY, series, f"{series}.{number}", InstanceNumber=number, PatientName="Doe^Jane")


class Large(Harness):
    """A harness with such an archive; what its feed tells is of a few instances."""

    def __init__(self, count: int, most: int | None) -> None:
        self.instances = count
        super().__init__(rules=Rules(SYSTEM, most_listed=most))

    def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        if peer != "dicom":
            return transport
        self.shelf = Shelf(transport, self.instances)
        return self.shelf

    async def read(self) -> dict[str, Any]:
        await self.open()
        await self.synchronizer.replay_studies([STUDY])
        return self.study()

    async def delete(self, *numbers: int) -> None:
        for number in numbers:
            series = f"1.2.{number % 2 + 1}"
            self.archive.store(_instance(number), "Microsoft.Default")
            self.archive.delete("Microsoft.Default", STUDY, series, f"{series}.{number}")
        self.shelf.gone.update(numbers)
        await self.cast()


def counts(study: dict[str, Any]) -> list[tuple[int, int]]:
    """How many instances each series has, and how many of them it lists."""
    return [(one["numberOfInstances"], len(one.get("instance", []))) for one in study["series"]]


async def test_a_study_is_counted_above_the_limit_and_listed_below_it() -> None:
    """It crosses the limit down by deletions; the change of a counted study costs one read of it, an idle poll none."""
    harness = Large(12, 10)
    assert counts(await harness.read()) == [(6, 0), (6, 0)]
    await harness.delete(12)
    assert counts(harness.study()) == [(5, 0), (6, 0)]
    assert harness.shelf.reads == 2
    await harness.cast()
    assert harness.shelf.reads == 2
    await harness.delete(11)
    assert counts(harness.study()) == [(5, 5), (5, 5)]
    assert harness.shelf.reads == 3
    await harness.delete(10)
    assert counts(harness.study()) == [(4, 4), (5, 5)]
    assert harness.shelf.reads == 3
    await harness.close()


async def test_a_study_that_grows_beyond_the_limit_is_not_read_for_it() -> None:
    """What stood there listed all, so the archive is asked only from then on: whether an entry is new to it."""
    harness = Large(0, 3)
    for number in range(1, 5):
        harness.put(STUDY, "1.2.1", f"1.2.1.{number}")
    await harness.cast()
    assert counts(harness.study()) == [(4, 0)]
    assert harness.study()["numberOfInstances"] == 4
    assert harness.shelf.reads == 0
    await harness.close()


@pytest.mark.parametrize(("most", "listed"), [(None, 8), (0, 0), (8, 8), (7, 0)])
async def test_full_counts_and_limit(most: int | None, listed: int) -> None:
    """Up to the limit all instances are listed, beyond it none."""
    harness = Large(8, most)
    study = await harness.read()
    assert study["numberOfInstances"] == 8
    assert sum(one[1] for one in counts(study)) == listed
    await harness.close()


async def test_what_others_wrote_on_an_instance_keeps_it_listed() -> None:
    """And is still there when the study is listed again; it goes with its instance alone."""
    harness = Large(3, 3)
    study = await harness.read()
    note = {"url": "https://viewer.test/key", "valueBoolean": True}
    study["series"][0]["instance"][0]["extension"] = [note]
    marked = study["series"][0]["instance"][0]
    harness.store.put(study)
    harness.shelf.count = 4
    assert counts(await harness.read()) == [(2, 1), (2, 0)]
    assert harness.study()["series"][0]["instance"] == [marked]
    harness.shelf.count = 3
    assert marked in (await harness.read())["series"][0]["instance"]
    assert counts(harness.study()) == [(1, 1), (2, 2)]
    harness.shelf.count = 5
    harness.shelf.gone.add(int(marked["number"]))
    assert sum(one[1] for one in counts(await harness.read())) == 0
    await harness.close()


async def test_the_patient_follows_a_study_that_lists_nothing() -> None:
    """When the newest study of a Patient goes, the next one speaks, though it names no instance to be read."""
    harness = Large(4, 2)
    await harness.read()
    harness.put("1.3", "1.3.1", "1.3.1.1", StudyDate="20250101", PatientName="Roe^Rick")
    await harness.cast()
    assert harness.patients()[0]["name"][0]["family"] == "Roe"
    harness.archive.delete("Microsoft.Default", "1.3")
    await harness.cast()
    assert harness.patients()[0]["name"][0]["family"] == "Doe"
    await harness.close()


async def test_what_is_held_of_a_counted_study_does_not_grow_with_it() -> None:
    """One instance for all that tell the same, and the speaker of each series, though each is the best so far."""
    held = []
    for count in (50, 500):
        harness = Large(count, 10)
        await harness.open()
        key = StudyKey(harness.feed.source, "", STUDY)
        delta = await harness.feed.snapshot(key, partial(Gathering, key, 10))
        assert sum(delta.counts.values()) == count
        held.append(len(delta.instances))
        await harness.close()
    assert held == [4, 4]


@pytest.mark.long
@pytest.mark.parametrize(("count", "most", "held"), [(4_000, None, 4_000), (20_000, 4_000, 4)])
async def test_a_study_of_20_000_instances_is_read_in_bounded_memory(count: int, most: int | None, held: int) -> None:
    """At most two kilobytes for an instance that is listed, where its metadata alone would take ten times that; and
    no more for five times as many that are counted."""
    harness = Large(count, most)
    await harness.open()
    key = StudyKey(harness.feed.source, "", STUDY)
    gc.collect()
    tracemalloc.start()
    delta = await harness.feed.snapshot(key, partial(Gathering, key, most))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(delta.instances) == held
    assert peak < 12e6
    await harness.close()


@pytest.mark.long
async def test_deletions_from_a_study_of_20_000_instances() -> None:
    """The right number is left, whoever spoke, and nothing is written when nothing changed."""
    harness = Large(20_000, 10_000)
    assert counts(await harness.read()) == [(10_000, 0), (10_000, 0)]
    await harness.delete(1, 7, 20_000)
    assert counts(harness.study()) == [(9_999, 0), (9_998, 0)]
    (cast,) = await harness.synchronizer.replay_studies([STUDY])
    assert cast.outcome is Outcome.UNCHANGED
    assert harness.shelf.reads == 3
    await harness.close()
