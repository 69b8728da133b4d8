"""The feed of an Orthanc that is killed, that ran without the plugin, or whose file is not the one that it had."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.made_files import ct
from tests.orthanc.plugin import PLUGIN, Feed, with_feed
from tests.servers.orthanc import orthanc

pytestmark = pytest.mark.long


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    """An Orthanc of the test's own, which overwrites."""
    with with_feed(tmp_path / "orthanc") as feed:
        yield feed


def file(study: int, instance: int = 1, **attributes: Any) -> bytes:
    """An instance of the only series of a study."""
    return ct(f"2.25.{study}", f"2.25.{study}.1", f"2.25.{study}.1.{instance}", **attributes)


def database(feed: Feed) -> Path:
    """The feed's file."""
    return feed.server.folder / "content" / "changefeed.db"


def test_what_happens_without_the_plugin_is_found_at_its_start(feed: Feed) -> None:
    """An overwrite too, by the file being another; what was stored and deleted meanwhile leaves no trace."""
    _, _, deleted = (feed.server.store(file(1, number)) for number in range(3))
    feed.server.stop()
    feed.start_without()
    feed.server.store(file(1, 1, StudyDescription="knee"))
    feed.server.delete("instance", deleted)
    feed.server.store(file(1, 3))
    feed.server.delete("instance", feed.server.store(file(1, 4)))
    feed.server.stop()
    feed.start()
    assert sorted(feed.actions()[3:]) == [("Create", "2.25.1.1.3"), ("Delete", "2.25.1.1.2"), ("Update", "2.25.1.1.1")]
    assert [one["state"] for one in feed.entries()[:3]] == ["Current", "Replaced", "Deleted"]


def test_content_that_was_there_before_the_plugin(tmp_path: Path) -> None:
    """All of it is created at the first start, or at the next if that was stopped at once."""
    nothing = tmp_path / "nothing.py"
    nothing.touch()
    with orthanc(tmp_path / "orthanc", script=nothing, overwrite=True) as server:
        uids = [f"2.25.{study}.1.{number}" for study in range(4) for number in range(100)]
        server.stow(file(study, number) for study in range(4) for number in range(100))
        server.stop()
        feed = Feed(server)
        server.config["PythonScript"] = str(PLUGIN)
        server.start()
        stored = server.store(file(4))
        assert ("Create", "2.25.4.1.1") in feed.actions()
        server.stop()
        assert "Orthanc has stopped" in server.log
        feed.start()
        assert sorted(feed.actions()) == sorted(("Create", uid) for uid in [*uids, "2.25.4.1.1"])
        server.delete("instance", stored)
        assert feed.once(402)[-1]["action"] == "Delete"


def test_a_lost_file_is_made_anew_behind_the_old_sequences(feed: Feed) -> None:
    """A client that has read the old ones goes on: all there is comes again, but not what went meanwhile."""
    for number in range(3):
        feed.server.store(file(1, number))
    feed.server.delete("instance", feed.server.lookup("2.25.1.1.0")[0])
    feed.once(4)
    feed.server.stop()
    database(feed).unlink()
    feed.after = 4
    feed.start()
    assert sorted(feed.actions()) == [("Create", "2.25.1.1.1"), ("Create", "2.25.1.1.2")]
    assert feed.server.ask("GET", "/v1/changefeed", params={"limit": "4"}) == []


def test_a_file_from_a_backup_goes_on_behind_the_newest_sequence(feed: Feed, tmp_path: Path) -> None:
    """What had been written since, and still makes a difference, is written again."""
    for number in range(2):
        feed.server.store(file(1, number))
    feed.server.stop()
    shutil.copy(database(feed), tmp_path / "backup")
    feed.start()
    feed.server.store(file(1, 2))
    feed.server.delete("instance", feed.server.lookup("2.25.1.1.0")[0])
    feed.once(4)
    feed.server.stop()
    shutil.copy(tmp_path / "backup", database(feed))
    feed.after = 4
    feed.start()
    assert sorted(feed.actions()) == [("Create", "2.25.1.1.2"), ("Delete", "2.25.1.1.0")]


