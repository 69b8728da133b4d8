"""Tags as Orthanc's REST API writes them, to DICOM JSON. Pure.

    {"0008,1032": {"Name": "ProcedureCodeSequence", "Type": "Sequence", "Value": [{...}]}}

A value is text in UTF-8, with a backslash between values; its VR is not told.
"""

from __future__ import annotations

import re
from typing import Any

from dicomcast.mapping.tags import has_backslashes, is_name

__all__ = ["dicom_json"]

_TAG = re.compile("([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})")
# What mapped attributes never nest beyond.
_DEPTH = 16


def dicom_json(tags: dict[str, Any], depth: int = _DEPTH) -> dict[str, Any]:
    """A dataset of DICOM JSON (PS3.18 Annex F) without the VRs, which nobody here reads; anything gives one."""
    found = {}
    for name, told in tags.items():
        if isinstance(told, dict) and (parts := _TAG.fullmatch(name)):
            tag = "".join(parts.groups()).upper()
            if (element := _element(tag, told, depth)) is not None:
                found[tag] = element
    return found


def _element(tag: str, told: dict[str, Any], depth: int) -> dict[str, Any] | None:
    value = told.get("Value")
    match told.get("Type"):
        case "Sequence" if isinstance(value, list) and depth:
            return {"Value": [dicom_json(item, depth - 1) for item in value if isinstance(item, dict)]}
        case "String" if isinstance(value, str):
            return {"Value": _values(tag, value)} if value else {}
        case "TooLong" | "Binary":
            return {"BulkDataURI": ""}  # it is there, and not told
        case "Null":
            return {}
        case _:
            return None


def _values(tag: str, text: str) -> list[Any]:
    values: list[Any] = [text] if has_backslashes(tag) else text.split("\\")
    if is_name(tag):
        return [_name(value) for value in values]
    return [value or None for value in values]


def _name(text: str) -> dict[str, str] | None:
    """The component groups of a name (PS3.5 §6.2.1, PS3.18 F.2.2)."""
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {group: name for group, name in groups if name} or None
