"""From entries to deltas: the state at the time of reading decides, not the action."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.grouping import group
from dicomcast.model import Action, Entry, EntryState, Instance, InstanceKey, StudyDelta, StudyKey
from tests.metadata import metadata

SOURCE = "https://dicom.example"
KEY = InstanceKey("1.2.1", "1.2.1.1")
CREATE, UPDATE, DELETE, OTHER = Action
CURRENT, REPLACED, DELETED, UNKNOWN = EntryState


def entry(sequence: int, action: Action, state: EntryState, told: Any = None, **fields: Any) -> Entry:
    """A row about instance 1.2.1.1 of study 1.2, unless `fields` say otherwise."""
    uids = {"partition": "", "study_uid": "1.2", "series_uid": "1.2.1", "instance_uid": "1.2.1.1", **fields}
    return Entry(sequence, action=action, state=state, timestamp="2024-01-01T00:00:00Z", metadata=told, **uids)


def only(*entries: Entry) -> StudyDelta:
    """The delta of entries of one study."""
    (delta,) = group(SOURCE, entries)
    return delta


OLD, NEW = metadata(PatientID="old"), metadata(PatientID="new")


@pytest.mark.parametrize(
    ("rows", "present"),
    [
        # A create that is still true, and an update in place.
        ([(CREATE, CURRENT, NEW)], NEW),
        ([(CREATE, REPLACED, NEW), (UPDATE, CURRENT, NEW)], NEW),
        ([(UPDATE, CURRENT, NEW)], NEW),
        # Deleted: the older rows of the instance have flipped to Deleted, or were read before they did.
        ([(CREATE, DELETED, None), (DELETE, DELETED, None)], None),
        ([(CREATE, CURRENT, OLD), (DELETE, DELETED, None)], None),
        ([(CREATE, DELETED, None)], None),
        ([(DELETE, DELETED, None)], None),
        # Deleted and stored again: all rows carry the new instance, the Delete row too.
        ([(CREATE, REPLACED, NEW), (DELETE, REPLACED, NEW), (CREATE, CURRENT, NEW)], NEW),
        ([(CREATE, REPLACED, NEW), (DELETE, REPLACED, NEW)], NEW),
        ([(DELETE, REPLACED, NEW)], NEW),
        # Read before the new instance was there, and after: the row read last is the truth.
        ([(CREATE, DELETED, None), (DELETE, DELETED, None), (CREATE, CURRENT, NEW)], NEW),
        ([(CREATE, CURRENT, OLD), (CREATE, CURRENT, NEW)], NEW),
        # A row that was replaced, and its later row outside the window: it tells the newest.
        ([(CREATE, REPLACED, NEW)], NEW),
    ],
)
def test_state_decides(rows: list[Any], present: Any) -> None:
    """Deleted removes, anything else upserts what the row tells; only the last row of an instance counts."""
    delta = only(*(entry(number, *row) for number, row in enumerate(rows, start=1)))
    assert delta.deleted == (frozenset() if present else {KEY})
    assert delta.instances == ({KEY: Instance(KEY, present)} if present else {})
    assert delta.fault == ""
    assert delta.sequences == tuple(range(1, len(rows) + 1))
    assert not delta.snapshot


@pytest.mark.parametrize("action", [CREATE, UPDATE, DELETE])
@pytest.mark.parametrize("state", [CURRENT, REPLACED])
def test_instance_of_which_nothing_is_told_must_be_read(action: Action, state: EntryState) -> None:
    """An entry without metadata, as of a page that failed with them, is present until it was read; never removed."""
    delta = only(entry(1, action, state))
    assert delta.instances == {KEY: Instance(KEY, None)}
    assert (delta.deleted, delta.fault) == (frozenset(), "")


def test_instances_are_coalesced_each_for_itself() -> None:
    """The last row of one instance says nothing of another, also in the same series."""
    other = InstanceKey("1.2.1", "1.2.1.2")
    delta = only(
        entry(1, CREATE, DELETED),
        entry(2, CREATE, CURRENT, NEW, instance_uid="1.2.1.2"),
        entry(3, DELETE, DELETED),
    )
    assert delta.deleted == {KEY}
    assert list(delta.instances) == [other]


def test_one_delta_for_each_study_of_a_partition() -> None:
    """Studies come in the order of their first entry; the same UID in two partitions is two studies."""
    deltas = group(
        SOURCE,
        [
            entry(5, CREATE, CURRENT, NEW, study_uid="1.3"),
            entry(6, CREATE, CURRENT, NEW),
            entry(7, CREATE, CURRENT, NEW, partition="north"),
            entry(8, CREATE, CURRENT, NEW, study_uid="1.3", instance_uid="1.2.1.2"),
        ],
    )
    assert [(delta.key, delta.sequences) for delta in deltas] == [
        (StudyKey(SOURCE, "", "1.3"), (5, 8)),
        (StudyKey(SOURCE, "", "1.2"), (6,)),
        (StudyKey(SOURCE, "north", "1.2"), (7,)),
    ]


def test_no_entries_no_deltas() -> None:
    """A window may be empty."""
    assert group(SOURCE, []) == []


@pytest.mark.parametrize(("action", "state"), [(OTHER, CURRENT), (CREATE, UNKNOWN), (OTHER, UNKNOWN), (OTHER, DELETED)])
def test_unknown_action_or_state_is_a_fault_of_its_study(action: Action, state: EntryState) -> None:
    """What we do not understand parks its study, even if a later row is clear; other studies go on."""
    faulty, sound = group(
        SOURCE,
        [entry(7, action, state, NEW), entry(8, CREATE, CURRENT, NEW), entry(9, CREATE, CURRENT, NEW, study_uid="1.3")],
    )
    assert faulty.fault == "entry 7 of the change feed has an action or state that is not known"
    assert sound.fault == ""


@pytest.mark.parametrize("uid", ["study_uid", "series_uid", "instance_uid"])
def test_entry_without_uid_is_a_fault(uid: str) -> None:
    """An entry that does not say what it is about cannot be acted upon."""
    assert only(entry(7, CREATE, CURRENT, NEW, **{uid: ""})).fault == (
        "entry 7 of the change feed names no study, series or instance"
    )


ODD = [
    "1.2/../../x",
    "1.2?x",
    "..",
    ".",
    "1.2#x",
    "1.2 3",
    "1.2|3",
    "1.2,3",
    "%2E",
    "Doe^Jane",
    "1" * 65,
    "1.2\n",
    "١.٢",
]


@pytest.mark.parametrize("uid", ODD)
def test_study_without_a_usable_uid_is_a_fault(uid: str) -> None:
    """What means something in a URL or a search names no study: it gets into no key, and its text into no message."""
    delta = only(entry(7, CREATE, CURRENT, NEW, study_uid=uid))
    assert delta.fault == "entry 7 of the change feed names a StudyInstanceUID that is no UID"
    assert delta.key == StudyKey(SOURCE, "", "")


@pytest.mark.parametrize("uid", ["1.2", "1.02.3", "0", "1.2.a-b", "1" * 64])
def test_study_with_a_uid_as_the_service_takes_it(uid: str) -> None:
    """Leading zeros, letters and hyphens are found in archives and do no harm."""
    delta = only(entry(7, CREATE, CURRENT, None, study_uid=uid))
    assert (delta.fault, delta.key.study_uid) == ("", uid)


def test_entries_that_name_no_study_are_told_apart_from_those_that_do() -> None:
    """They share one delta in each partition, which tells of all of them; no study waits for it."""
    deltas = group(
        SOURCE,
        [
            entry(7, CREATE, CURRENT, NEW, study_uid=""),
            entry(8, CREATE, CURRENT, NEW),
            entry(9, CREATE, CURRENT, NEW, study_uid="../x", instance_uid="1.2.1.2"),
            entry(10, CREATE, CURRENT, NEW, study_uid="", partition="north"),
        ],
    )
    assert [(delta.key.partition, delta.key.study_uid, delta.sequences) for delta in deltas] == [
        ("", "", (7, 9)),
        ("", "1.2", (8,)),
        ("north", "", (10,)),
    ]
    assert [bool(delta.fault) for delta in deltas] == [True, False, True]


@pytest.mark.parametrize(
    ("keyword", "uid"), [("StudyInstanceUID", "1.2"), ("SeriesInstanceUID", "1.2.1"), ("SOPInstanceUID", "1.2.1.1")]
)
def test_metadata_of_another_instance_are_a_fault(keyword: str, uid: str) -> None:
    """Metadata that name another study, series or instance than their entry are not mapped; padding is nothing."""
    assert only(entry(7, CREATE, CURRENT, metadata(**{keyword: f"{uid}\x00"}))).fault == ""
    fault = only(entry(7, CREATE, CURRENT, metadata(**{keyword: "9.9"}))).fault
    assert fault == f"entry 7 of the change feed carries metadata of another instance: its {keyword} is not the entry's"
    # Nobody maps the metadata of what is gone.
    assert only(entry(7, DELETE, DELETED, metadata(**{keyword: "9.9"}))).fault == ""


rows = st.lists(
    st.tuples(
        st.sampled_from([CREATE, UPDATE, DELETE]), st.sampled_from([CURRENT, REPLACED, DELETED]), st.integers(1, 3)
    ),
    max_size=12,
)


@given(rows)
def test_only_the_last_row_of_each_instance_counts(rows: list[Any]) -> None:
    """Dropping all rows but the last of each instance gives the same instances and deletions."""
    entries = [
        entry(number, action, state, NEW, instance_uid=f"1.2.1.{which}")
        for number, (action, state, which) in enumerate(rows, start=1)
    ]
    last = {one.instance_uid: one for one in entries}
    whole, short = group(SOURCE, entries), group(SOURCE, last.values())
    assert [(one.instances, one.deleted) for one in whole] == [(one.instances, one.deleted) for one in short]
    for delta in whole:
        assert {key.instance_uid for key in delta.deleted} == {uid for uid, one in last.items() if one.state is DELETED}
