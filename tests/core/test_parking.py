"""The row of a study that stepped aside: why, since when, and when it is tried again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.errors import Conflict, NotFound, Rejected, Retriable
from dicomcast.model import Parked, Stage, StudyDelta
from dicomcast.parking import due_now, park
from tests.stores import MINUTE, NOW, key

HOUR = timedelta(hours=1)
ERROR = Rejected("fhir answered 422", reason="refused", peer="fhir", status=422, codes=("invalid Patient.name",))


def delta(*sequences: int, uid: str = "1.2", fault: str = "") -> StudyDelta:
    return StudyDelta(key(uid), sequences=sequences, fault=fault)


def test_the_first_time() -> None:
    """A row says what happened to which entries, and is tried again in a minute."""
    assert park(delta(5, 3, 9), None, ERROR, NOW) == Parked(
        key=key("1.2"),
        first_sequence=3,
        last_sequence=9,
        stage=Stage.WRITE,
        reason="refused",
        message="fhir answered 422",
        status=422,
        codes=("invalid Patient.name",),
        attempts=1,
        first_seen=NOW,
        last_seen=NOW,
        next_attempt=NOW + MINUTE,
    )


def test_the_schedule_until_it_is_a_dead_letter() -> None:
    """One minute, doubled up to six hours, for about a week; then nobody tries until somebody asks."""
    waits, now, row = [], NOW, park(delta(1), None, ERROR, NOW)
    while row.next_attempt is not None:
        waits.append(row.next_attempt - now)
        now = row.next_attempt
        row = park(delta(), row, ERROR, now)
    assert waits == [2**doubled * MINUTE for doubled in range(9)] + [6 * HOUR] * 26
    assert (row.attempts, row.first_seen, row.last_seen) == (36, NOW, now)
    assert timedelta(days=6) < now - NOW < timedelta(days=8)


def test_a_retry_that_fails_keeps_the_history() -> None:
    """First seen and the sequences stay, the reason is that of the last attempt."""
    row = park(delta(5, 9), None, ERROR, NOW)
    later = NOW + HOUR
    again = park(delta(7, 12), row, NotFound("gone", reason="not-found", peer="dicom", status=404), later)
    assert (again.first_sequence, again.last_sequence, again.attempts) == (5, 12, 2)
    assert (again.first_seen, again.last_seen, again.next_attempt) == (NOW, later, later + 2 * MINUTE)
    assert (again.stage, again.reason, again.message, again.status, again.codes) == (
        Stage.READ,
        "not-found",
        "gone",
        404,
        (),
    )


@pytest.mark.parametrize(
    ("error", "fault", "stage", "reason", "status"),
    [
        (Rejected("x", reason="multiple-match"), "", Stage.MAP, "multiple-match", None),
        (Rejected("x", reason="metadata-not-json", peer="dicom"), "", Stage.READ, "metadata-not-json", None),
        (Rejected("x", reason="refused", peer="fhir", status=422), "", Stage.WRITE, "refused", 422),
        (NotFound("x", reason="not-found", peer="dicom", status=410), "", Stage.READ, "not-found", 410),
        (Retriable("x", peer="dicom", status=500), "", Stage.READ, "no-usable-answer", 500),
        (Retriable("x", peer="fhir"), "", Stage.WRITE, "no-usable-answer", None),
        (Conflict("x", peer="fhir", status=412), "", Stage.WRITE, "no-usable-answer", 412),
        (Rejected("x", reason="entry-not-understood"), "entry 7 …", Stage.FEED, "entry-not-understood", None),
        (Rejected("x", reason="refused", peer="fhir", status=400), "entry 7 …", Stage.FEED, "refused", 400),
    ],
)
def test_the_stage_is_where_it_stopped(
    error: Rejected | Retriable, fault: str, stage: Stage, reason: str, status: int | None
) -> None:
    """The peer that refused tells the stage, and what is wrong with the entry itself comes before that."""
    row = park(delta(1, fault=fault), None, error, NOW)
    assert (row.stage, row.reason, row.status) == (stage, reason, status)


def test_a_long_message_is_cut() -> None:
    """A table has to hold it."""
    row = park(delta(1), None, Rejected("x" * 5000), NOW)
    assert row.message == "x" * 256
    assert park(delta(1), None, Rejected("y" * 256), NOW).message == "y" * 256


def test_a_study_without_a_name_is_dead_at_once() -> None:
    """There is nothing that could be read again."""
    row = park(delta(7, uid="", fault="entry 7 names no study"), None, Rejected("entry 7 names no study"), NOW)
    assert (row.next_attempt, row.attempts, row.first_sequence) == (None, 1, 7)


def test_a_study_that_came_from_no_entry() -> None:
    """A replay of a study by its UID knows no sequence."""
    row = park(delta(), None, ERROR, NOW)
    assert (row.first_sequence, row.last_sequence) == (0, 0)


def test_a_dead_letter_lives_again() -> None:
    """Asked for, it is due now and has all its attempts before it; why it was parked stays until then."""
    dead = replace(park(delta(5, 9), None, ERROR, NOW), attempts=36, next_attempt=None)
    later = NOW + 30 * HOUR
    revived = due_now(dead.key, dead, later)
    assert revived == replace(dead, attempts=0, next_attempt=later)
    assert park(delta(), revived, ERROR, later).next_attempt == later + MINUTE


def test_a_study_that_is_not_parked_is_asked_for() -> None:
    """A replay beside an active worker leaves it a row that is due."""
    asked = due_now(key("1.2", "north"), None, NOW)
    assert (asked.key.partition, asked.reason, asked.attempts, asked.next_attempt) == (
        "north",
        "replay-requested",
        0,
        NOW,
    )


@given(st.lists(st.sets(st.integers(1, 10**12), max_size=4), min_size=1, max_size=45))
def test_a_row_spans_all_its_entries(history: list[set[int]]) -> None:
    """However often a study is parked, its row reaches from the first to the last of its entries."""
    row = None
    for sequences in history:
        row = park(delta(*sequences), row, ERROR, NOW)
    assert row is not None
    known = set().union(*history)
    if history[0]:
        assert (row.first_sequence, row.last_sequence) == (min(known), max(known))
    assert row.attempts == len(history)
    assert (row.next_attempt is None) == (len(history) >= 36)
