"""DICOM files and DICOM JSON files as the metadata that an archive would send of them."""

from __future__ import annotations

import warnings
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

__all__ = ["find", "instance_of", "read"]


def find(path: Path) -> list[Path]:
    """The files below a folder, or the file itself."""
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def read(content: bytes) -> Iterator[Metadata]:
    """The datasets of a file: one of a DICOM file, any number of a DICOM JSON file.

    Raises:
        Rejected: it is neither (`not-dicom`), or one that is broken or of another kind (`unreadable-file`).
    """
    if content.lstrip()[:1] in (b"{", b"["):
        yield from _json(content)
    else:
        yield _dicom(content)


def _json(content: bytes) -> Iterator[Metadata]:
    try:
        parsed = parse_json(content)
    except ValueError:
        raise Rejected("this is neither a DICOM file nor JSON", reason="not-dicom") from None
    for dataset in parsed if isinstance(parsed, list) else [parsed]:
        if not isinstance(dataset, dict):
            raise Rejected("this JSON is not DICOM JSON: an array of objects is expected", reason="unreadable-file")
        yield select(dataset)


def _dicom(content: bytes) -> Metadata:
    tags: list[Any] = [int(one, 16) for one in MAPPED]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with a value is told by the issues of the mapping
        try:
            dataset = pydicom.dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=tags)
            return select(dataset.to_json_dict(bulk_data_element_handler=lambda _: "", suppress_invalid_tags=True))
        except InvalidDicomError:
            raise Rejected("this is not a DICOM file (no DICM after 128 bytes)", reason="not-dicom") from None
        except Exception as error:
            # pydicom raises whatever a broken file makes it stumble over.
            said = f"this DICOM file cannot be read ({type(error).__name__})"
            raise Rejected(said, reason="unreadable-file") from None


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
