"""Tables of the standards, one file each, which says where it is from; those of pydicom are tools/extract.py's."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["table"]


@cache
def table(file: str, name: str = "rows") -> dict[str, Any]:
    """A table, read when it is first asked for: a start without a study needs few of them."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name(f"{file}.json").read_text("utf-8"))[name]
    return found
