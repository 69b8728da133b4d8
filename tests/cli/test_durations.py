"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30), ("4m", 240), ("1h30m", 5400), ("500ms", 0.5), ("1.5s", 1.5), ("1D", 86_400), (" 2m ", 120),
        ("PT30S", 30), ("PT1H30M", 5400), ("P1DT1S", 86_401), ("PT0,5S", 0.5), ("pt4m", 240), ("0s", 0),
    ],
)  # fmt: skip
def test_duration(text: str, seconds: float) -> None:
    """Durations read as people write them, and as ISO 8601 does."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["30", "1.5", "0", "", "s", "P", "PT", "P1M", "P1DT", "-30s", "30 s", "1m1h", "1w", "inf"]
)
def test_duration_refused(text: str) -> None:
    """A bare number, a month, a sign and the empty string are refused, with an example of what is right."""
    with pytest.raises(ValueError, match="write .*30s"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**13).map(lambda count: timedelta(milliseconds=count)))
def test_duration_round_trip(duration: timedelta) -> None:
    """What is printed reads as the same duration, to the millisecond."""
    assert parse_duration(format_duration(duration)) == duration


def test_duration_prints_short() -> None:
    """A duration prints as an operator would write it."""
    printed = [format_duration(parse_duration(text)) for text in ("PT5400S", "500ms", "0s", "90s")]
    assert printed == ["1h30m", "500ms", "0s", "1m30s"]
