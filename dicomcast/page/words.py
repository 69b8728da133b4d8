"""Numbers and durations as people say them, and text without what might point at a patient."""

from __future__ import annotations

import re

__all__ = ["number", "span", "unidentified"]

# A study in a sentence of ours, what stands in a path of DICOMweb, and any other UID; an IPv4 address has fewer parts.
_UID = re.compile(r"\b(study |studies/|series/|instances/)[0-9.]*[0-9]|\b[0-9]+(?:\.[0-9]+){4,}")
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def number(count: int | None) -> str:
    """1234 as 1,234; a dash where it is not known."""
    return "–" if count is None else f"{count:,}"


def span(seconds: float | None) -> str:
    """A duration in its two largest units, without seconds from ten minutes on; a dash where it is not known."""
    if seconds is None:
        return "–"
    whole = max(0, int(seconds))
    for at, (unit, name) in enumerate(_UNITS):
        if whole >= unit:
            rest = whole % unit // _UNITS[at + 1][0] if unit > 60 or (unit == 60 and whole < 600) else 0
            return f"{whole // unit} {name}" + (f" {rest} {_UNITS[at + 1][1]}" if rest else "")
    return "0 s"


def unidentified(text: str) -> str:
    """A sentence of ours without the UIDs that it may name."""
    return _UID.sub(lambda found: f"{found[1] or ''}[UID]", text)
