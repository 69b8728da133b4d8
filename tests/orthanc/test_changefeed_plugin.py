"""The change feed that Orthanc serves with the plugin: what is an entry, and what it says."""

from __future__ import annotations

import math
from itertools import pairwise

import httpx
import orjson
import pytest

from dicomcast.dicom.ticks import ticks
from tests.made_files import ct
from tests.orthanc.plugin import Feed
from tests.servers.orthanc import JSON


def test_store_overwrite_delete(feed: Feed) -> None:
    """Each is an entry; the first two are there when they are answered, and an overwrite is no create and delete."""
    id = feed.server.store(ct("2.25.1", "2.25.1.1", "2.25.1.1.1"))
    assert feed.actions() == [("Create", "2.25.1.1.1")]
    assert feed.server.store(ct("2.25.1", "2.25.1.1", "2.25.1.1.1", StudyDescription="knee")) == id
    assert feed.actions() == [("Create", "2.25.1.1.1"), ("Update", "2.25.1.1.1")]
    feed.server.store(ct("2.25.1", "2.25.1.1", "2.25.1.1.2"))
    feed.server.delete("instance", id)
    feed.once(4)
    assert feed.actions()[2:] == [("Create", "2.25.1.1.2"), ("Delete", "2.25.1.1.1")]


def test_an_entry_says_what_has_become_of_its_instance(feed: Feed) -> None:
    """As of reading; metadata are those of now, and there are none of what is gone."""
    for study, description in (("2.25.1", "a"), ("2.25.2", "b"), ("2.25.1", "c")):
        feed.server.store(ct(study, f"{study}.1", f"{study}.1.1", StudyDescription=description))
    feed.server.delete("study", feed.server.lookup("2.25.2")[0])
    feed.once(4)
    entries = feed.entries(metadata=True)
    assert [(one["action"], one["state"]) for one in entries] == [
        ("Create", "Replaced"),
        ("Create", "Deleted"),
        ("Update", "Current"),
        ("Delete", "Deleted"),
    ]
    (metadata,) = feed.server.ask("GET", "/dicom-web/studies/2.25.1/metadata")
    assert metadata["00081030"]["Value"] == ["c"]
    assert [one.get("metadata") for one in entries] == [metadata, None, metadata, None]
    assert [one for one in feed.entries() if "metadata" in one] == []
    for one, uid in zip(entries, ["2.25.1", "2.25.2", "2.25.1", "2.25.2"], strict=True):
        uids = one["studyInstanceUid"], one["seriesInstanceUid"], one["sopInstanceUid"]
        assert uids == (uid, f"{uid}.1", f"{uid}.1.1")
    assert all(ticks(one["timestamp"]) < ticks(other["timestamp"]) for one, other in pairwise(entries))
    assert feed.server.ask("GET", "/v1/changefeed/latest") == entries[-1]


def test_what_cannot_be_read_has_an_entry_without_metadata(feed: Feed) -> None:
    """And the others of its series, of which many are read at once, have theirs."""
    ids = [feed.server.store(ct("2.25.1", "2.25.1.1", f"2.25.1.1.{number}")) for number in range(20)]
    uuid = feed.server.ask("GET", f"/instances/{ids[7]}")["FileUuid"]
    (feed.server.folder / "content" / uuid[:2] / uuid[2:4] / uuid).unlink()
    entries = feed.entries(metadata=True)
    assert [number for number, one in enumerate(entries) if "metadata" not in one] == [7]
    assert [one["state"] for one in entries] == ["Current"] * 20
    assert feed.server.http.get("/v1/studies/2.25.1/metadata").status_code == 500


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_value_that_is_no_number_spoils_no_page(feed: Feed, value: float) -> None:
    """JSON has none for it; Orthanc writes one that is beyond what others can read."""
    feed.server.store(ct("2.25.1", "2.25.1.1", "2.25.1.1.1", DiffusionBValue=value))
    (entry,) = orjson.loads(feed.server.http.get(f"/v1/changefeed?offset={feed.after}").content)
    assert entry["metadata"]["00189087"]["Value"] == [None]


