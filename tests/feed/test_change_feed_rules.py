"""What the entries of the change feed mean: five rules that follow from how the service writes and reads its rows."""

from __future__ import annotations

import pytest

from dicomcast.dicom import by_sequence
from dicomcast.errors import SourceReset
from dicomcast.grouping import group
from dicomcast.mapping.tags import tag
from dicomcast.model import Action, EntryState, Instance, InstanceKey
from tests.harness import Harness
from tests.reader import Reader

BOTH = pytest.mark.parametrize("reader", ["v1", "v2"], indirect=True)
V1 = pytest.mark.parametrize("reader", ["v1"], indirect=True)
CURRENT, REPLACED, DELETED = EntryState.CURRENT, EntryState.REPLACED, EntryState.DELETED


def change(**attributes: str) -> dict[str, object]:
    return {tag(keyword): {"vr": "LO", "Value": [value]} for keyword, value in attributes.items()}


@BOTH
async def test_rule_1_rows_are_appended_but_state_and_metadata_tell_the_present(reader: Reader) -> None:
    """Reading again gives the same rows with another state; the last row of an instance says all that they say."""
    reader.store("1.2.1.1", StudyDescription="old")
    reader.store("1.2.1.2")
    reader.later()
    await reader.read()
    reader.delete("1.2.1.1")
    reader.store("1.2.1.1", StudyDescription="new")
    reader.archive.bulk_update("Microsoft.Default", ["1.2"], change(PatientID="P2"))
    reader.later()
    first, reader.cursor, reader.delivered = reader.delivered, None, []
    await reader.read()
    again = reader.delivered
    assert [(one.sequence, one.timestamp, one.action) for one in again[:2]] == [
        (one.sequence, one.timestamp, one.action) for one in first
    ]
    assert [one.state for one in first] == [CURRENT, CURRENT]
    assert [one.state for one in again] == [REPLACED, REPLACED, REPLACED, REPLACED, CURRENT, CURRENT]
    (everything,), (coalesced,) = group("s", again), group("s", again[-2:])
    assert (everything.instances, everything.deleted) == (coalesced.instances, coalesced.deleted)


@BOTH
async def test_rule_2_the_state_decides_and_never_a_delete_that_was_replaced(reader: Reader) -> None:
    """Create, delete, create is Replaced, Replaced, Current, all with the new metadata; deleted for good is Deleted."""
    reader.store("1.2.1.1", StudyDescription="old")
    reader.delete("1.2.1.1")
    reader.store("1.2.1.1", StudyDescription="new")
    reader.store("1.2.1.2")
    reader.delete("1.2.1.2")
    reader.later()
    await reader.read()
    assert reader.states == [REPLACED, REPLACED, CURRENT, DELETED, DELETED]
    assert [entry.action for entry in reader.delivered] == ["create", "delete", "create", "create", "delete"]
    described = [entry.metadata and entry.metadata[tag("StudyDescription")]["Value"] for entry in reader.delivered[:3]]
    assert described == [["new"]] * 3
    assert [entry.metadata for entry in reader.delivered[3:]] == [None, None]
    key = InstanceKey("1.2.1", "1.2.1.1")
    for rows in (reader.delivered[:2], reader.delivered[1:2], reader.delivered[:3]):
        (delta,) = group("s", rows)
        assert delta.instances == {key: Instance(key, rows[-1].metadata)}
        assert delta.deleted == frozenset()
    (delta,) = group("s", reader.delivered)
    assert delta.deleted == {InstanceKey("1.2.1", "1.2.1.2")}


