"""Time in ticks of 100 ns, the resolution of SQL Server's datetimeoffset(7) and of .NET; datetime stops at 1 µs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

PER_MICROSECOND = 10
MIN = -(2**63)
MAX = 2**63 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO_8601 = re.compile(r"(\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d)?)?)(?:\.(\d{1,7}))?(Z|[+-]\d\d:\d\d)?", re.ASCII)


def of(moment: datetime) -> int:
    """The tick of an aware datetime. The last digit is never 0, so that whoever rounds is found out."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * PER_MICROSECOND + 7


def text(ticks: int) -> str:
    """The form of the change feed: seven decimals and `+00:00`."""
    moment = _EPOCH + timedelta(microseconds=ticks // PER_MICROSECOND)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}{ticks % PER_MICROSECOND}+00:00"


def parse(value: str) -> int:
    """The tick that an ISO 8601 text names; ValueError when it has no time zone or is no time at all."""
    match = _ISO_8601.fullmatch(value)
    if match is None:
        raise ValueError("The value is not a valid date and time.")
    moment, fraction, zone = match.groups()
    if zone is None:
        raise ValueError("Date and time value must specify a time zone.")
    seconds = (datetime.fromisoformat(moment + ("" if "T" in moment else "T00:00") + zone) - _EPOCH) // timedelta(
        seconds=1
    )
    return seconds * 10_000_000 + int((fraction or "").ljust(7, "0"))
