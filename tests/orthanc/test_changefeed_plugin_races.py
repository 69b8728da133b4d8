"""Callbacks that come in another order than what they tell of, and what happens while the plugin looks."""

from __future__ import annotations

from itertools import count
from threading import Event, Thread
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.orthanc.fake_orthanc import Plugin


@pytest.mark.parametrize("first", ["stored", "deleted"])
def test_an_overwrite_in_any_order(plugin: Plugin, first: str) -> None:
    """That the overwritten one was deleted is told before or after the store: it is one update."""
    orthanc = plugin.orthanc
    orthanc.tell_stored(orthanc.store("a"))
    orthanc.store("a")
    told = [orthanc.tell_stored, orthanc.tell_deleted]
    for tell in told if first == "stored" else reversed(told):
        tell("a")
    assert plugin.actions() == [("Create", "a"), ("Update", "a")]


def test_a_delete_that_is_told_after_the_next_store(plugin: Plugin) -> None:
    """The instance is there: it was overwritten, as far as anybody can see."""
    orthanc = plugin.orthanc
    orthanc.tell_stored(orthanc.store("a"))
    orthanc.delete("a")
    orthanc.tell_stored(orthanc.store("a"))
    orthanc.tell_deleted("a")
    assert plugin.actions() == [("Create", "a"), ("Update", "a")]


def test_a_store_that_is_told_after_its_delete(plugin: Plugin) -> None:
    """There is nothing to tell of; but what was there before is deleted once."""
    orthanc = plugin.orthanc
    orthanc.tell_stored(orthanc.store("a"))
    for id in "ab":
        orthanc.store(id)
        orthanc.delete(id)
        orthanc.tell_deleted(id)
        orthanc.tell_stored(id)
    assert plugin.actions() == [("Create", "a"), ("Delete", "a")]


def test_a_store_between_the_look_and_the_entry(plugin: Plugin) -> None:
    """It waits for the delete that is being written, and comes after it."""
    orthanc = plugin.orthanc
    orthanc.tell_stored(orthanc.store("a"))
    orthanc.delete("a")
    storing = Thread(target=orthanc.tell_stored, args="a")

    def store(path: str) -> None:
        if "a" not in orthanc.instances:
            orthanc.store("a")
            storing.start()
            storing.join(0.2)  # which it does not need, if it does not wait
            raise orthanc.OrthancException(orthanc.ErrorCode.UNKNOWN_RESOURCE, "Unknown resource")

    orthanc.on_ask = store
    orthanc.tell_deleted("a")
    storing.join()
    assert plugin.actions() == [("Create", "a"), ("Delete", "a"), ("Create", "a")]


def test_what_goes_while_its_uids_are_asked(plugin: Plugin) -> None:
    """Never was there, for the feed; and the others of a batch are written."""
    orthanc = plugin.orthanc
    for id in "abc":
        orthanc.store(id)

    def go(path: str) -> None:
        if path == "/series/s" and "b" in orthanc.instances:
            orthanc.delete("b")
            raise orthanc.OrthancException(orthanc.ErrorCode.UNKNOWN_RESOURCE, "Unknown resource")

    orthanc.on_ask = go
    plugin.feed.settle("bac")
    assert plugin.actions() == [("Create", "a"), ("Create", "c")]


def test_orthanc_is_not_asked_when_it_stops(plugin: Plugin) -> None:
    """The comparison is not finished, but over."""
    orthanc = plugin.orthanc
    for number in range(5):
        orthanc.store(str(number))
    plugin.module.BATCH = 1
    asked = Event()

    def linger(path: str) -> None:
        asked.set()
        sleep(0.1)

    orthanc.on_ask = linger
    orthanc.OnChange(orthanc.ChangeType.ORTHANC_STARTED, 4, "")
    asked.wait()
    orthanc.OnChange(orthanc.ChangeType.ORTHANC_STOPPED, 4, "")
    assert not plugin.feed.comparison.is_alive() and orthanc.said == [] and len(plugin.actions()) < 5


def test_a_page_that_would_begin_too_late(plugin: Plugin) -> None:
    """As much is deleted in front as a page holds, before the second is asked for: nothing is passed over."""
    plugin.module.PAGE = 4
    orthanc = plugin.orthanc
    ids = [orthanc.store(f"{number:02}") for number in range(14)]
    pages = count()

    def delete(path: str) -> None:
        if path.startswith("/instances?") and next(pages) == 1:
            for id in ids[:5]:
                orthanc.delete(id)

    orthanc.on_ask = delete
    plugin.feed.compare()
    assert {id for _, id in plugin.actions()} >= set(ids[5:])


@given(data=st.data())
def test_a_comparison_misses_nothing_while_things_go(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Deletes move what is listed to the front, and stores come at its end, or are told of first."""
    plugin = Plugin(tmp_path_factory.mktemp("plugin"))
    module, orthanc = plugin.module, plugin.orthanc
    module.PAGE, module.BATCH = 4, 2
    names = map(str, count())
    for _ in range(data.draw(st.integers(0, 20))):
        orthanc.store(next(names))
    deleted: list[str] = []
    happening = iter(data.draw(st.lists(st.sampled_from(["nothing", "store", "overwrite", "delete"]), max_size=40)))

    def happen(path: str) -> None:
        if path.startswith("/instances?"):
            for _ in range(data.draw(st.integers(0, 3))):
                act(next(happening, "nothing"))

    def act(what: str) -> None:
        if what == "store":
            orthanc.tell_stored(orthanc.store(next(names)))
        elif what != "nothing" and orthanc.instances:
            id = data.draw(st.sampled_from(sorted(orthanc.instances)))
            if what == "delete":
                deleted.append(orthanc.delete(id))
            else:
                orthanc.tell_stored(orthanc.store(id))

    orthanc.on_ask = happen
    plugin.feed.compare()
    for id in deleted:
        orthanc.tell_deleted(id)
    there = {one["sopInstanceUid"] for one in plugin.feed.page(0, 1000, metadata=False) if one["state"] == "Current"}
    assert there == {f"1.1.{id}" for id in orthanc.instances}
    said = plugin.actions()
    orthanc.on_ask = lambda path: None
    plugin.feed.compare()
    assert plugin.actions() == said
    plugin.close()
