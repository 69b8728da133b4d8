"""QIDO-RS: searching a list of instances for studies, series or instances (PS3.18 section 10.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.datadict import tag_for_keyword

from dicomcast.demo.dicom_json import INSTANCE_UID, SERIES_UID, STUDY_UID, Metadata, text

LEVELS = ("studies", "series", "instances")
LEVEL_UIDS = (STUDY_UID, SERIES_UID, INSTANCE_UID)
MODALITIES_IN_STUDY = "00080061"
MODALITY = "00080060"


def _tags(keywords: str) -> tuple[str, ...]:
    return tuple(f"{tag_for_keyword(keyword):08X}" for keyword in keywords.split())


# What each level can be searched by, and what it returns: the service's conformance statement.
_SEARCHABLE = (
    _tags(
        "StudyInstanceUID PatientName PatientID PatientBirthDate AccessionNumber ReferringPhysicianName StudyDate"
        " StudyDescription ModalitiesInStudy"
    ),
    _tags("SeriesInstanceUID Modality PerformedProcedureStepStartDate ManufacturerModelName"),
    _tags("SOPInstanceUID"),
)
_RETURNED = (
    _tags(
        "SpecificCharacterSet StudyDate StudyTime AccessionNumber ReferringPhysicianName TimezoneOffsetFromUTC"
        " PatientName PatientID PatientBirthDate PatientSex StudyID StudyInstanceUID"
    ),
    _tags(
        "SpecificCharacterSet Modality TimezoneOffsetFromUTC SeriesDescription SeriesInstanceUID"
        " PerformedProcedureStepStartDate PerformedProcedureStepStartTime RequestAttributesSequence"
    ),
    _tags(
        "SpecificCharacterSet SOPClassUID SOPInstanceUID TimezoneOffsetFromUTC InstanceNumber Rows Columns"
        " BitsAllocated NumberOfFrames"
    ),
)
_DATES = _tags("StudyDate PatientBirthDate PerformedProcedureStepStartDate")
_DATE_OR_RANGE = re.compile(r"\d{8}|\d{8}-|-\d{8}|\d{8}-\d{8}", re.ASCII)


@dataclass(slots=True)
class Query:
    """A search: the level it returns, the UIDs in its path, what must match, and which page."""

    level: str
    path_uids: dict[str, str] = field(default_factory=dict)
    matches: dict[str, str] = field(default_factory=dict)
    limit: int = 100
    offset: int = 0

    @property
    def levels(self) -> slice:
        """The levels that are searched and returned: from below the path down to the one asked for."""
        return slice(len(self.path_uids), LEVELS.index(self.level) + 1)


def parse(level: str, path_uids: Sequence[str], parameters: Iterable[tuple[str, str]]) -> Query:
    """The query that path and parameters ask for; ValueError with the service's reason for refusing it."""
    query = Query(level, dict(zip(LEVEL_UIDS, path_uids, strict=False)))
    for name, value in parameters:
        match name.lower():
            case "limit":
                query.limit = _number("limit", value, 1, 200)
            case "offset":
                query.offset = _number("offset", value, 0, 2**31 - 1)
            case "fuzzymatching":
                if value.lower() != "false":
                    raise ValueError("Invalid QIDO-RS query. Fuzzy matching is not supported.")
            case "includefield":
                pass  # the default attributes are returned, whatever else is asked for
            case _:
                _add_match(query, name, value)
    return query


def search(instances: Iterable[Metadata], query: Query) -> list[dict[str, Any]]:
    """The page of studies, series or instances that match, newest first."""
    groups: dict[tuple[str, ...], list[Metadata]] = {}
    modalities: dict[str, set[str]] = {}
    depth = LEVELS.index(query.level) + 1
    for instance in instances:
        modalities.setdefault(text(instance, STUDY_UID), set()).add(text(instance, MODALITY))
        if all(text(instance, tag) == uid for tag, uid in query.path_uids.items()):
            groups.setdefault(tuple(text(instance, tag) for tag in LEVEL_UIDS[:depth]), []).append(instance)
    found = []
    for uids, members in groups.items():
        newest = {**members[-1], MODALITIES_IN_STUDY: {"vr": "CS", "Value": sorted(modalities[uids[0]])}}
        if all(_matches(newest, tag, wanted) for tag, wanted in query.matches.items()):
            found.append(_record(newest, query))
    return found[::-1][query.offset : query.offset + query.limit]


def _record(instance: Metadata, query: Query) -> dict[str, Any]:
    """The attributes of the levels asked for, what was matched, and the UIDs of the path."""
    tags = {tag for level in _RETURNED[query.levels] for tag in level} | {*query.matches, *query.path_uids}
    return {tag: instance[tag] for tag in sorted(tags) if tag in instance}


def _add_match(query: Query, name: str, value: str) -> None:
    tag = name.upper() if re.fullmatch(r"[0-9A-Fa-f]{8}", name) else f"{tag_for_keyword(name) or 0:08X}"
    if not any(tag in level for level in _SEARCHABLE[query.levels]):
        raise ValueError(f"Invalid QIDO-RS query. Unknown query parameter '{name}'.")
    if tag in query.matches:
        raise ValueError(f"Invalid QIDO-RS query. Duplicate AttributeId '{name}'.")
    if not value:
        raise ValueError(f"Invalid QIDO-RS query. AttributeId '{name}' has empty string value.")
    if tag in _DATES and not _DATE_OR_RANGE.fullmatch(value):
        raise ValueError(f"Invalid QIDO-RS query. The date of '{name}' is not yyyyMMdd or a range of two.")
    query.matches[tag] = value


def _matches(instance: Metadata, tag: str, wanted: str) -> bool:
    if tag == MODALITIES_IN_STUDY:
        return wanted.upper() in instance[tag]["Value"]
    value = text(instance, tag)
    if tag in _DATES and "-" in wanted:
        low, high = wanted.split("-")
        return bool(value) and low <= value <= (high or "99999999")
    return value.casefold() == wanted.casefold()


def _number(name: str, value: str, low: int, high: int) -> int:
    if not re.fullmatch(r"\d{1,10}", value, re.ASCII) or not low <= int(value) <= high:
        raise ValueError(f"Invalid QIDO-RS query. The {name} must be a number from {low} to {high}.")
    return int(value)