@pytest.mark.parametrize("level", ["instance", "series", "study", "patient"])
def test_a_delete_has_an_entry_for_each_instance(feed: Feed, level: str) -> None:
    """Whatever was deleted; what is beside it stays."""
    for uids in ("1 1 1", "1 1 2", "1 2 1", "2 1 1"):
        study, series, instance = uids.split()
        file = ct(f"2.25.{study}", f"2.25.{study}.{series}", f"2.25.{study}.{series}.{instance}", PatientID="A")
        feed.server.store(file)
    feed.server.store(ct("2.25.3", "2.25.3.1", "2.25.3.1.1", PatientID="B"))
    uid, gone = {
        "instance": ("2.25.1.1.1", ["2.25.1.1.1"]),
        "series": ("2.25.1.1", ["2.25.1.1.1", "2.25.1.1.2"]),
        "study": ("2.25.1", ["2.25.1.1.1", "2.25.1.1.2", "2.25.1.2.1"]),
        "patient": ("A", ["2.25.1.1.1", "2.25.1.1.2", "2.25.1.2.1", "2.25.2.1.1"]),
    }[level]
    feed.server.delete(level, feed.server.lookup(uid)[0])
    feed.once(5 + len(gone))
    assert sorted(feed.actions()[5:]) == [("Delete", uid) for uid in gone]
    assert {one["sopInstanceUid"] for one in feed.entries() if one["state"] == "Deleted"} == set(gone)


def test_a_modified_study_is_another_one(feed: Feed) -> None:
    """Orthanc gives it new UIDs; the old ones go if their source is not kept."""
    feed.server.store(ct("2.25.1", "2.25.1.1", "2.25.1.1.1"))
    (id,) = feed.server.lookup("2.25.1")
    feed.server.modify("study", id, Replace={"StudyDescription": "knee"}, KeepSource=False)
    created, made, deleted = feed.once(3)
    assert [one["action"] for one in (created, made, deleted)] == ["Create", "Create", "Delete"]
    assert made["studyInstanceUid"] != "2.25.1" and made["state"] == "Current"
    assert deleted["sopInstanceUid"] == "2.25.1.1.1"


def test_a_patient_of_another_id_has_the_same_studies(feed: Feed) -> None:
    """If their UIDs are kept, they are updated and at no time deleted, though Orthanc deletes the old ones."""
    feed.server.store(ct("2.25.1", "2.25.1.1", "2.25.1.1.1", PatientID="A"))
    (id,) = feed.server.lookup("A")
    keep = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    feed.server.modify("patient", id, Replace={"PatientID": "B"}, Keep=keep, Force=True, KeepSource=False)
    feed.once(3)
    assert feed.actions() == [("Create", "2.25.1.1.1"), ("Update", "2.25.1.1.1"), ("Update", "2.25.1.1.1")]
    current = feed.entries(metadata=True)[-1]
    assert current["state"] == "Current" and current["metadata"]["00100020"]["Value"] == ["B"]


def test_two_patients_with_the_same_uids(feed: Feed) -> None:
    """They are created with the first of them, and deleted with the last."""
    for patient in ("A", "B"):
        feed.server.store(ct("2.25.1", "2.25.1.1", "2.25.1.1.1", PatientID=patient))
    assert [one["state"] for one in feed.entries(metadata=True)] == ["Replaced", "Current"]
    feed.server.delete("patient", feed.server.lookup("A")[0])
    assert [one["state"] for one in feed.once(3)] == ["Replaced", "Replaced", "Current"]
    feed.server.delete("patient", feed.server.lookup("B")[0])
    feed.once(4)
    assert [action for action, _ in feed.actions()] == ["Create", "Update", "Update", "Delete"]


