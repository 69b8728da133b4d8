"""What the worker says of itself: how far behind it is, since when, and what it is at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dicomcast.model import Cursor, Outcome
from dicomcast.vitals import Backlog, Phase, Report, Vitals
from tests.stores import MINUTE, NOW, row

AT_TEN = Cursor(10, "2026-01-01T11:50:00.1234567Z")  # ten minutes before NOW, nearly


def behind(entries: int = 5, settled: Cursor = AT_TEN) -> Backlog:
    return Backlog(settled, Cursor(settled.sequence + entries))


# --- The backlog ---


def test_entries_that_are_not_settled() -> None:
    """The distance of two sequences; a feed whose newest entry was deleted since is not negative."""
    assert behind(5).entries == 5
    assert behind(0).entries == 0
    assert Backlog(Cursor(10), Cursor(7)).entries == 0


def test_what_cannot_be_measured_is_not_known() -> None:
    """Of an archive without a feed nobody knows what is left: that is None, and neither nothing nor everything."""
    backlog = Backlog.of(AT_TEN, Cursor(15), [row("1")], measurable=False)
    assert (backlog.entries, backlog.parked) == (None, 1)
    assert backlog.seconds(NOW, NOW) is None
    vitals = Vitals(phase=Phase.ACTIVE, polled_at=NOW)
    vitals.stock(backlog)
    assert vitals.lag_seconds(NOW + MINUTE) is None
    assert vitals.caught_up_at is None
    vitals.stock(Backlog(AT_TEN, AT_TEN))
    assert vitals.lag_seconds(NOW + MINUTE) == 0 and vitals.caught_up_at is not None


def test_rows_are_counted_by_whether_they_live() -> None:
    """Parked are those that are tried again, dead those that are not; the oldest of both is the oldest."""
    rows = [
        row("1", first_seen=NOW - 3 * MINUTE),
        row("2", first_seen=NOW - 9 * MINUTE, next_attempt=None),
        row("3", first_seen=None),
    ]
    backlog = Backlog.of(AT_TEN, AT_TEN, iter(rows))
    assert (backlog.parked, backlog.dead, backlog.oldest) == (2, 1, NOW - 9 * MINUTE)
    assert backlog.oldest_seconds(NOW) == 540
    assert sum(backlog.reasons.values()) == 3
    assert Backlog.of(AT_TEN, AT_TEN, []).oldest_seconds(NOW) is None


def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    """Ages are for alarms."""
    assert Backlog(oldest=NOW + MINUTE).oldest_seconds(NOW) == 0
    assert behind().seconds(NOW - timedelta(days=1), None) == 0


@pytest.mark.parametrize(
    ("backlog", "caught_up_at", "seconds"),
    [
        (behind(0), None, 0),
        (behind(0), NOW - 30 * MINUTE, 0),
        (behind(5), None, 599.877),
        (behind(5), NOW - MINUTE, 60),
        (behind(5), NOW - 30 * MINUTE, 599.877),
        (behind(5, Cursor(10)), NOW - 30 * MINUTE, 1800),
        (behind(5, Cursor(0)), None, None),
    ],
)
def test_how_long_the_oldest_entry_waits(
    backlog: Backlog, caught_up_at: datetime | None, seconds: float | None
) -> None:
    """No longer than since the last settled entry, or since all was settled, whichever is later."""
    assert backlog.seconds(NOW, caught_up_at) == pytest.approx(seconds, abs=0.001)


# --- Lag ---


def test_in_step_there_is_no_lag() -> None:
    """However long nothing happened in the archive."""
    vitals = Vitals(phase=Phase.ACTIVE, polled_at=NOW)
    vitals.stock(behind(0))
    assert vitals.lag_seconds(NOW + timedelta(days=30)) == 0


def test_lag_grows_while_behind() -> None:
    """By a second a second, until it is caught up."""
    vitals = Vitals(phase=Phase.ACTIVE, backlog=behind(5))
    assert vitals.lag_seconds(NOW + MINUTE) - vitals.lag_seconds(NOW) == 60
    vitals.stock(behind(0))
    assert vitals.lag_seconds(NOW + MINUTE) == 0


def test_lag_starts_anew_after_it_was_caught_up() -> None:
    """An entry that comes after a quiet month is not a month late."""
    vitals = Vitals(phase=Phase.ACTIVE)
    vitals.stock(behind(0))
    assert vitals.caught_up_at is not None
    vitals.stock(behind(1))
    assert vitals.lag_seconds(vitals.caught_up_at + MINUTE) == 60


def test_blocked_lag_grows_since_the_feed_was_read() -> None:
    """While a peer is away nobody knows what is new: the lag is what it may be."""
    vitals = Vitals(polled_at=NOW)
    vitals.stock(behind(0))
    vitals.enter(Phase.BLOCKED, "dicom does not answer")
    assert [vitals.lag_seconds(NOW + minutes * MINUTE) for minutes in (0, 1, 60)] == [0, 60, 3600]
    vitals.enter(Phase.ACTIVE)
    assert vitals.lag_seconds(NOW + 60 * MINUTE) == 0


def test_blocked_lag_is_no_less_than_the_backlog() -> None:
    """Blocked in the middle of a backlog, the older of both counts."""
    vitals = Vitals(polled_at=NOW - MINUTE, backlog=behind(5))
    vitals.enter(Phase.BLOCKED, "fhir does not answer")
    assert vitals.lag_seconds(NOW) == pytest.approx(599.877, abs=0.001)


def test_a_worker_that_never_read_the_feed_lags_since_it_started() -> None:
    """Started while a peer is away, it does not claim to be in step, however often it tries."""
    vitals = Vitals(started=NOW)
    for _ in range(3):
        vitals.enter(Phase.ACTIVE)
        vitals.enter(Phase.BLOCKED, "dicom does not answer")
    assert vitals.lag_seconds(NOW + 90 * MINUTE) == 5400


def test_one_that_stands_by_knows_of_no_lag() -> None:
    """What it knew when it was active is another worker's by now, and would be an alarm that never ends."""
    vitals = Vitals(phase=Phase.ACTIVE, backlog=Backlog(AT_TEN, Cursor(15), 3, 1, NOW))
    vitals.enter(Phase.STANDBY, "another worker is active")
    assert vitals.lag_seconds(NOW + 90 * MINUTE) is None
    assert vitals.backlog is None


