"""Good resources, each with one defect."""

from __future__ import annotations

import copy
from typing import Any

__all__ = ["GONE", "broken"]

GONE = object()


def broken(good: dict[str, Any], path: str, value: Any) -> Any:
    """A good resource with another value at this place, or with none if that is `GONE`."""
    resource = copy.deepcopy(good)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    at: Any = resource
    for step in steps:
        at = at[step]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return resource