def test_pages_are_windows_on_the_sequence(feed: Feed) -> None:
    """`offset` is exclusive, `limit` a number of sequences and ten if it is not given."""
    feed.server.stow(ct("2.25.1", "2.25.1.1", f"2.25.1.1.{number}") for number in range(12))
    for query, first, number in ((f"offset={feed.after}", 1, 10), (f"OFFSET={feed.after + 1}&limit=3", 2, 3)):
        page = feed.server.ask("GET", f"/v1/changefeed?{query}")
        assert [one["sequence"] - feed.after for one in page] == list(range(first, first + number))
    assert feed.server.ask("GET", f"/v1/changefeed?offset={10**18 - 1}&limit=100") == []


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=ten", "offset=-1", "includeMetadata=1", "limit="])
def test_refuses_what_the_service_refuses(feed: Feed, query: str) -> None:
    """With the reason as text."""
    answer = feed.server.http.get(f"/v1/changefeed?{query}")
    assert answer.status_code == 400 and "is invalid" in answer.text


def test_is_recognised_as_version_1_without_partitions(feed: Feed) -> None:
    """By what a client asks in order to find that out."""
    latest = feed.server.http.get("/v1/changefeed/latest")
    assert latest.headers["api-supported-versions"] == "1.0"
    for path in ("/v2/changefeed/latest", "/v1/partitions"):
        assert feed.server.http.get(path).status_code == 404
    assert feed.server.http.post("/v1/changefeed").status_code == 405


def test_dicomweb_below_the_same_version(feed: Feed) -> None:
    """What a client of the feed asks is passed through; for the rest it is sent to DICOMweb's own address."""
    feed.server.stow(ct("2.25.1", f"2.25.1.{series}", f"2.25.1.{series}.1") for series in (1, 2))

    def get(path: str) -> httpx.Response:
        return feed.server.http.get(path)

    def without_address(datasets: list[JSON]) -> list[JSON]:
        for one in datasets:
            one.pop("00081190", None)  # RetrieveURL, which the plugin of DICOMweb makes of how it is called
        return sorted(datasets, key=str)

    for path in (
        "/studies/2.25.1/metadata",
        "/studies/2.25.1/series/2.25.1.2/metadata",
        "/studies/2.25.1/series/2.25.1.2/instances/2.25.1.2.1/metadata",
        "/studies?StudyInstanceUID=2.25.1",
        "/studies?StudyInstanceUID=2.25.9",
        "/instances?SOPInstanceUID=2.25.1.2.1&includefield=00100020",
    ):
        here, there = get(f"/v1{path}"), get(f"/dicom-web{path}")
        assert here.status_code == there.status_code == 200, path
        assert here.headers["content-type"] == "application/dicom+json"
        assert without_address(here.json()) == without_address(there.json()), path
    for path in ("2.25.9", "2.25.1/series/2.25.9", "2.25.1/series/2.25.1.1/instances/2.25.1.2.1"):
        assert get(f"/v1/studies/{path}/metadata").status_code == 404
    assert get("/v1/studies/2.25.1/series/2.25.1.1").headers["location"] == "/dicom-web/studies/2.25.1/series/2.25.1.1"
    assert feed.server.http.post("/v1/studies").status_code == 405


def test_what_two_patients_have_is_not_said_to_be_gone(feed: Feed) -> None:
    """The DICOMweb plugin finds no study that is not the only one of its UID; an instance that is, it finds."""
    for patient, instance in (("A", "1"), ("B", "2")):
        feed.server.store(ct("2.25.1", f"2.25.1.{instance}", f"2.25.1.{instance}.1", PatientID=patient))
    assert [one["metadata"]["00100020"]["Value"] for one in feed.entries(metadata=True)] == [["A"], ["B"]]
    assert feed.server.http.get("/dicom-web/studies/2.25.1/metadata").status_code == 404
    assert feed.server.http.get("/v1/studies/2.25.1/metadata").status_code == 500
    feed.server.store(ct("2.25.1", "2.25.1.1", "2.25.1.1.1", PatientID="B"))
    for path in ("series/2.25.1.1", "series/2.25.1.1/instances/2.25.1.1.1"):
        assert feed.server.http.get(f"/v1/studies/2.25.1/{path}/metadata").status_code == 500