# --- The trend ---


def test_a_sample_says_how_it_was() -> None:
    """Starting, active and standing by are no trouble; blocked is, and so is a peer in trouble."""
    for phase in Phase:
        vitals = Vitals(phase=phase, started=NOW, polled_at=NOW - MINUTE)
        vitals.report.outcomes[Outcome.CREATED] = 3
        vitals.sample(NOW)
        (sample,) = vitals.trend.samples
        assert (sample.well, sample.studies) == (phase is not Phase.BLOCKED, 3)
        assert sample.lag == (60 if phase is Phase.BLOCKED else None)


def test_the_last_deeds_are_kept() -> None:
    """Newest first, and only so many."""
    vitals = Vitals()
    for number in range(20):
        vitals.did("window", {Outcome.CREATED: number})
    assert [deed.outcomes[Outcome.CREATED] for deed in vitals.deeds] == [19, 18, 17, 16, 15, 14]


# --- Phase and report ---


def test_a_phase_is_news_once() -> None:
    """The log says it once; `since` is that of the phase, whatever its reason becomes."""
    vitals = Vitals()
    began = vitals.since
    assert vitals.enter(Phase.BLOCKED, "dicom") is True
    since = vitals.since
    assert since >= began
    assert vitals.enter(Phase.BLOCKED, "dicom") is False
    assert vitals.enter(Phase.BLOCKED, "fhir") is True
    assert (vitals.since, vitals.reason) == (since, "fhir")
    assert vitals.enter(Phase.ACTIVE) is True
    assert (vitals.phase, vitals.reason) == (Phase.ACTIVE, "")


def test_a_report_counts_by_outcome() -> None:
    """For people what there was, for programs all of it."""
    report = Report()
    assert str(report) == "nothing new"
    for outcome in (Outcome.CREATED, Outcome.PARKED, Outcome.CREATED):
        report.count(outcome)
    assert str(report) == "2 created, 1 parked"
    report.handed_over = 3
    assert str(report) == "2 created, 1 parked, 3 handed to the active worker, for its next poll"
    assert report.facts == {
        "created": 2,
        "updated": 0,
        "unchanged": 0,
        "deleted": 0,
        "skipped": 0,
        "parked": 1,
        "handed_over": 3,
    }


def test_moments_are_aware() -> None:
    """Nothing is compared with a clock that has no zone."""
    assert Vitals().since.tzinfo is UTC


def test_the_age_of_the_beginning_is_not_known() -> None:
    """Before the first window nobody knows how old the oldest entry is: an alert should not take that for 0."""
    backlog = Backlog(latest=Cursor(165, "2026-01-01T00:00:00Z"))
    assert backlog.entries == 165
    assert backlog.seconds(NOW, None) is None
    assert Vitals(phase=Phase.ACTIVE, backlog=backlog).lag_seconds(NOW) is None
