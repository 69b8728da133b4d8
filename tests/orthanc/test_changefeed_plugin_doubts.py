"""What cannot be looked at, or is not known any more: nothing is lost by it, and nobody else has to wait for it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.orthanc.fake_orthanc import Plugin
from tests.servers.embedded import until


@contextmanager
def failing(plugin: Plugin, which: Callable[[str], object]) -> Iterator[list[str]]:
    """Orthanc fails when it is asked for these paths; all that it is asked for."""
    asked: list[str] = []

    def fail(path: str) -> None:
        asked.append(path)
        if which(path):
            raise plugin.orthanc.OrthancException(plugin.orthanc.ErrorCode.DATABASE, "a patient's name")

    plugin.orthanc.on_ask = fail
    yield asked
    plugin.orthanc.on_ask = lambda path: None


@contextmanager
def running(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """From Orthanc's start to its stop; what could not be settled is tried again without much of a pause."""
    monkeypatch.setattr(plugin.module, "RETRY", 0.01)
    plugin.orthanc.OnChange(plugin.orthanc.ChangeType.ORTHANC_STARTED, 4, "")
    yield
    plugin.orthanc.OnChange(plugin.orthanc.ChangeType.ORTHANC_STOPPED, 4, "")


def test_a_failure_is_no_delete(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be settled now is tried again until it can be, and said once. No patient is in what is said.

    Neither is an ID: Orthanc makes them of PatientID and UIDs, so that one can be guessed.
    """
    orthanc = plugin.orthanc
    a, b = (f"{letter * 8}-01234567-01234567-01234567-01234567" for letter in "ab")
    orthanc.tell_stored(orthanc.store(a))
    with running(plugin, monkeypatch):
        until("all was compared", lambda: orthanc.said)
        with failing(plugin, lambda path: True) as asked:
            orthanc.tell_stored(orthanc.store(b))
            orthanc.tell_deleted(a)
            until("it was tried several times", lambda: len(asked) > 20)
            assert plugin.actions() == [("Create", a)]
        until("b was found", lambda: plugin.actions() == [("Create", a), ("Create", b)])
    said = "\n".join(orthanc.said)
    assert said.count("comparison failed (OrthancException)") == 1
    assert "patient" not in said and not re.search("[ab]{8}|01234567", said)


def test_one_that_cannot_be_looked_at_keeps_nobody_back(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of its batch are settled, the comparison goes on, and in the end is repeated for that one alone."""
    orthanc = plugin.orthanc
    ids = [orthanc.store(f"{number:03}") for number in range(300)]
    plugin.feed.settle(ids[:150])
    for id in ids[40:60]:
        orthanc.store(id)
    bad = {"050", "200"}
    with failing(plugin, lambda path: path[-3:] in bad) as asked, running(plugin, monkeypatch):
        until("all was compared", lambda: len(plugin.actions()) > 300)
        created = [("Create", id) for id in ids if id != "200"]
        updated = [("Update", id) for id in ids[40:60] if id != "050"]
        until("all others are settled", lambda: sorted(plugin.actions()) == created + updated)
        until("the rest is known", lambda: len(orthanc.said) > 1)
        since = len(asked)
        until("it was tried several times", lambda: len(asked) > since + 20)
        assert {path for path in asked[since:] if path.startswith("/instances/")} == {f"/instances/{id}" for id in bad}
        assert orthanc.said == [
            "Change feed: compared with what Orthanc has; 168 entries had been missed",
            "Change feed: instances that cannot be looked at: 2; to be tried again",
        ]
        bad.clear()
        until("the last are settled", lambda: sorted(plugin.actions()[-2:]) == [("Create", "200"), ("Update", "050")])
        until("it is said", lambda: len(orthanc.said) > 2)
    assert len(orthanc.said) == 3 and "compared" in orthanc.said[2]


def test_an_orthanc_that_fails_altogether_is_not_asked_for_each(plugin: Plugin) -> None:
    """A comparison ends with the batch in which it finds that."""
    plugin.feed.settle([plugin.orthanc.store(f"{number:03}") for number in range(300)])
    with failing(plugin, lambda path: True) as asked, pytest.raises(plugin.orthanc.OrthancException):
        plugin.feed.compare()
    assert len(asked) < 110


def test_a_disk_that_is_full_ends_a_comparison(plugin: Plugin) -> None:
    """It is nobody's own trouble."""
    plugin.orthanc.store("a")
    plugin.feed._database.execute("PRAGMA query_only = TRUE")
    with pytest.raises(plugin.module.sqlite3.OperationalError):
        plugin.feed.compare()


def test_a_batch_that_fails_leaves_nothing(plugin: Plugin) -> None:
    """Its sequences are given out again, so that there is no gap."""
    orthanc = plugin.orthanc
    for id in "ab":
        orthanc.store(id)

    def fail(path: str) -> None:
        if path == "/instances/b":
            raise orthanc.OrthancException(orthanc.ErrorCode.DATABASE, "")

    orthanc.on_ask = fail
    with pytest.raises(orthanc.OrthancException):
        plugin.feed.settle("ab")
    orthanc.on_ask = lambda path: None
    plugin.feed.settle("ba")
    assert plugin.actions() == [("Create", "b"), ("Create", "a")]


@pytest.fixture
def backup(plugin: Plugin, tmp_path: Path) -> Path:
    """A folder with the feed's file as it was after the first entry, "a" was created; there were two others since."""
    orthanc, backup = plugin.orthanc, tmp_path / "backup"
    orthanc.tell_stored(orthanc.store("a"))
    plugin.close()
    shutil.copytree(plugin.folder, backup)
    plugin.load()
    orthanc.tell_stored(orthanc.store("b"))
    orthanc.tell_deleted(orthanc.delete("b"))
    plugin.close()
    shutil.rmtree(plugin.folder)
    return backup


@pytest.mark.parametrize("what", ["kept", "deleted"])
def test_a_file_from_a_backup_does_not_end_before_what_was_read(plugin: Plugin, backup: Path, what: str) -> None:
    """What there was since has left no trace: then an entry says once more what is known of the last."""
    shutil.copytree(backup, plugin.folder)
    if what == "deleted":
        plugin.load()
        plugin.orthanc.tell_deleted(plugin.orthanc.delete("a"))
        plugin.orthanc.properties[plugin.module.NEWEST] = "7"
        plugin.close()
    plugin.load()
    plugin.feed.compare()
    latest = plugin.feed.latest(metadata=False)
    said = latest["sequence"], latest["action"], latest["sopInstanceUid"], latest["state"]
    assert said == ((4, "Update", "1.1.a", "Current") if what == "kept" else (8, "Delete", "1.1.a", "Deleted"))
    assert plugin.orthanc.properties[plugin.module.NEWEST] == str(latest["sequence"])
    plugin.feed.compare()
    assert plugin.feed.latest(metadata=False) == latest


def test_a_lost_file_does_not_either(plugin: Plugin, backup: Path) -> None:
    """Where nothing is known, something is deleted that nobody has: 2.25 is before a UUID."""
    plugin.orthanc.delete("a")
    plugin.load()
    plugin.feed.compare()
    latest = plugin.feed.latest(metadata=False)
    assert (latest["sequence"], latest["action"], latest["state"]) == (4, "Delete", "Deleted")
    uids = [latest[f"{level}InstanceUid"] for level in ("study", "series", "sop")]
    assert all(re.fullmatch("2[.]25[.][1-9][0-9]{20,38}", uid) for uid in uids)
    plugin.orthanc.tell_stored(plugin.orthanc.store("c"))
    assert plugin.feed.latest(metadata=False)["sequence"] == 5


def test_while_a_lost_file_is_made_anew_nobody_takes_it_for_the_feed(plugin: Plugin) -> None:
    """Its end would be before what a client has read. When all is compared, it is behind that."""
    plugin.orthanc.properties[plugin.module.NEWEST] = "500"
    for read in (plugin.feed.latest, lambda *, metadata: plugin.feed.page(0, 100, metadata=metadata)):
        with pytest.raises(plugin.module.Refused) as refused:
            read(metadata=False)
        assert refused.value.args[0] == 503
    with failing(plugin, lambda path: path == "/instances/a"):
        plugin.orthanc.tell_stored(plugin.orthanc.store("a"))
        plugin.feed.compare()
    assert plugin.feed.latest(metadata=False)["sequence"] == 501
    plugin.feed.compare()
    assert plugin.feed.latest(metadata=False)["sequence"] == 502
