"""The real DICOM files that pydicom's wheel holds, as metadata."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pydicom

from dicomcast.dicom import files
from dicomcast.errors import Rejected

__all__ = ["FILES", "real_metadata"]

FILES = sorted(one for one in (Path(pydicom.__file__).parent / "data").rglob("*_files/**/*") if one.is_file())


@cache
def real_metadata() -> dict[str, dict[str, Any]]:
    """What is mapped of the files that are instances, by their names."""
    found = {}
    for path in FILES:
        try:
            (metadata,) = files.read(path.read_bytes())
            files.instance_of(metadata)
        except Rejected:
            continue
        found[path.name] = dict(metadata)
    return found
