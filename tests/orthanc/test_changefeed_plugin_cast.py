"""The installed command on an Orthanc with the plugin, as on the service whose feed it is."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.made_files import ct
from tests.orthanc.plugin import Feed, with_feed
from tests.servers.embedded import Embedded, embedded_servers


def run(servers: Embedded, feed: Feed, *, code: int = 0) -> str:
    """`dicomcast run --once`, and what it said."""
    return servers.run("run", "--once", code=code, DICOM__URL=feed.server.url, DICOM__KIND="azure").err


def test_studies_come_change_and_go(feed: Feed, tmp_path: Path) -> None:
    """All that the command asks of the service is there, so that nothing is said but what it did."""
    with embedded_servers(tmp_path) as servers:
        feed.server.stow(ct("2.25.1", "2.25.1.1", f"2.25.1.1.{number}") for number in range(3))
        feed.server.store(ct("2.25.2", "2.25.2.1", "2.25.2.1.1", PatientID="P-78"))
        run(servers, feed)
        assert {uid: study["numberOfInstances"] for uid, study in servers.studies().items()} == {
            "2.25.1": 3,
            "2.25.2": 1,
        }
        assert len(servers.store.resources("Patient")) == 2
        (endpoint,) = servers.store.resources("Endpoint")
        assert endpoint["address"] == f"{feed.server.url}/v1"
        feed.server.store(ct("2.25.1", "2.25.1.1", "2.25.1.1.0", StudyDescription="knee"))
        feed.server.delete("instance", feed.server.lookup("2.25.1.1.1")[0])
        feed.server.delete("study", feed.server.lookup("2.25.2")[0])
        feed.once(7)
        run(servers, feed)
        (study,) = servers.studies().values()
        assert (study["numberOfInstances"], study["description"]) == (2, "knee")
        servers.run("replay", "--replay-study", "2.25.1", DICOM__URL=feed.server.url, DICOM__KIND="azure", code=0)
        assert list(servers.studies().values()) == [study]


def test_a_lost_file_is_got_over_and_a_lost_orthanc_refused(tmp_path: Path) -> None:
    """The first feed goes on; the second starts again, and is not of the archive that was read."""
    with with_feed(tmp_path / "orthanc") as feed, embedded_servers(tmp_path) as servers:
        content = feed.server.folder / "content"
        for study in ("2.25.1", "2.25.2"):
            feed.server.store(ct(study, f"{study}.1", f"{study}.1.1"))
        run(servers, feed)
        feed.server.stop()
        (content / "changefeed.db").unlink()
        feed.after = 2
        feed.start()
        feed.server.delete("study", feed.server.lookup("2.25.2")[0])
        feed.once(3)
        run(servers, feed)
        assert set(servers.studies()) == {"2.25.1"}
        feed.server.stop()
        shutil.rmtree(content)
        feed.start()
        feed.server.store(ct("2.25.3", "2.25.3.1", "2.25.3.1.1"))
        assert "this is not the archive that was read" in run(servers, feed, code=78)
        assert set(servers.studies()) == {"2.25.1"}


def test_a_lost_file_of_an_orthanc_that_is_empty_by_now_is_got_over(tmp_path: Path) -> None:
    """What is written in order not to end before what was read makes nothing, and nothing is parked for it."""
    with with_feed(tmp_path / "orthanc") as feed, embedded_servers(tmp_path) as servers:
        feed.server.store(ct("2.25.1", "2.25.1.1", "2.25.1.1.1"))
        feed.server.delete("study", feed.server.lookup("2.25.1")[0])
        feed.once(2)
        run(servers, feed)
        feed.server.stop()
        (feed.server.folder / "content" / "changefeed.db").unlink()
        feed.after = 2
        feed.start()
        assert [one["state"] for one in feed.once(1)] == ["Deleted"]
        run(servers, feed)
        assert servers.studies() == {} and servers.run("parked", "list", code=0).out == "nothing is parked\n"
        feed.server.store(ct("2.25.2", "2.25.2.1", "2.25.2.1.1"))
        run(servers, feed)
        assert set(servers.studies()) == {"2.25.2"}
