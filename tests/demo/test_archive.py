"""The embedded archive: a log of rows whose state is told when it is read, and what goes wrong in real ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from dicomcast.demo import ticks
from dicomcast.demo.archive import Archive, MetadataUnreadable, NotFound, StoreStatus
from dicomcast.demo.bulk_update import ALLOWED_TAGS, MAX_STUDIES
from dicomcast.demo.dicom_json import metadata_of, text
from tests.harness import CT, dataset

MAIN = "Microsoft.Default"
PATIENT_ID, DESCRIPTION = "00100020", "00081030"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def archive(clock: Clock) -> Archive:
    return Archive(clock=clock)


def store(archive: Archive, *instances: str, study: str = "1.2", **attributes: Any) -> list[StoreStatus]:
    return [archive.store(dataset(study, f"{study}.1", instance, **attributes)) for instance in instances]


def rows(archive: Archive) -> list[tuple[int, str, str, str]]:
    found = archive.page_v1(0, 1000)
    return [(one["sequence"], one["action"], one["state"], one["sopInstanceUid"]) for one in found]


def element(value: Any) -> dict[str, Any]:
    return {"vr": "LO", "Value": [value]}


def test_storing_adds_one_create_row(archive: Archive) -> None:
    """A row has the key, the partition, the time, and the metadata of the instance; no nulls, no file path."""
    store(archive, "1.2.1.1")
    (row,) = archive.page_v1()
    metadata = row.pop("metadata")
    assert row == {
        "sequence": 1,
        "partitionName": MAIN,
        "studyInstanceUid": "1.2",
        "seriesInstanceUid": "1.2.1",
        "sopInstanceUid": "1.2.1.1",
        "action": "Create",
        "timestamp": "2026-01-01T00:00:00.0000007+00:00",
        "state": "Current",
    }
    assert text(metadata, PATIENT_ID) == "P1"
    assert "metadata" not in archive.page_v1(include_metadata=False)[0]


def test_what_is_there_is_not_stored_again(archive: Archive) -> None:
    """As STOW-RS asks: delete first. What is being committed is pending. The refused ones add no row."""
    archive.hold(1)
    assert store(archive, "1.2.1.1", "1.2.1.1", "1.2.1.2", "1.2.1.2") == [
        StoreStatus.STORED,
        StoreStatus.PENDING,
        StoreStatus.STORED,
        StoreStatus.EXISTS,
    ]
    archive.release()
    assert [row[0] for row in rows(archive)] == [1, 2]


@pytest.mark.parametrize("uid", ["", "1" * 65, "1.2/3", "1 2", "1.2_3"])
def test_uids_are_1_to_64_letters_digits_dots_and_hyphens(archive: Archive, uid: str) -> None:
    """The service is looser than DICOM, and this is where it stops."""
    assert store(archive, uid) == [StoreStatus.INVALID]
    assert store(archive, "abc-1.2") == [StoreStatus.STORED]


@pytest.mark.parametrize(
    ("series", "instance", "deleted"), [(None, None, 3), ("1.2.1", None, 2), ("1.2.1", "1.2.1.1", 1)]
)
def test_deleting_adds_a_row_for_each_instance_of_one_time(
    archive: Archive, clock: Clock, series: str | None, instance: str | None, deleted: int
) -> None:
    """A study, a series or an instance: their rows share a timestamp, have no metadata, and flip the older ones."""
    store(archive, "1.2.1.1", "1.2.1.2")
    archive.store(dataset("1.2", "1.2.2", "1.2.2.1"))
    clock.move(seconds=1)
    archive.delete(MAIN, "1.2", series, instance)
    page = archive.page_v1(0, 100)
    assert [one["action"] for one in page] == ["Create"] * 3 + ["Delete"] * deleted
    assert len({one["timestamp"] for one in page[3:]}) == 1
    assert [one["state"] for one in page].count("Deleted") == 2 * deleted
    assert all(("metadata" in one) == (one["state"] == "Current") for one in page)


@pytest.mark.parametrize("path", [["9"], ["1.2", "9"], ["1.2", "1.2.1", "9"]])
def test_what_is_not_there_cannot_be_deleted_or_read(archive: Archive, path: list[str]) -> None:
    """At each of the three levels."""
    store(archive, "1.2.1.1")
    with pytest.raises(NotFound):
        archive.delete(MAIN, *path)
    with pytest.raises(NotFound):
        archive.metadata(MAIN, *path)


def test_an_instance_that_is_stored_again_replaces_all_its_older_rows(archive: Archive) -> None:
    """Create, Delete, Create: Replaced, Replaced, Current, and the new metadata on all three."""
    store(archive, "1.2.1.1", StudyDescription="old")
    archive.delete(MAIN, "1.2")
    store(archive, "1.2.1.1", StudyDescription="new")
    page = archive.page_v1()
    assert [one["state"] for one in page] == ["Replaced", "Replaced", "Current"]
    assert [text(one["metadata"], DESCRIPTION) for one in page] == ["new"] * 3


def test_a_bulk_update_adds_a_row_for_each_instance_of_one_time(archive: Archive, clock: Clock) -> None:
    """No row for the study; older rows are Replaced and carry the updated metadata, as does all that is read."""
    store(archive, "1.2.1.1", "1.2.1.2")
    store(archive, "1.3.1.1", study="1.3")
    clock.move(seconds=1)
    result = archive.bulk_update(MAIN, ["1.2", "9.9"], {PATIENT_ID: element("P2")})
    assert (result.updated, result.failed) == ({"1.2": 2}, ["9.9"])
    page = archive.page_v1(0, 100)
    assert [(one["action"], one["state"]) for one in page] == [
        ("Create", "Replaced"),
        ("Create", "Replaced"),
        ("Create", "Current"),
        ("Update", "Current"),
        ("Update", "Current"),
    ]
    assert page[3]["timestamp"] == page[4]["timestamp"]
    assert [text(one["metadata"], PATIENT_ID) for one in page] == ["P2", "P2", "P1", "P2", "P2"]
    assert [text(one, PATIENT_ID) for one in archive.metadata(MAIN, "1.2")] == ["P2", "P2"]


def test_an_update_is_replaced_by_the_next(archive: Archive) -> None:
    """Only the row of the newest version is Current, whatever its action."""
    store(archive, "1.2.1.1")
    for value in ("P2", "P3"):
        archive.bulk_update(MAIN, ["1.2"], {PATIENT_ID: element(value)})
    assert [one["state"] for one in archive.page_v1()] == ["Replaced", "Replaced", "Current"]


@pytest.mark.parametrize(
    ("studies", "change"),
    [
        ([], {PATIENT_ID: element("P2")}),
        ([f"1.{number}" for number in range(MAX_STUDIES + 1)], {PATIENT_ID: element("P2")}),
        (["1.2"], {}),
        (["1.2"], {"00080060": element("MR")}),
        (["1.2"], {"0020000D": element("1.3")}),
        (["1.2"], {PATIENT_ID: {"vr": "LO"}}),
        (["1.2"], {PATIENT_ID: {"vr": "LO", "Value": []}}),
    ],
)
def test_a_bulk_update_is_refused_as_a_whole(
    archive: Archive, studies: list[str], change: dict[str, dict[str, Any]]
) -> None:
    """No studies, more than 50, no change, an attribute that may not change, or a change to null: nothing happens."""
    store(archive, "1.2.1.1")
    with pytest.raises(ValueError, match=r"\w"):
        archive.bulk_update(MAIN, studies, change)
    assert rows(archive) == [(1, "Create", "Current", "1.2.1.1")]


def test_what_a_bulk_update_may_change() -> None:
    """The attributes of the documentation, none of them a sequence or a UID."""
    assert {PATIENT_ID, "00100010", "00100021", "00100030", "00100040", "00080050", "00080090"} <= ALLOWED_TAGS
    assert len(ALLOWED_TAGS) == 36
    assert not ALLOWED_TAGS & {"0020000D", "0020000E", "00080018", "00080016", "00080020", "00080060"}


def test_v1_pages_by_the_value_of_the_sequence(archive: Archive) -> None:
    """A window on (offset, offset + limit], which may be empty though there is more behind it."""
    store(archive, "1.2.1.1")
    archive.skip_sequences(20)
    store(archive, "1.2.1.2")
    assert [one["sequence"] for one in archive.page_v1(0, 10)] == [1]
    assert archive.page_v1(1, 20) == []
    assert [one["sequence"] for one in archive.page_v1(21, 1)] == [22]


def test_v2_pages_by_time_and_row(archive: Archive, clock: Clock) -> None:
    """From startTime to before endTime, by (timestamp, sequence), `offset` rows left out, at most `limit` of them."""
    clock.move(seconds=10)
    store(archive, "1.2.1.1", "1.2.1.2")
    clock.move(seconds=-5)
    store(archive, "1.2.1.3")
    assert [one["sequence"] for one in archive.page_v2()] == [3, 1, 2]
    assert [one["sequence"] for one in archive.page_v2(1, 1)] == [1]
    first, _, last = (one["timestamp"] for one in archive.page_v2())
    assert [one["sequence"] for one in archive.page_v2(start=first, end=last)] == [3]
    assert [one["sequence"] for one in archive.page_v2(start=last)] == [1, 2]
    assert archive.latest_v1() == archive.page_v1(2, 1)[0]
    assert archive.latest_v2() == archive.page_v2(2, 1)[0]


def test_the_latest_of_nothing_is_none(archive: Archive) -> None:
    """Until the first store is committed there is no entry."""
    archive.hold(1)
    store(archive, "1.2.1.1")
    assert (archive.latest_v1(), archive.latest_v2(), archive.page_v1(), archive.page_v2()) == (None, None, [], [])


def test_what_is_held_appears_behind_what_came_later(archive: Archive, clock: Clock) -> None:
    """A held store has its sequence and its time, and nobody sees it, nor its instance, before it is released."""
    archive.hold(1)
    store(archive, "1.2.1.1")
    clock.move(seconds=5)
    store(archive, "1.2.1.2")
    assert [row[0] for row in rows(archive)] == [2]
    assert len(archive.metadata(MAIN, "1.2")) == 1
    archive.release()
    assert [row[0] for row in rows(archive)] == [1, 2]
    assert archive.page_v2()[0]["timestamp"] == "2026-01-01T00:00:00.0000007+00:00"
    store(archive, "1.2.1.3")
    assert len(archive.metadata(MAIN, "1.2")) == 3


@pytest.mark.parametrize("kind", ["missing", "corrupt"])
def test_one_poisoned_instance_fails_whatever_includes_its_metadata(archive: Archive, kind: str) -> None:
    """Pages, the latest entry, WADO-RS of its study; not what is read without metadata, nor other studies."""
    store(archive, "1.2.1.1", "1.2.1.2")
    store(archive, "1.3.1.1", study="1.3")
    archive.poison("1.2", "1.2.1", "1.2.1.2", kind)
    for read in (lambda: archive.page_v1(0, 2), archive.page_v2, lambda: archive.metadata(MAIN, "1.2")):
        with pytest.raises(MetadataUnreadable):
            read()
    assert len(archive.page_v1(0, 2, include_metadata=False)) == 2
    assert len(archive.metadata(MAIN, "1.3")) == len(archive.metadata(MAIN, "1.2", "1.2.1", "1.2.1.1")) == 1
    assert archive.bulk_update(MAIN, ["1.2"], {PATIENT_ID: element("P2")}).failed == ["1.2"]
    archive.heal("1.2", "1.2.1", "1.2.1.2")
    assert len(archive.page_v1(0, 2)) == 2


def test_a_reset_archive_numbers_from_1_again(archive: Archive) -> None:
    """As if the service had been deleted and created anew: no row, no instance, nothing held."""
    archive.hold(1)
    store(archive, "1.2.1.1", "1.2.1.2")
    archive.reset()
    archive.release()
    assert rows(archive) == []
    assert archive.catalogue(MAIN) == []
    store(archive, "1.2.1.2")
    assert rows(archive) == [(1, "Create", "Current", "1.2.1.2")]


def test_the_same_uids_in_two_partitions_are_two_instances() -> None:
    """They are stored, listed, read and deleted apart; their entries name their partition."""
    archive = Archive(partitions=True)
    for partition in ("north", "south"):
        archive.store(dataset("1.2", "1.2.1", "1.2.1.1"), partition)
    archive.delete("north", "1.2")
    assert [(one["partitionName"], one["state"]) for one in archive.page_v1()] == [
        ("north", "Deleted"),
        ("south", "Current"),
        ("north", "Deleted"),
    ]
    assert [one["partitionName"] for one in archive.partition_list()] == ["north", "south"]
    assert len(archive.catalogue("south")) == 1


@pytest.mark.parametrize(("partitions", "name"), [(False, "north"), (True, ""), (True, "a/b"), (True, "n" * 65)])
def test_there_is_no_such_partition(partitions: bool, name: str) -> None:
    """Only where partitions are switched on, and by a name of 1 to 64 letters, digits, `.`, `-` and `_`."""
    with pytest.raises(ValueError, match="not a partition"):
        Archive(partitions=partitions).store(dataset("1.2", "1.2.1", "1.2.1.1"), name)


def test_metadata_has_no_bulk_data_at_any_depth(archive: Archive) -> None:
    """OB OD OF OL OV OW UN are dropped, inside sequences too, and so is the file meta information."""
    inner = {"00080100": element("x"), "00420011": {"vr": "OB", "InlineBinary": "AA=="}}
    metadata = dataset("1.2", "1.2.1", "1.2.1.1") | {
        "00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2"]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "http://x"},
        "00091001": {"vr": "UN", "InlineBinary": "AA=="},
        "00081032": {"vr": "SQ", "Value": [inner]},
    }
    archive.store(metadata)
    (kept,) = archive.metadata(MAIN, "1.2")
    assert kept["00081032"]["Value"] == [{"00080100": element("x")}]
    assert not {"00020010", "7FE00010", "00091001"} & set(kept)


@pytest.fixture
def file() -> Iterator[Dataset]:
    made = Dataset()
    made.SOPClassUID, made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID = CT, "1.2", "1.2.1", "1.2.1.1"
    made.PatientID = "P1"
    return made


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_a_dataset_needs_its_uids(archive: Archive, file: Dataset, keyword: str) -> None:
    """Absent or empty, it is invalid."""
    setattr(file, keyword, "")
    assert archive.store_dataset(file) is StoreStatus.INVALID
    delattr(file, keyword)
    assert archive.store_dataset(file) is StoreStatus.INVALID


def test_a_dataset_needs_a_patient_id_that_may_be_empty(archive: Archive, file: Dataset) -> None:
    """As in v2 STOW-RS."""
    del file.PatientID
    assert archive.store_dataset(file) is StoreStatus.INVALID
    file.PatientID = ""
    assert archive.store_dataset(file) is StoreStatus.STORED


def test_what_cannot_be_converted_is_dropped_alone(file: Dataset) -> None:
    """v2 STOW-RS stores an instance with invalid attributes, and leaves those out of its metadata."""
    file.add_new(0x00200013, "IS", "7")
    file[0x00200013]._value = "seven"
    file.AccessionNumber = "A1\0"
    file.ProcedureCodeSequence = Sequence([Dataset()])
    metadata = metadata_of(file)
    assert "00200013" not in metadata
    assert metadata["00080050"]["Value"] == ["A1\0"]
    assert metadata["00081032"] == {"vr": "SQ", "Value": [{}]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 10_000_000),
        ("1970-01-01T00:00:00.0000001+00:00", 1),
        ("1970-01-01T01:00:00.5+01:00", 5_000_000),
        ("1970-01-02Z", 864_000_000_000),
        ("1969-12-31T23:59:59.9999999Z", -1),
    ],
)
def test_time_is_read_to_the_tick(text: str, expected: int) -> None:
    """Seven digits of a second, in any zone, before 1970 too."""
    assert ticks.parse(text) == expected


@pytest.mark.parametrize("text", ["1970-01-01T00:00:00", "1970-01-01", "1970-01-01T00:00:00 00:00", "", "now", "1970Z"])
def test_time_without_a_zone_is_refused(text: str) -> None:
    """And so is what is no time."""
    with pytest.raises(ValueError, match=r"zone|not a valid"):
        ticks.parse(text)
