"""Search by date: a value is the time from its beginning to its end, as precise as it is (R4 search.html#date)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from dicomcast.demo.fhir_validation import Issue, Refusal

_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(T\S+)?)?)?")
_TESTS: dict[str, Callable[[datetime, datetime, datetime, datetime], bool]] = {
    # what the value given begins and ends with, then that of the resource
    "eq": lambda begin, end, first, last: begin <= first and last <= end,
    "gt": lambda begin, end, first, last: last > end,
    "lt": lambda begin, end, first, last: first < begin,
}
_TESTS["ge"] = lambda *times: _TESTS["gt"](*times) or _TESTS["eq"](*times)
_TESTS["le"] = lambda *times: _TESTS["lt"](*times) or _TESTS["eq"](*times)


def date_test(text: str) -> Callable[[str], bool]:
    """What tells whether a date of a resource fits `ge2024-02`, say; without a prefix it has to lie within."""
    prefix, value = (text[:2], text[2:]) if text[:2].isalpha() else ("eq", text)
    try:
        test, (begin, end) = _TESTS[prefix], _span(value)
    except (KeyError, ValueError):
        raise Refusal(400, Issue("value", "this is not a date to search for")) from None
    return lambda date: test(begin, end, *_span(date))


def _span(text: str) -> tuple[datetime, datetime]:
    """When it begins, and when what is after it does; a time without a zone is taken for UTC."""
    parts = _DATE.fullmatch(text)
    if parts is None:
        raise ValueError("no date")
    year, month, day, time = parts.groups()
    if time:
        moment = datetime.fromisoformat(text)
        return (begin := moment if moment.tzinfo else moment.replace(tzinfo=UTC)), begin + timedelta(seconds=1)
    begin = datetime(int(year), int(month or 1), int(day or 1), tzinfo=UTC)
    if day:
        return begin, begin + timedelta(days=1)
    if month:
        return begin, (begin + timedelta(days=31)).replace(day=1)
    return begin, begin.replace(year=begin.year + 1)
