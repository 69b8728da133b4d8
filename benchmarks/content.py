"""What a FHIR server has to hold of an archive, in a form that can be compared: each instance by its three UIDs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["Uids", "digest", "instances_of"]

# StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID.
Uids = tuple[str, str, str]


def instances_of(studies: Iterable[Mapping[str, Any]]) -> Iterator[Uids]:
    """The instances that ImagingStudies list."""
    for study in studies:
        value = next(one["value"] for one in study["identifier"] if one.get("system") == "urn:dicom:uid")
        for series in study["series"]:
            for instance in series["instance"]:
                yield value.removeprefix("urn:oid:"), series["uid"], instance["uid"]


def digest(instances: Iterable[Uids]) -> dict[str, Any]:
    """How many instances, and what tells them from others."""
    lines = sorted(" ".join(uids) for uids in instances)
    return {"instances": len(lines), "digest": hashlib.sha256("\n".join(lines).encode()).hexdigest()}
