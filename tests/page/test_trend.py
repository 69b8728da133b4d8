"""The last day in memory, and what a peer is to us: bounded, and never better than it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dicomcast.errors import Conflict, DicomCastError, NotFound, Retriable, Stumbled, Unauthorized, Unreachable
from dicomcast.standing import Condition, Standing
from dicomcast.trend import MINUTE, Sample, Trend, buckets
from tests.stores import NOW

START = int(NOW.timestamp())


def test_a_minute_is_one_sample_and_its_worst() -> None:
    """However often it is noted; studies are those of the minute."""
    trend = Trend()
    trend.note(NOW, 5.0, True, 10)
    trend.note(NOW + timedelta(seconds=20), 90.0, False, 12)
    trend.note(NOW + timedelta(seconds=59), None, True, 12)
    trend.note(NOW + timedelta(seconds=61), None, True, 15)
    assert trend.samples == (Sample(START, 90.0, False, 12), Sample(START + MINUTE, None, True, 3))


def test_it_is_a_day_long_for_ever() -> None:
    """A worker runs for months."""
    trend = Trend()
    for minute in range(3 * 24 * 60):
        trend.note(NOW + timedelta(minutes=minute), float(minute), True, minute)
    assert len(trend.samples) == 24 * 60
    assert trend.samples[0].lag == 2 * 24 * 60


def test_a_clock_that_is_set_back_makes_no_second_minute() -> None:
    """Samples stay in their order."""
    trend = Trend()
    trend.note(NOW, 1.0, True, 1)
    trend.note(NOW - timedelta(hours=1), 7.0, True, 2)
    assert trend.samples == (Sample(START, 7.0, True, 2),)


def test_buckets_take_the_worst_and_leave_gaps() -> None:
    """What lies outside is left out, and a stretch without a sample is not taken for a good one."""
    samples = [
        Sample(START - 10 * MINUTE, 9.0, False, 9),
        Sample(START - 4 * MINUTE, 1.0, True, 2),
        Sample(START - 3 * MINUTE, 5.0, False, 1),
        Sample(START, 8.0, True, 1),
    ]
    found = buckets(samples, START, 2 * MINUTE, 3)
    assert found == [None, Sample(START - 4 * MINUTE, 5.0, False, 3), None]


@pytest.mark.parametrize(
    ("error", "condition"),
    [
        (None, Condition.UP),
        (NotFound("", peer="fhir", status=404), Condition.UP),
        (Conflict("", peer="fhir", status=412), Condition.UP),
        (Retriable("", peer="fhir", status=429), Condition.THROTTLED),
        (Unauthorized("", peer="fhir", status=401), Condition.REFUSED),
        (Unreachable("", peer="fhir"), Condition.AWAY),
        (Stumbled("", peer="fhir", status=500), Condition.UNASKED),
    ],
)
def test_what_a_peer_is(error: DicomCastError | None, condition: Condition) -> None:
    """By its last answer; one that it stumbles over may be the request's fault and says nothing."""
    standing = Standing()
    standing.note(error)
    assert standing.condition is condition


def test_since_is_when_it_became_so() -> None:
    """And not when it was last so."""
    standing = Standing(Condition.UP, datetime(2020, 1, 1, tzinfo=UTC))
    standing.note(None)
    assert standing.since.year == 2020
    standing.note(Unreachable("", peer="fhir"))
    assert standing.since.year > 2020
