"""Timestamps of the change feed: text with seven digits of a second (100 ns ticks), finer than datetime."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

__all__ = ["TICKS", "moment", "text", "ticks"]

TICKS = 10_000_000  # in one second

_FRACTION = re.compile(r"\.(\d+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ticks(timestamp: str) -> int:
    """The 100 ns ticks since 1970 of a timestamp; digits beyond are cut, never rounded up.

    Raises:
        ValueError: it is no timestamp, or has no time zone.
    """
    fraction = _FRACTION.search(timestamp)
    digits = fraction[1][:7].ljust(7, "0") if fraction else "0"
    whole = datetime.fromisoformat(_FRACTION.sub("", timestamp))
    if whole.tzinfo is None:
        raise ValueError("a timestamp of the change feed has no time zone")
    return (whole - _EPOCH) // timedelta(seconds=1) * TICKS + int(digits)


def text(value: int) -> str:
    """Ticks as a timestamp in UTC, which `ticks` reads back."""
    seconds, rest = divmod(value, TICKS)
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]}.{rest:07d}Z"


def moment(value: datetime) -> int:
    """The ticks of a datetime."""
    return (value - _EPOCH) // timedelta(microseconds=1) * (TICKS // 1_000_000)