def test_a_file_of_another_orthanc_becomes_that_of_this(feed: Feed, tmp_path: Path) -> None:
    """What the other had is deleted, what this has is created, and no sequence of either comes again."""
    feed.server.store(file(1))
    with with_feed(tmp_path / "other") as other:
        for study in (2, 3):
            other.server.store(file(study))
        other.server.stop()
        feed.server.stop()
        shutil.copy(database(other), database(feed))
    feed.after = 2
    feed.start()
    assert sorted(feed.actions()) == [("Create", "2.25.1.1.1"), ("Delete", "2.25.2.1.1"), ("Delete", "2.25.3.1.1")]
    assert {one["sopInstanceUid"] for one in Feed(feed.server).entries() if one["state"] != "Deleted"} == {"2.25.1.1.1"}


def test_an_orthanc_without_any_past_starts_at_one(feed: Feed) -> None:
    """Nothing remembers the old sequences: a client finds less than it has read, and refuses."""
    for number in range(2):
        feed.server.store(file(1, number))
    feed.server.stop()
    shutil.rmtree(feed.server.folder / "content")
    feed.start()
    assert feed.server.http.get("/v1/changefeed/latest").status_code == 204
    feed.server.store(file(2))
    assert feed.actions() == [("Create", "2.25.2.1.1")]


def test_an_index_that_was_recreated_deletes_nothing(feed: Feed, tmp_path: Path) -> None:
    """The file of the feed survives an Orthanc whose index does not: what that lacks was not deleted by anybody."""
    for number in range(3):
        feed.server.store(file(1, number))
    feed.server.stop()
    shutil.copy(database(feed), tmp_path / "changefeed.db")
    shutil.rmtree(feed.server.folder / "content")
    database(feed).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(tmp_path / "changefeed.db", database(feed))
    feed.start()
    feed.server.store(file(2))
    assert [(one["sequence"], one["action"], one["sopInstanceUid"]) for one in Feed(feed.server).entries()] == [
        (1, "Create", "2.25.2.1.1")
    ]


def test_two_do_not_write_to_one_file(feed: Feed, tmp_path: Path) -> None:
    """The second does not start, for it would give out the sequences of the first."""
    feed.server.stop()
    first = with_feed(tmp_path / "first", ChangeFeed={"Path": str(database(feed).parent)})
    with first, pytest.raises(RuntimeError, match="database is locked"):
        feed.start()


def test_what_makes_room_for_others_is_deleted(feed: Feed) -> None:
    """Orthanc recycles the oldest patient, of which /changes says nothing."""
    feed.server.stop()
    feed.start(MaximumPatientCount=1)
    feed.server.store(file(1, PatientID="A"))
    feed.server.store(file(2, PatientID="B"))
    feed.once(3)
    assert sorted(feed.actions()) == [("Create", "2.25.1.1.1"), ("Create", "2.25.2.1.1"), ("Delete", "2.25.1.1.1")]


def test_the_configuration_of_the_example(tmp_path: Path) -> None:
    """Is one that Orthanc starts with, but for where things are. As it stands it lets nobody in: it names no user."""
    example = json.loads((PLUGIN.parent / "orthanc.json").read_text())
    assert Path(example["PythonScript"]).name == PLUGIN.name
    closed = {"RemoteAccessAllowed": False, "AuthenticationEnabled": True, "RegisteredUsers": {}}
    assert {name: example[name] for name in closed} == closed
    own = {name: example[name] for name in ("Name", "Plugins", "DicomWeb", "OverwriteInstances")}
    with with_feed(tmp_path / "orthanc", user=("dicomcast", "a password of your own"), **own) as feed:
        feed.server.store(file(1))
        assert feed.entries(metadata=True)[0]["metadata"]
        assert httpx.get(f"{feed.server.url}/v1/changefeed", trust_env=False).status_code == 401


def test_where_dicomweb_is_at_v1_itself_nothing_is_passed_through(feed: Feed) -> None:
    """DICOMweb answers, with all that it has."""
    feed.server.stop()
    feed.start(DicomWeb={"Root": "/v1/"}, ChangeFeed={"Path": "elsewhere"})
    feed.server.store(file(1))
    assert (feed.server.folder / "elsewhere" / "changefeed.db").exists()
    assert feed.entries(metadata=True)[0]["metadata"] == feed.server.ask("GET", "/v1/studies/2.25.1/metadata")[0]
    image = feed.server.http.get("/v1/studies/2.25.1/series/2.25.1.1/instances/2.25.1.1.1")
    assert image.headers["content-type"].startswith("multipart/related") and b"DICM" in image.content
