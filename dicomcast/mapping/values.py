"""DICOM value representations to FHIR data types: dates, times, person names, codes, issuers, UIDs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Any

from dicomcast.mapping.dataset import Dataset, clean, is_damaged, string_value
from dicomcast.mapping.tags import tag
from dicomcast.mapping.terminology import SNOMED_CT, coding_system, snomed_from_srt
from dicomcast.uris import is_oid, is_uri, is_uuid

__all__ = [
    "JSON",
    "UNKNOWN",
    "codeable_concept",
    "codes",
    "extension",
    "fhir_date",
    "fhir_datetime",
    "is_id",
    "issued_identifier",
    "issuer",
    "names",
    "oid_urn",
    "study_identifier",
    "system_of",
    "without_empty",
]

JSON = dict[str, Any]

# An element that has to be there, whose value is not (R4 extension-data-absent-reason.html).
UNKNOWN: JSON = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]
}

# ACR-NEMA wrote 1997.04.24 and 14:04:38, and both are still met (PS3.5 §6.2, notes to DA and TM).
_DATE = re.compile(r"(\d{4})([.-]?)(\d{2})\2(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2})(?::?(\d{2})(?:\.\d*)?)?")
_OFFSET = re.compile(r"([+-])(0\d|1[0-4])([0-5]\d)")
# datatypes.html#id: laxer than a UID (PS3.5 §9.1).
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
# What breaks a UniversalEntityID of these types.
_UNIVERSAL = {"ISO": "not-an-oid", "UUID": "not-a-uuid", "URI": "not-a-uri"}
# SNOMED CT identifiers (R4 snomedct.html).
_SCTID = re.compile("[1-9][0-9]{5,17}")
_CODE = re.compile(r"\S+( \S+)*")

# The first and the last day that software knows stand for "unknown".
_DUMMIES = (date.min, date.max)

_TIMEZONE = tag("TimezoneOffsetFromUTC")
_REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
_GROUPS = (("Alphabetic", "ABC"), ("Ideographic", "IDE"), ("Phonetic", "SYL"))


def without_empty(resource: JSON) -> JSON:
    """Without the members that have no value: FHIR knows no null, no "" and no [] (json.html)."""
    return {key: value for key, value in resource.items() if value not in (None, "", [], {})}


def is_id(text: str) -> bool:
    """Whether a UID can be the `uid` of a series or an instance, which is an id (FHIR R4 datatypes.html#id)."""
    return _ID.fullmatch(text) is not None


def oid_urn(uid: str) -> str:
    """A UID as the URN of an OID, "" if it is none (1.2.03, hello): `urn:oid:` before those would be no URI."""
    return f"urn:oid:{uid}" if is_oid(uid) else ""


def study_identifier(study_uid: str) -> JSON:
    """The business identifier of a study (FHIR R4 imagingstudy.html, Notes).

    A UID that is no OID stands as it is, without colons, so that it is never taken for a URN.
    """
    value = oid_urn(study_uid) or study_uid.replace(":", "%3A")
    return {"use": "official", "system": "urn:dicom:uid", "value": value}


def _date(dataset: Dataset, keyword: str) -> date | None:
    text = dataset.text(tag(keyword))
    if not text:
        return None
    if match := _DATE.fullmatch(text):
        try:
            return date(int(match[1]), int(match[3]), int(match[4]))
        except ValueError:
            pass
    dataset.warn(tag(keyword), "not-a-date")
    return None


def _time(dataset: Dataset, keyword: str) -> time | None:
    """TM (PS3.5 §6.2); None where there is none or it has no minutes, which FHIR wants."""
    text = dataset.text(tag(keyword))
    if not text or re.fullmatch(r"\d{2}", text):
        return None
    if match := _TIME.fullmatch(text):
        try:
            # DICOM writes a leap second as 60; not every FHIR server takes it.
            second = int(match[3] or 0)
            return time(int(match[1]), int(match[2]), 59 if second == 60 else second)
        except ValueError:
            pass
    dataset.warn(tag(keyword), "not-a-time")
    return None


def _timezone(dataset: Dataset, site: tzinfo | None) -> tzinfo | None:
    """(0008,0201) if it is valid, else the site's zone; never UTC by default (PS3.3 C.12.1.1.8)."""
    text = dataset.text(_TIMEZONE)
    if text:
        if match := _OFFSET.fullmatch(text):
            offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
            offset = -offset if match[1] == "-" else offset
            if timedelta(hours=-12) <= offset <= timedelta(hours=14):
                return timezone(offset)
        dataset.warn(_TIMEZONE, "not-an-offset")
    return site


def fhir_datetime(dataset: Dataset, date_keyword: str, time_keyword: str, site: tzinfo | None) -> str:
    """A FHIR dateTime from a DA and a TM attribute, "" without a date.

    A time needs an offset (datatypes.html#dateTime): without one, or without a time, it is a date.
    """
    day = _date(dataset, date_keyword)
    if day is None:
        return ""
    if day in _DUMMIES:
        dataset.warn(tag(date_keyword), "implausible")
        return ""
    moment = _time(dataset, time_keyword)
    zone = _timezone(dataset, site)
    if moment is None or zone is None:
        return day.isoformat()
    offset = datetime.combine(day, moment, zone).utcoffset()
    # Zones before about 1900 have local mean time, with seconds that FHIR cannot write.
    if offset is None or offset % timedelta(minutes=1):
        return day.isoformat()
    text = datetime.combine(day, moment, timezone(offset)).isoformat()
    return text.removesuffix("+00:00") + "Z" if not offset else text


def fhir_date(dataset: Dataset, keyword: str) -> str:
    """A FHIR date from a DA attribute; a year, or a year and month, is kept as such."""
    text = dataset.text(tag(keyword))
    if re.fullmatch(r"[1-9][0-9]{3}(0[1-9]|1[0-2])?", text):
        return text[:4] if len(text) == 4 else f"{text[:4]}-{text[4:]}"
    day = _date(dataset, keyword)
    return "" if day is None else day.isoformat()


def names(dataset: Dataset, keyword: str) -> list[list[JSON]]:
    """Each value of a PN attribute as its HumanNames, one for each representation that it has, none if it is empty.

    The first has a `text`; the ISO 21090 representation is told only where it is not plainly alphabetic.
    """
    people = []
    for value in dataset.slots(tag(keyword)):
        groups = [] if value is None else _groups(value)
        if groups is None:
            dataset.warn(tag(keyword), "not-a-person-name")
        if any(is_damaged(group) for _, group in groups or []):
            dataset.warn(tag(keyword), "damaged-text")
        present = [(code, name) for code, group in groups or [] if (name := _human_name(group))]
        people.append(_represented(present) if present else [])
    return people


def _groups(value: Any) -> list[tuple[str, str]] | None:
    """(representation, component group) pairs of a PN value, which may be an object or a plain string."""
    if isinstance(value, Mapping):
        parts = [string_value(value.get(key)) or "" for key, _ in _GROUPS]
        if "=" in parts[0]:
            parts = parts[0].split("=")
    elif (text := string_value(value)) is not None:
        parts = text.split("=")
    else:
        return None
    return [(code, part) for (_, code), part in zip(_GROUPS, parts, strict=False)]


def _human_name(group: str) -> JSON:
    """One component group: family^given^middle^prefix^suffix (PS3.5 §6.2.1.1)."""
    family, given, middle, prefix, suffix = ([clean(part) for part in group.split("^")] + [""] * 5)[:5]
    words = {
        "family": family,
        "given": given.split() + middle.split(),
        "prefix": prefix.split(),
        "suffix": suffix.split(),
    }
    return without_empty(words)


def _represented(present: list[tuple[str, JSON]]) -> list[JSON]:
    first = present[0][1]
    parts = [*first.get("prefix", []), *first.get("given", []), first.get("family", ""), *first.get("suffix", [])]
    result = []
    for position, (code, name) in enumerate(present):
        if position == 0:
            name = {"text": " ".join(filter(None, parts)), **name}
        if len(present) > 1 or code != "ABC":
            name = {"extension": [{"url": _REPRESENTATION, "valueCode": code}], **name}
        result.append(name)
    return result


def codes(dataset: Dataset, keyword: str) -> list[JSON]:
    """A code sequence (PS3.3 §8) as CodeableConcepts, without repeats."""
    concepts: list[JSON] = []
    for item in dataset.items(tag(keyword)):
        concept = codeable_concept(item)
        if concept and concept not in concepts:
            concepts.append(concept)
    return concepts


def codeable_concept(item: Dataset) -> JSON:
    """One item of a code sequence: coding where its system is known, and CodeMeaning as text."""
    value = next(
        (text for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue") if (text := item.identifier(tag(keyword)))),
        "",
    )
    meaning = item.text(tag("CodeMeaning"))
    scheme = item.identifier(tag("CodingSchemeDesignator"))
    system = system_of(item, scheme)
    if system == SNOMED_CT and not (scheme == "SCT" and _SCTID.fullmatch(value)):
        # Some write a code of SNOMED RT and call it SCT.
        concept = snomed_from_srt(value)
        if value and not concept and scheme == "SCT":
            item.warn(tag("CodeValue"), "not-a-snomed-code")
        value = concept
    if not value or not system or not _CODE.fullmatch(value):
        return without_empty({"text": meaning})
    return without_empty(
        {"coding": [without_empty({"system": system, "code": value, "display": meaning})], "text": meaning}
    )


def system_of(item: Dataset, scheme: str) -> str:
    """The URI of a coding scheme, "" if there is none.

    A private scheme has the UID that its instance states beside it, in (0008,0110).
    """
    system = coding_system(scheme)
    if not system and scheme:
        for stated in item.root.items(tag("CodingSchemeIdentificationSequence")):
            uid = stated.identifier(tag("CodingSchemeUID"))
            if stated.identifier(tag("CodingSchemeDesignator")) == scheme and is_oid(uid):
                return f"urn:oid:{uid}"
    return system


def issuer(item: Dataset, table: Mapping[str, str]) -> tuple[str, str]:
    """(system, assigner's name) of an HL7v2 hierarchic designator (PS3.3 §10.14), either may be "".

    ISO, UUID and URI identify by themselves; a local name is looked up in `table`.
    """
    local = item.text(tag("LocalNamespaceEntityID"))
    universal = item.identifier(tag("UniversalEntityID"))
    kind = item.text(tag("UniversalEntityIDType")).upper()
    match kind:
        case "ISO" if oid := oid_urn(universal):
            return oid, local
        case "UUID" if is_uuid(universal):
            return f"urn:uuid:{universal.lower()}", local
        case "URI" if is_uri(universal):
            return universal, local
        case _:
            known = table.get(item.identifier(tag("LocalNamespaceEntityID"))) or table.get(universal) or ""
            if universal and kind in _UNIVERSAL and not known:
                item.warn(tag("UniversalEntityID"), _UNIVERSAL[kind])
            return known, local or item.text(tag("UniversalEntityID"))


def issued_identifier(
    value: str, authorities: Iterable[Dataset], table: Mapping[str, str], *, type: JSON | None = None, system: str = ""
) -> JSON:
    """An Identifier with the system and the name of its issuer, else with `system`; {} if there is no value."""
    if not value:
        return {}
    stated, assigner = "", ""
    for item in authorities:
        stated, assigner = issuer(item, table)
        if system and assigner and not stated:
            item.warn(tag("LocalNamespaceEntityID"), "unknown-issuer")
    parts = {"type": type, "system": stated or system, "value": value}
    return without_empty({**parts, "assigner": without_empty({"display": assigner})})


def extension(url: str, **parts: Any) -> JSON:
    """An Extension of texts and CodeableConcepts; one that is empty is left out."""
    inner = [
        {"url": name, "valueString" if isinstance(part, str) else "valueCodeableConcept": part}
        for name, part in parts.items()
        if part
    ]
    return {"url": url, "extension": inner}
