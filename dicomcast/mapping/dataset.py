"""A tolerant reader of DICOM JSON (PS3.18 Annex F): every getter gives a value or nothing, and never raises.

`pydicom.Dataset.from_json` loses a whole dataset over one bad value and costs hundreds of times more;
here a bad value costs that value, and leaves an `Issue` that names the tag and the rule it broke.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from dicomcast.mapping.tags import has_backslashes, has_values
from dicomcast.model import Issue, Metadata, Severity

__all__ = ["Dataset", "clean", "is_damaged", "string_value"]

# Control characters are illegal in DICOM text but for TAB, LF, FF, CR (PS3.5 §6.1.3); FHIR has no FF. Lone
# surrogates cannot be written as UTF-8 at all; U+FFFD only says that something was lost before.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufffd\ud800-\udfff]")
# What values are padded with: blanks, and NULs (PS3.5 §6.2).
_PADDING = " \t\n\v\f\r\0"
_INTEGER = re.compile(r"[+-]?[0-9]{1,30}(\.0*)?")


def clean(text: str) -> str:
    """Without padding, NULs, control characters and lone surrogates; a new page is a new line."""
    if text.isascii() and text.isprintable():
        return text.strip()
    return _UNPRINTABLE.sub("", text.replace("\f", "\n")).strip()


def is_damaged(text: str) -> bool:
    """Whether a character was lost, or is none, anywhere but in the padding: what is left may be another's id."""
    if text.isascii() and text.isprintable():
        return False
    return _UNPRINTABLE.search(text.strip(_PADDING)) is not None


class Dataset:
    """Metadata of one instance, or one item of a sequence, and the issues met while reading it.

    `root` is the instance that an item belongs to, at any depth.
    """

    __slots__ = ("_elements", "issues", "root")

    def __init__(self, elements: Metadata, issues: list[Issue] | None = None, root: Dataset | None = None) -> None:
        self._elements = elements
        self.issues: list[Issue] = [] if issues is None else issues
        self.root: Dataset = self if root is None else root

    def lacks(self, tags: Iterable[str]) -> bool:
        """Whether none of these attributes is there."""
        return self._elements.keys().isdisjoint(tags)

    def warn(self, tag: str, rule: str) -> None:
        """Note that the value of `tag` broke `rule`, once per dataset."""
        issue = Issue(tag, rule, Severity.WARNING)
        if issue not in self.issues:
            self.issues.append(issue)

    def values(self, tag: str) -> list[Any]:
        """The values of an element as they stand, nulls left out; [] if there is none."""
        return [value for value in self.slots(tag) if value is not None]

    def slots(self, tag: str) -> list[Any]:
        """The values with the nulls between them, where a value's place says what it belongs to (PS3.18 F.2.5)."""
        element = self._elements.get(tag)
        if element is None:
            return []
        if not isinstance(element, dict):
            self.warn(tag, "not-an-element")
            return []
        values = element.get("Value")
        if values is None:
            if "BulkDataURI" in element or "InlineBinary" in element:
                self.warn(tag, "bulk-data")
            return []
        if not isinstance(values, list):
            self.warn(tag, "value-not-a-list")
            values = [values]
        if any(isinstance(value, str) and "\\" in value for value in values) and not has_backslashes(tag):
            self.warn(tag, "backslash")
            if has_values(tag):
                values = [part for one in values for part in (one.split("\\") if isinstance(one, str) else [one])]
        if len(values) > 1 and not has_values(tag) and all(isinstance(value, str) for value in values):
            # As it stood before somebody split it: half of a PatientID is another patient's.
            self.warn(tag, "backslash")
            values = ["\\".join(values)]
        return values

    def text(self, tag: str) -> str:
        """The first value as clean text, "" if there is none."""
        plain = self._plain(tag)
        return next(self._texts(tag, self.slots(tag)), "") if plain is None else plain

    def identifier(self, tag: str) -> str:
        """The first value if it can identify: "12\ufffd3" is not "123", who is somebody else."""
        plain = self._plain(tag)
        return next(self._texts(tag, self.slots(tag), whole=True), "") if plain is None else plain

    def _plain(self, tag: str) -> str | None:
        """The text of an element as nearly all are, one value of plain ASCII, or absent; None wants a closer look."""
        element = self._elements.get(tag)
        if element is None:
            return ""
        values = element.get("Value") if type(element) is dict else None
        if type(values) is not list or len(values) != 1 or type(text := values[0]) is not str:
            return None
        return text.strip() if text.isascii() and text.isprintable() and "\\" not in text else None

    def texts(self, tag: str) -> list[str]:
        """All values of a multi-valued attribute as clean text, empty ones left out."""
        return list(self._texts(tag, self.slots(tag)))

    def _texts(self, tag: str, values: list[Any], *, whole: bool = False) -> Iterator[str]:
        """The values as clean text; with `whole`, one that is damaged is none, and the next does not stand for it."""
        for value in values:
            text = "" if value is None else string_value(value)
            if text is None:
                self.warn(tag, "not-text")
                continue
            if is_damaged(text):
                self.warn(tag, "damaged-text")
                if whole:
                    yield ""
            if text := clean(text):
                yield text

    def integer(self, tag: str, low: int = 0, high: int = 2**31 - 1) -> int | None:
        """The first value as an integer in [low, high]: IS may come as a number or as text."""
        text = self.text(tag)
        if not text:
            return None
        if not ((text.isascii() and text.isdecimal() and len(text) <= 30) or _INTEGER.fullmatch(text)):
            self.warn(tag, "not-an-integer")
            return None
        number = int(text.partition(".")[0])
        if not low <= number <= high:
            self.warn(tag, "out-of-range")
            return None
        return number

    def items(self, tag: str) -> list[Dataset]:
        """The items of a sequence (VR SQ); they share this dataset's list of issues."""
        items = []
        for value in self.values(tag):
            if isinstance(value, dict):
                items.append(Dataset(value, self.issues, self.root))
            else:
                self.warn(tag, "not-an-item")
        return items


def string_value(value: Any) -> str | None:
    """A JSON value as text: finite numbers too (a server may send LO or IS as a number); None if it is neither."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else str(value)
