"""All rows of the mapping, and what has to be read of metadata for them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from dicomcast.mapping.endpoint import ENDPOINT
from dicomcast.mapping.instance import INSTANCE
from dicomcast.mapping.patient import PATIENT
from dicomcast.mapping.series import SERIES
from dicomcast.mapping.study import STUDY
from dicomcast.mapping.tags import canonical, tag
from dicomcast.model import Metadata

__all__ = ["MAPPED", "TABLES", "select"]

TABLES = (STUDY, SERIES, INSTANCE, PATIENT, ENDPOINT)

# The attributes that are mapped. Whatever else an archive sends is dropped when it is read.
MAPPED = frozenset(tag(keyword) for table in TABLES for row in table.rows for keyword in row.attributes)

_STUDY_INSTANCE_UID = tag("StudyInstanceUID")
_FRAME_ANATOMY = tag("FrameAnatomySequence")
_FUNCTIONAL_GROUPS = MAPPED & {tag("SharedFunctionalGroupsSequence"), tag("PerFrameFunctionalGroupsSequence")}


def select(metadata: dict[str, Any]) -> Metadata:
    """The mapped attributes of a DICOM JSON dataset: less memory, and no patient data that nobody needs.

    Servers that write tags in lower case, or keywords for tags, are understood.
    """
    if _STUDY_INSTANCE_UID not in metadata:
        metadata = canonical(metadata)
    selected = {key: element for key, element in metadata.items() if key in MAPPED}
    for key in _FUNCTIONAL_GROUPS.intersection(selected):
        selected[key] = _anatomies(selected[key])
    return selected


def _anatomies(element: Any) -> Any:
    """Functional groups with nothing but the distinct anatomies of their frames, of which there may be thousands."""
    items = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(items, list):
        return element
    groups: list[Any] = []
    for item in items:
        if isinstance(item, dict) and _FRAME_ANATOMY in item:
            group = {_FRAME_ANATOMY: item[_FRAME_ANATOMY]}
            with suppress(RecursionError):  # junk, deeper than Python compares
                if group not in groups:
                    groups.append(group)
    return {**element, "Value": groups}
