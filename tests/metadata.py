"""DICOM JSON (PS3.18 Annex F) by keyword, as an archive sends it."""

from __future__ import annotations

from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicomcast.mapping.dataset import Dataset

CT = "1.2.840.10008.5.1.4.1.1.2"
MAMMOGRAM = "1.2.840.10008.5.1.4.1.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"


def metadata(**attributes: Any) -> dict[str, Any]:
    """Keyword arguments are DICOM keywords, or eight hex digits of a tag that pydicom does not know.

    A list is a multi-valued attribute or the items of a sequence; a person name may stand as its
    alphabetic text; `[]` is an empty element.
    """
    return dict(_element(keyword, value) for keyword, value in attributes.items())


def _element(keyword: str, value: Any) -> tuple[str, dict[str, Any]]:
    number = tag_for_keyword(keyword)
    values = value if isinstance(value, list) else [value]
    if number is None:
        return keyword, {"vr": "SQ" if isinstance(values[0], dict) else "LT", "Value": values}
    vr = dictionary_VR(number)
    if vr == "PN":
        values = [{"Alphabetic": one} if isinstance(one, str) else one for one in values]
    return f"{number:08X}", {"vr": vr, "Value": values} if values else {"vr": vr}


def dataset(**attributes: Any) -> Dataset:
    """The reader of such metadata, with no issues yet."""
    return Dataset(metadata(**attributes))


def code(value: str, scheme: str, meaning: str, **more: Any) -> dict[str, Any]:
    """The item of a code sequence (PS3.3 §8.8)."""
    return metadata(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning, **more)


def rules_broken(dataset: Dataset) -> list[tuple[str, str]]:
    """The issues that reading left, as (tag, rule)."""
    return [(issue.tag, issue.rule) for issue in dataset.issues]
