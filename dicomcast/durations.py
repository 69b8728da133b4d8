"""Durations as people write them: `30s`, `4m`, `1h30m`, `500ms`, and ISO 8601 (`PT30S`)."""

from __future__ import annotations

import re
from datetime import timedelta

__all__ = ["format_duration", "parse_duration"]

_SHORT = re.compile(
    r"(?:(?P<days>\d{1,6})d)?(?:(?P<hours>\d{1,9})h)?(?:(?P<minutes>\d{1,9})m)?"
    r"(?:(?P<seconds>\d{1,9}(?:\.\d{1,3})?)s)?(?:(?P<milliseconds>\d{1,9})ms)?",
    re.ASCII,
)
# ISO 8601 without years, months and weeks: those have no fixed length, or nobody polls by them.
_ISO = re.compile(
    r"p(?:(?P<days>\d{1,6})d)?"
    r"(?:t(?=\d)(?:(?P<hours>\d{1,9})h)?(?:(?P<minutes>\d{1,9})m)?(?:(?P<seconds>\d{1,9}(?:[.,]\d{1,3})?)s)?)?",
    re.ASCII,
)
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def parse_duration(text: str) -> timedelta:
    """Read a duration, to the millisecond; the ValueError says what to write and not what was read."""
    text = text.strip().lower()
    if text.replace(".", "", 1).isdecimal():
        raise ValueError("a number needs a unit: write 30s for thirty seconds")
    match = _SHORT.fullmatch(text) or _ISO.fullmatch(text)
    parts = {unit: number for unit, number in match.groupdict().items() if number} if match else {}
    if not parts:
        raise ValueError("write a duration such as 30s, 4m, 1h30m or PT30S")
    return timedelta(**{unit: float(number.replace(",", ".")) for unit, number in parts.items()})


def format_duration(duration: timedelta) -> str:
    """Write a duration the short way, so that `parse_duration` reads the same again."""
    rest = duration // timedelta(milliseconds=1)
    text = ""
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
