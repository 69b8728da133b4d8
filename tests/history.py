"""What a FHIR store holds, and whether each version of it was worth writing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson

from dicomcast.demo.fhir_store import FhirStore, Version

__all__ = ["content", "idle_versions"]

KINDS = ("Endpoint", "Patient", "ImagingStudy")


def content(store: FhirStore) -> dict[str, Any]:
    """Everything by `Type/id` but what the server sets, and but Patients that no study refers to (any more)."""
    found = {f"{kind}/{one['id']}": _bare(one) for kind in KINDS for one in store.resources(kind)}
    used = {one["subject"]["reference"] for one in found.values() if one["resourceType"] == "ImagingStudy"}
    return {name: one for name, one in found.items() if one["resourceType"] != "Patient" or name in used}


def idle_versions(store: FhirStore) -> list[str]:
    """The versions that say what the version before them said."""
    return [
        after.location
        for history in store.histories()
        for before, after in pairwise(history)
        if _said(before) == _said(after)
    ]


def _said(version: Version) -> Any:
    return None if version.json is None else _bare(orjson.loads(version.json))


def _bare(resource: dict[str, Any]) -> dict[str, Any]:
    meta = {name: value for name, value in resource["meta"].items() if name not in ("versionId", "lastUpdated")}
    return resource | {"meta": meta}
