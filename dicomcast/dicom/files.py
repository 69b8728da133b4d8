"""DICOM files and DICOM JSON files as the metadata that an archive would send of them."""

from __future__ import annotations

import warnings
from codecs import BOM_UTF8
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from dicomcast.errors import Rejected
from dicomcast.http import parse_json
from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.table import MAPPED, select
from dicomcast.mapping.tags import tag
from dicomcast.model import Instance, InstanceKey, Metadata

__all__ = ["find", "instance_of", "instances", "read"]


def find(path: Path) -> list[Path]:
    """The files below a folder, or the file itself."""
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def read(content: bytes) -> Iterator[Metadata]:
    """The datasets of a file: one of a DICOM file, any number of a DICOM JSON file.

    Raises:
        Rejected: it is neither (`not-dicom`), or one that is broken or of another kind (`unreadable-file`).
    """
    if content.removeprefix(BOM_UTF8).lstrip()[:1] in (b"{", b"["):
        yield from _json(content)
    else:
        yield _dicom(content)


def _json(content: bytes) -> Iterator[Metadata]:
    try:
        parsed = parse_json(content)
    except ValueError:
        raise Rejected("this is neither a DICOM file nor JSON", reason="not-dicom") from None
    datasets = parsed if isinstance(parsed, list) else [parsed]
    if datasets and not any(isinstance(one, dict) for one in datasets):
        raise Rejected("this JSON is not DICOM JSON: an array of objects is expected", reason="unreadable-file")
    for dataset in datasets:
        yield select(dataset if isinstance(dataset, dict) else {})


def _dicom(content: bytes) -> Metadata:
    tags: list[Any] = [int(one, 16) for one in MAPPED]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with a value is told by the issues of the mapping
        try:
            dataset = pydicom.dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=tags)
            return select(_elements(dataset))
        except InvalidDicomError:
            raise Rejected("this is not a DICOM file (no DICM after 128 bytes)", reason="not-dicom") from None
        except Exception as error:
            # pydicom raises whatever a broken file makes it stumble over.
            said = f"this DICOM file cannot be read ({type(error).__name__})"
            raise Rejected(said, reason="unreadable-file") from None


def _elements(dataset: pydicom.Dataset) -> dict[str, Any]:
    tags: list[Any] = sorted(dataset.keys())  # iterating would convert each, and stop at the first that is broken
    return {f"{key:08X}": _element(dataset, key) for key in tags}


def _element(dataset: pydicom.Dataset, key: Any) -> dict[str, Any]:
    """An element as DICOM JSON; numbers in text, and what pydicom cannot read, as text for the mapping to judge.

    pydicom's own JSON of a dataset rounds or lacks such an element, and lacks the sequence that it is in.
    """
    raw = dataset.get_item(key)
    content = getattr(raw, "value", None)
    try:
        element = dataset[key]
        if element.VR == "SQ":
            return {"vr": "SQ", "Value": [_elements(item) for item in element.value]}
        if element.VR not in ("IS", "DS") or not isinstance(content, bytes):
            return dict(element.to_json_dict(lambda _: "", 1024))
    except Exception:  # pydicom raises whatever a broken value makes it stumble over
        content = content if isinstance(content, bytes) else str(content).encode()
    return {"vr": "UN", "Value": content.decode("ascii", errors="replace").split("\\")}


def instances(content: bytes) -> Iterator[tuple[str, Instance] | Rejected]:
    """(StudyInstanceUID, instance) of each dataset of a file; of several one that is none costs none of the others.

    Raises:
        Rejected: there is none at all, as `read` and `instance_of` say.
    """
    datasets = list(read(content))
    for position, metadata in enumerate(datasets, 1):
        try:
            yield instance_of(metadata)
        except Rejected as error:
            if len(datasets) == 1:
                raise
            yield Rejected(f"dataset {position}: {error}", reason=error.reason)


def instance_of(metadata: Metadata) -> tuple[str, Instance]:
    """(StudyInstanceUID, instance) of a dataset.

    Raises:
        Rejected: it lacks one of the three UIDs.
    """
    dataset = Dataset(metadata)
    study, series, instance = (
        dataset.identifier(tag(keyword)) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    )
    if not (study and series and instance):
        raise Rejected("this dataset has no StudyInstanceUID, SeriesInstanceUID or SOPInstanceUID", reason="no-uids")
    return study, Instance(InstanceKey(series, instance), metadata)
