"""What the service keeps of a dataset: DICOM JSON (PS3.18 Annex F) without bulk data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydicom import DataElement, Dataset, config

Metadata = Mapping[str, Any]

STUDY_UID = "0020000D"
SERIES_UID = "0020000E"
INSTANCE_UID = "00080018"
SOP_CLASS_UID = "00080016"
PATIENT_ID = "00100020"

# A tuple, because the `vr` of broken metadata need not be hashable.
BULK_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")


def metadata_of(dataset: Dataset) -> dict[str, Any]:
    """The dataset as DICOM JSON; an attribute that cannot be converted is dropped, as v2 STOW-RS does."""
    with config.disable_value_validation():
        return _converted(dataset)


def without_bulk(metadata: Metadata) -> dict[str, Any]:
    """A copy without bulk VRs at any depth, and without the file meta information (group 0002)."""
    return {tag: _nested(element) for tag, element in metadata.items() if not _is_bulk(tag, element)}


def text(metadata: Metadata, tag: str) -> str:
    """The first value of an attribute as text, without padding; "" when there is none."""
    match metadata.get(tag):
        case {"Value": [{"Alphabetic": str(value)}, *_]} | {"Value": [str() | int() | float() as value, *_]}:
            return str(value).rstrip(" \0")
    return ""


def _converted(dataset: Dataset) -> dict[str, Any]:
    metadata = {}
    for tag in sorted(dataset.keys()):
        if tag.group == 2 or tag.element == 0:  # file meta information; group lengths are retired
            continue
        try:
            element = dataset[tag]
            if element.VR not in BULK_VRS:
                converted = _element(element)
                json.dumps(converted, allow_nan=False)
                metadata[f"{tag:08X}"] = converted
        except Exception:  # pydicom raises whatever its parsers raise
            continue
    return metadata


def _element(element: DataElement) -> dict[str, Any]:
    if element.VR != "SQ":
        return element.to_json_dict(bulk_data_element_handler=None, bulk_data_threshold=0)
    items = [_converted(item) for item in element.value]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _is_bulk(tag: str, element: Any) -> bool:
    return tag.startswith("0002") or (isinstance(element, Mapping) and element.get("vr") in BULK_VRS)


def _nested(element: Any) -> Any:
    match element:
        case {"vr": "SQ", "Value": [*items]}:
            return {**element, "Value": [without_bulk(i) if isinstance(i, Mapping) else i for i in items]}
    return element
