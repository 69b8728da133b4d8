"""STOW-RS: Part 10 files into the archive, and the response dataset that says what became of each."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread

from dicomcast.demo.archive import Archive, StoreStatus

RETRIEVE_URL = "00081190"
FAILURE_REASON = "00081197"
FAILED_SOP_SEQUENCE = "00081198"
REFERENCED_SOP_SEQUENCE = "00081199"


def store(
    archive: Archive, files: Iterable[bytes], *, partition: str, study: str | None, base_url: str
) -> tuple[int, dict[str, Any]]:
    """Store the files, and answer the HTTP status and the response dataset (PS3.18 table I.2-1)."""
    stored, failed = [], []
    for content in files:
        status, dataset = _store_file(archive, content, partition, study)
        reference = _reference(dataset)
        if status is StoreStatus.STORED:
            path = f"series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"
            url = f"{base_url}/studies/{dataset.StudyInstanceUID}/{path}"
            stored.append(reference | {RETRIEVE_URL: {"vr": "UR", "Value": [url]}})
        else:
            failed.append(reference | {FAILURE_REASON: {"vr": "US", "Value": [int(status)]}})
    response: dict[str, Any] = {}
    if study and stored:
        response[RETRIEVE_URL] = {"vr": "UR", "Value": [f"{base_url}/studies/{study}"]}
    if failed:
        response[FAILED_SOP_SEQUENCE] = {"vr": "SQ", "Value": failed}
    if stored:
        response[REFERENCED_SOP_SEQUENCE] = {"vr": "SQ", "Value": stored}
    return (200 if not failed else 202 if stored else 409), response


def _store_file(archive: Archive, content: bytes, partition: str, study: str | None) -> tuple[StoreStatus, Dataset]:
    try:
        with warnings.catch_warnings(action="ignore"):  # what is odd about a file is told by the response
            dataset = dcmread(BytesIO(content), stop_before_pixels=True)
    except Exception:  # not Part 10, truncated, or whatever else pydicom's parsers trip over
        return StoreStatus.UNREADABLE, Dataset()
    if study and dataset.get("StudyInstanceUID") != study:
        return StoreStatus.OTHER_STUDY, dataset
    return archive.store_dataset(dataset, partition), dataset


def _reference(dataset: Dataset) -> dict[str, Any]:
    """ReferencedSOPClassUID and ReferencedSOPInstanceUID, as far as the dataset has them."""
    sources = {"00081150": "SOPClassUID", "00081155": "SOPInstanceUID"}
    return {tag: {"vr": "UI", "Value": [str(uid)]} for tag, name in sources.items() if (uid := dataset.get(name))}
