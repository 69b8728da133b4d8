"""DICOM attributes by keyword."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from dicomcast.mapping.data import table

__all__ = ["canonical", "has_backslashes", "has_values", "is_name", "tag"]

_TAG = re.compile("[0-9A-Fa-f]{8}")

# Attributes of PS3.6 that are newer than pydicom's dictionary.
_NEWER = {
    "PersonNamesToUseSequence": "00100011",
    "NameToUse": "00100012",
    "GenderIdentitySequence": "00100041",
    "SexParametersForClinicalUseCategoryComment": "00100042",
    "SexParametersForClinicalUseCategorySequence": "00100043",
    "GenderIdentityCodeSequence": "00100044",
    "GenderIdentityComment": "00100045",
    "SexParametersForClinicalUseCategoryCodeSequence": "00100046",
}


@cache
def _tags() -> dict[str, str]:
    return _NEWER | {keyword: tag for tag, (_, _, keyword) in table("dictionary").items()}


def _known(tag: str) -> tuple[str, str]:
    """The VR and the VM of a tag (PS3.6), both "" if it has none."""
    vr, vm, _ = table("dictionary").get(tag, ("", "", ""))
    return vr, vm


@cache
def tag(keyword: str) -> str:
    """The eight hex digits of a DICOM keyword (PS3.6), as DICOM JSON writes them."""
    try:
        return _tags()[keyword]
    except KeyError:
        raise LookupError(f"{keyword} is not a DICOM keyword") from None


@cache
def has_backslashes(tag: str) -> bool:
    """Whether a backslash may stand in an attribute: elsewhere it is none, but separates values (PS3.5 §6.2, §6.4)."""
    vr, _ = _known(tag)
    return vr in ("", "LT", "ST", "UR", "UT")


@cache
def has_values(tag: str) -> bool:
    """Whether an attribute may have several values; names have them, whether they may or not."""
    vr, vm = _known(tag)
    return vr == "PN" or vm not in ("", "1")


@cache
def is_name(tag: str) -> bool:
    """Whether an attribute is the name of a person (VR PN)."""
    return _known(tag)[0] == "PN"


def canonical(metadata: dict[str, Any], depth: int = 8) -> dict[str, Any]:
    """A DICOM JSON dataset with its tags as they have to be: some servers write them in lower case, or keywords.

    What is mapped is never below `depth` sequences, whatever else is.
    """
    return {_canonical(key): _canonical_items(element, depth) for key, element in metadata.items()}


def _canonical(key: str) -> str:
    if _TAG.fullmatch(key):
        return key.upper()
    return _tags().get(key, key)


def _canonical_items(element: Any, depth: int) -> Any:
    values = element.get("Value") if isinstance(element, dict) else None
    if not depth or not isinstance(values, list) or not any(isinstance(value, dict) for value in values):
        return element
    return {**element, "Value": [canonical(value, depth - 1) if isinstance(value, dict) else value for value in values]}