@BOTH
async def test_rule_3_an_update_is_a_row_for_each_instance_without_what_was_before(reader: Reader) -> None:
    """A bulk update adds one row per instance, all of one time, and nothing tells the PatientID that was."""
    for number in range(3):
        reader.store(f"1.2.1.{number}")
    reader.later(1)
    reader.archive.bulk_update("Microsoft.Default", ["1.2"], change(PatientID="P2"))
    reader.later()
    await reader.read()
    updates = [entry for entry in reader.delivered if entry.action is Action.UPDATE]
    assert [entry.instance_uid for entry in updates] == ["1.2.1.0", "1.2.1.1", "1.2.1.2"]
    assert len({entry.timestamp for entry in updates}) == 1
    assert reader.states == [REPLACED] * 3 + [CURRENT] * 3
    assert {entry.metadata[tag("PatientID")]["Value"][0] for entry in reader.delivered if entry.metadata} == {"P2"}


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_rule_3_the_old_patient_is_found_from_fhir_and_kept_as_it_was(api: str) -> None:
    """A changed PatientID leaves the old Patient alone if it has another study; what else changed reaches FHIR."""
    harness = Harness(api=api)
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientName="Doe", AccessionNumber="A1", StudyDate="20240101")
    harness.put("1.3", "1.3.1", "1.3.1.1", PatientName="Doe", StudyDate="20240301")
    await harness.cast()
    (old,) = harness.patients()
    updated = change(PatientID="P2", PatientSex="F", PatientBirthDate="19700102", AccessionNumber="A2")
    harness.archive.bulk_update("Microsoft.Default", ["1.2"], updated | change(StudyDescription="knee"))
    await harness.cast()
    assert [one for one in harness.patients() if one["id"] == old["id"]] == [old]
    (new,) = (one for one in harness.patients() if one["id"] != old["id"])
    assert (new["gender"], new["birthDate"]) == ("female", "1970-01-02")
    study = next(one for one in harness.studies() if one["subject"]["reference"] == f"Patient/{new['id']}")
    assert study["description"] == "knee"
    assert "A2" in str(study["identifier"]) and "A1" not in str(study["identifier"])
    await harness.close()


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_rule_4_metadata_is_taken_as_loosely_as_the_service_keeps_it(api: str) -> None:
    """Numbers as text, NUL padding, UIDs with letters, and attributes that v2 STOW-RS dropped do not stop a study."""
    harness = Harness(api=api)
    study, series = "1.2.a-b", "1.2.a-b.1"
    harness.put(study, series, f"{series}.1", SeriesNumber="7 ", InstanceNumber=1.0, PatientID="P1\0", StudyDate=None)
    harness.put(study, series, f"{series}.2", SeriesNumber=7, InstanceNumber="2\0", PatientID="P1 ", StudyDate=None)
    await harness.cast()
    (made,) = harness.study()["series"]
    assert (made["number"], [one["number"] for one in made["instance"]]) == (7, [1, 2])
    assert harness.study()["identifier"][0]["value"] == "1.2.a-b"
    assert [one["identifier"][0]["value"] for one in harness.patients()] == ["P1"]
    await harness.close()


@V1
async def test_rule_5_an_empty_page_is_no_end_of_feed_v1(reader: Reader) -> None:
    """After a failover 10,000 sequences are missing: the reader goes on by the limit until it is past them."""
    reader.store("1.2.1.1")
    reader.archive.skip_sequences(10_000)
    reader.store("1.2.1.2")
    reader.later()
    await reader.read()
    assert reader.sequences == [1, 10_002]
    offsets = [int(query["offset"]) for query in reader.wire.asked("/v1/changefeed")]
    assert offsets == list(range(0, 10_001, by_sequence.LIMIT))


@BOTH
async def test_rule_5_a_source_that_was_reset_stops_a_running_worker(reader: Reader) -> None:
    """A feed that ends behind the cursor is another archive, though it was the right one when the worker started."""
    for number in range(3):
        reader.store(f"1.2.1.{number}")
    reader.later()
    feed = await reader.opened()
    await reader.read(feed=feed)
    reader.archive.reset()
    with pytest.raises(SourceReset, match="STATE__URL"):
        await reader.read(feed=feed)


@pytest.mark.parametrize(("versions", "api"), [(["v1", "v2"], "v1"), (["v1", "v2"], "v2"), (["v2"], "v2")])
async def test_rule_5_a_source_that_was_reset_and_filled_again_is_refused(versions: list[str], api: str) -> None:
    """A recreated archive that has newer entries than the cursor is known by the entry that was settled last."""
    reader = Reader(api=api, versions=versions)
    for number in range(4):
        reader.store(f"1.2.1.{number}")
    reader.later()
    await reader.read()
    reader.archive.reset()
    for number in range(5 if "v1" in versions else 3):
        reader.store(f"1.2.1.{number}")
    with pytest.raises(SourceReset, match="settled last"):
        await reader.opened()
    await reader.close()


@pytest.mark.parametrize(("versions", "api"), [(["v1", "v2"], "v1"), (["v1", "v2"], "v2"), (["v2"], "v2")])
async def test_rule_5_an_entry_that_is_newest_by_time_alone_is_no_reset(versions: list[str], api: str) -> None:
    """Sequence and time disagree where stores overlap: the newest by either may be lower by the other."""
    reader = Reader(api=api, versions=versions)
    reader.store("1.2.1.1")
    reader.later(5)
    reader.store("1.2.1.2")
    reader.later(-2)
    reader.store("1.2.1.3")
    for _ in range(2):
        reader.later(60)
        await reader.read()
        reader.delete("1.2.1.2")
        reader.later(-1)
        reader.store("1.2.1.2")
    reader.later(60)
    await reader.read()
    assert sorted(reader.sequences) == [1, 2, 3, 4, 5, 6, 7]
    assert reader.states[-1] is not DELETED
    await reader.close()
