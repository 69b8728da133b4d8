"""Where the instances of a study, or a study and its Patient, do not tell the same: issues, which never say what.

What an instance leaves out contradicts nothing, and neither does what it tells less exactly (a year, a name without
its ideographic form). So one disagreement is found whatever the order in which they are looked at.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.tags import tag
from dicomcast.mapping.values import JSON, fhir_date, names
from dicomcast.model import Issue, Metadata

__all__ = ["WHOSE", "contradictions", "mismatches"]

# What is told, part by part; a part is there only where it is told.
Parts = dict[str, Any]
# The instances of a series come from one device and one order: what else would differ within it costs more to look for
# in thousands of them than mapping them.
WHOSE = frozenset({tag("PatientID"), tag("PatientName"), tag("AccessionNumber")})
# How many ways to write the same are remembered.
_SPELLINGS = 4
_GENDERS = frozenset({"male", "female", "other"})


def _text(dataset: Dataset, keyword: str) -> Parts:
    return {"": dataset.text(tag(keyword))}


def _code(dataset: Dataset, keyword: str) -> Parts:
    return {"": dataset.text(tag(keyword)).upper()}


def _date(dataset: Dataset, keyword: str) -> Parts:
    return dict(zip(("year", "month", "day"), fhir_date(dataset, keyword).split("-"), strict=False))


def _time(dataset: Dataset, keyword: str) -> Parts:
    digits = dataset.text(tag(keyword)).replace(":", "").partition(".")[0]
    return {"hour": digits[:2], "minute": digits[2:4], "second": digits[4:6]}


def _name(dataset: Dataset, keyword: str) -> Parts:
    """The first name: each component of each of its forms, whose extension is its ISO 21090 representation."""
    told = {}
    for form in next(filter(None, names(dataset, keyword)), []):
        code = str(form.get("extension", [{}])[0].get("valueCode", "ABC"))
        for part in ("family", "given", "prefix", "suffix"):
            told[f"{code} {part}"] = _folded("".join(form.get(part, ())))
    return told


# What belongs to the study and its patient, and so is the same in all instances (PS3.3 C.7.1.1, C.7.2.1).
_TOLD: dict[str, Callable[[Dataset, str], Parts]] = {
    "StudyDate": _date,
    "StudyTime": _time,
    "AccessionNumber": _text,
    "ReferringPhysicianName": _name,
    "StudyDescription": _text,
    "PatientName": _name,
    "PatientID": _text,
    "PatientBirthDate": _date,
    "PatientSex": _code,
}


def contradictions(instances: Iterable[Metadata], speakers: Iterable[Metadata]) -> Iterator[Issue]:
    """An issue for each attribute of the study about which those who speak for its series disagree, or for whose
    study it is about which any of its instances do."""
    attributes = [_Attribute(keyword, read) for keyword, read in _TOLD.items()]
    whose = [one for one in attributes if one.tag in WHOSE]
    for told, heard in ((speakers, attributes), (instances, whose)):
        for metadata in told:
            for one in heard:
                element = metadata.get(one.tag)
                values = element.get("Value") if type(element) is dict else None
                if values is not None and not one.knows(values):
                    one.hear(values)
    return (Issue(one.tag, "contradiction") for one in attributes if one.contradicted)


class _Attribute:
    """What was told of an attribute so far. Thousands of instances mostly agree to the letter, and then nothing is
    read."""

    __slots__ = ("contradicted", "keyword", "known", "parts", "read", "tag")

    def __init__(self, keyword: str, read: Callable[[Dataset, str], Parts]) -> None:
        self.keyword, self.tag, self.read = keyword, tag(keyword), read
        self.known: list[Any] = []
        self.parts: Parts = {}
        self.contradicted = False

    def knows(self, values: Any) -> bool:
        try:
            return values in self.known
        except RecursionError:  # nested deeper than anything that tells something
            return True

    def hear(self, values: Any) -> None:
        if self.contradicted:
            return
        if self.known and not self.parts:
            self._compare(self.known[0])  # which mostly is the only one, and then never read
        if self.known:
            self._compare(values)
        if len(self.known) < _SPELLINGS:
            self.known.append(values)

    def _compare(self, values: Any) -> None:
        told = self.read(Dataset({self.tag: {"Value": values}}), self.keyword)
        self.contradicted = any(value and self.parts.setdefault(part, value) != value for part, value in told.items())


def mismatches(desired: JSON, existing: JSON) -> Iterator[Issue]:
    """An issue for each of birth date, sex and family name in which a study's Patient is not the one that stands there.

    `existing` may be anybody's: what is not as FHIR has it tells nothing.
    """
    born, known = desired.get("birthDate"), existing.get("birthDate")
    if isinstance(born, str) and isinstance(known, str):
        common = min(len(born), len(known))
        if born[:common] != known[:common]:
            yield Issue(tag("PatientBirthDate"), "patient-mismatch")
    genders = [gender if isinstance(gender, str) else "" for gender in (desired.get("gender"), existing.get("gender"))]
    if genders[0] != genders[1] and _GENDERS.issuperset(genders):
        yield Issue(tag("PatientSex"), "patient-mismatch")
    if _other_family(_families(desired), _families(existing)):
        yield Issue(tag("PatientName"), "patient-mismatch")


def _other_family(one: set[str], other: set[str]) -> bool:
    """Whether no family name is common to both, of those in a script that both are written in."""
    latin = {name for name in one | other if name.isascii()}
    both = [(one & some, other & some) for some in (latin, (one | other) - latin)]
    comparable = [(ours, theirs) for ours, theirs in both if ours and theirs]
    return bool(comparable) and all(ours.isdisjoint(theirs) for ours, theirs in comparable)


def _families(resource: JSON) -> set[str]:
    """Of all names that a Patient has, or had."""
    found = resource.get("name")
    entries = [one.get("family") for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return {folded for family in entries if isinstance(family, str) and (folded := _folded(family))}


def _folded(text: str) -> str:
    """Letters and digits alone, without accents, in any case."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text).casefold()))
