"""DICOM attributes by keyword."""

from __future__ import annotations

from functools import cache

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

__all__ = ["canonical", "tag", "vr"]

# Attributes of PS3.6 2024e that are newer than pydicom's dictionary, with their VR.
_NEWER = {
    "PersonNamesToUseSequence": ("00100011", "SQ"),
    "NameToUse": ("00100012", "LT"),
    "GenderIdentitySequence": ("00100041", "SQ"),
    "SexParametersForClinicalUseCategoryComment": ("00100042", "UT"),
    "SexParametersForClinicalUseCategorySequence": ("00100043", "SQ"),
    "GenderIdentityCodeSequence": ("00100044", "SQ"),
    "GenderIdentityComment": ("00100045", "UT"),
    "SexParametersForClinicalUseCategoryCodeSequence": ("00100046", "SQ"),
}


@cache
def tag(keyword: str) -> str:
    """The eight hex digits of a DICOM keyword (PS3.6), as DICOM JSON writes them."""
    number = tag_for_keyword(keyword)
    if number is not None:
        return f"{number:08X}"
    if keyword in _NEWER:
        return _NEWER[keyword][0]
    raise LookupError(f"{keyword} is not a DICOM keyword")


def vr(keyword: str) -> str:
    """The value representation of a keyword."""
    return _NEWER[keyword][1] if keyword in _NEWER else dictionary_VR(tag(keyword))


def canonical(key: str) -> str:
    """A key of a DICOM JSON dataset as it has to be: some servers write tags in lower case, or keywords."""
    number = tag_for_keyword(key)
    return key.upper() if number is None or keyword_for_tag(number) != key else f"{number:08X}"
