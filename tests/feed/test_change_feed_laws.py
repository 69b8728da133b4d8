"""The law of the feed: whatever happens in the archive, the last entry delivered of an instance tells its present."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import cycle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dicomcast.demo.archive import DEFAULT_PARTITION, InstanceKey, NotFound
from dicomcast.dicom import by_sequence, by_time
from dicomcast.mapping.tags import tag
from dicomcast.model import EntryState
from tests.reader import LAG, Reader

STUDIES, INSTANCES = ["1.2", "1.3"], ["1", "2", "3"]
# Pages so small that a few entries fill them.
PAGE = 3

Step = tuple[str, Any, Any]

step = st.one_of(
    st.tuples(st.just("store"), st.sampled_from(STUDIES), st.sampled_from(INSTANCES)),
    st.tuples(st.just("delete"), st.sampled_from(STUDIES), st.sampled_from([*INSTANCES, None])),
    st.tuples(st.just("update"), st.sampled_from(STUDIES), st.none()),
    st.tuples(st.just("tie"), st.sampled_from(STUDIES), st.integers(1, 8)),
    st.tuples(st.just("hold"), st.integers(1, 2), st.none()),
    st.tuples(st.just("release"), st.none(), st.none()),
    st.tuples(st.just("gap"), st.integers(1, 7), st.none()),
    st.tuples(st.just("later"), st.sampled_from([0.000001, 0.6, 1, 9, 20, 31, 100]), st.none()),
    st.tuples(st.just("read"), st.integers(1, 9), st.integers(1, 3)),
)
# How many entries the windows of one process after another have while the feed is drained.
sizes = st.lists(st.integers(1, 9), min_size=1, max_size=5)


class Story:
    """What happens to an archive while it is read, one window to a process."""

    def __init__(self, api: str, versions: tuple[str, ...] = ("v1", "v2")) -> None:
        self.reader = Reader(api=api, versions=versions)
        self.version = 0
        self.held_since: timedelta | None = None
        self.clock = timedelta(0)

    async def play(self, steps: list[Step]) -> None:
        for kind, what, how in steps:
            if kind == "read":
                await self.read(what, take=how)
            else:
                self._happen(kind, what, how)

    async def read(self, size: int, *, take: int) -> bool:
        """Read some windows in one process, each as large as it may be; False if there are none."""
        read = [len(window.entries) for window in await self.reader.read(size, take=take)]
        # In v2 a round that was left open may end with a smaller window, and then the one that follows it.
        assert max(read, default=0) <= size
        assert sum(length < size for length in read) <= (1 if self.reader.api == "v1" else 2)
        return bool(read)

    def _happen(self, kind: str, what: Any, how: Any) -> None:
        archive = self.reader.archive
        match kind:
            case "store":
                self.version += 1
                self.reader.store(f"{what}.1.{how}", study=what, StudyDescription=str(self.version))
            case "tie":
                for number in range(how):
                    self.reader.store(f"{what}.1.{number}", study=what)
            case "delete":
                _if_there(lambda: archive.delete(DEFAULT_PARTITION, what, f"{what}.1", how and f"{what}.1.{how}"))
            case "update":
                self.version += 1
                change = {tag("StudyDescription"): {"vr": "LO", "Value": [str(self.version)]}}
                archive.bulk_update(DEFAULT_PARTITION, [what], change)
            case "gap":
                archive.skip_sequences(what)
            case "hold":
                archive.hold(what)
                self.held_since = self.clock if self.held_since is None else self.held_since
            case "release":
                archive.release()
                self.held_since = None
            case "later":
                self._later(timedelta(seconds=what))

    def _later(self, time: timedelta) -> None:
        """Time passes; what is held is committed within the lag, as the lag is meant to be chosen."""
        if self.held_since is not None:
            left = self.held_since + LAG - timedelta(seconds=1) - self.clock
            if time > left:
                self.clock += left
                self.reader.now += left
                self._happen("release", None, None)
                time -= left
        self.clock += time
        self.reader.now += time

    async def end(self, sizes: list[int]) -> None:
        """Everything is committed and the lag passes; then the feed is drained, one window to a process."""
        self._happen("release", None, None)
        self._later(LAG + timedelta(seconds=2))
        for _, size in zip(range(500), cycle(sizes), strict=False):
            if not await self.read(size, take=1):
                return
        raise AssertionError("the feed does not come to an end")

    def check(self) -> None:
        """The last entry of every instance has its state and its metadata."""
        present = {
            InstanceKey(DEFAULT_PARTITION, *(one[uid]["Value"][0] for uid in ("0020000D", "0020000E", "00080018"))): one
            for one in self.reader.archive.catalogue(DEFAULT_PARTITION)
        }
        last = {
            InstanceKey(DEFAULT_PARTITION, entry.study_uid, entry.series_uid, entry.instance_uid): entry
            for entry in self.reader.delivered
        }
        description = tag("StudyDescription")
        told = {
            key: entry.metadata and entry.metadata.get(description)
            for key, entry in last.items()
            if entry.state is not EntryState.DELETED
        }
        assert told == {key: metadata.get(description) for key, metadata in present.items()}
        logged = {row["sequence"] for row in self.reader.archive.page_v1(0, 10**6, include_metadata=False)}
        assert set(self.reader.sequences) == logged


def _if_there(delete: Callable[[], None]) -> None:
    try:
        delete()
    except NotFound:
        return


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_sequence, "LIMIT", PAGE)
    monkeypatch.setattr(by_time, "LIMIT", PAGE)


@pytest.mark.parametrize("api", ["v1", "v2"])
@given(steps=st.lists(step, min_size=1, max_size=25), sizes=sizes)
@example([("tie", "1.2", 8), ("later", 31, None), ("read", 1, 1), ("delete", "1.2", None), ("read", 1, 1)], [2])
@example([("hold", 1, None), ("store", "1.2", "1"), ("store", "1.2", "2"), ("later", 9, None), ("read", 1, 1)], [2])
def test_every_instance_ends_as_it_is(api: str, steps: list[Step], sizes: list[int]) -> None:
    """Drained after the last change, the feed has told of every entry, and last of all the present; none came twice."""

    async def run() -> None:
        story = Story(api)
        await story.play(steps)
        await story.end(sizes)
        story.check()
        assert len(story.reader.sequences) == len(set(story.reader.sequences))
        await story.reader.close()

    asyncio.run(run())


@given(before=st.lists(step, max_size=12), after=st.lists(step, max_size=12), sizes=sizes)
def test_every_instance_ends_as_it_is_across_a_change_from_v1_to_v2(
    before: list[Step], after: list[Step], sizes: list[int]
) -> None:
    """Wherever v1 stood, v2 goes on from there: entries may come twice, and none is left out."""

    async def run() -> None:
        story = Story("v1")
        await story.play(before)
        story.reader.api = "v2"
        await story.play(after)
        await story.end(sizes)
        story.check()
        await story.reader.close()

    asyncio.run(run())


@pytest.mark.parametrize("versions", [("v1", "v2"), ("v2",)])
@given(
    steps=st.lists(step, min_size=1, max_size=15),
    first=st.integers(0, 12),
    length=st.integers(0, 12),
    size=st.integers(1, 9),
)
def test_a_replay_is_exactly_its_stretch(
    versions: tuple[str, ...], steps: list[Step], first: int, length: int, size: int
) -> None:
    """A replay by sequence delivers every entry between its bounds, once."""

    async def run() -> None:
        story = Story("auto", versions)
        await story.play(steps)
        feed = await story.reader.opened()
        found = [
            entry.sequence async for window in feed.replay(first, first + length, size) for entry in window.entries
        ]
        logged = [row["sequence"] for row in story.reader.archive.page_v1(0, 10**6, include_metadata=False)]
        assert sorted(found) == [one for one in logged if first <= one <= first + length]
        await story.reader.close()

    asyncio.run(run())
