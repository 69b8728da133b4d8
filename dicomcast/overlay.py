"""Lay what we map over what stands in a resource: what others wrote stays, byte for byte (law 4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from dicomcast.mapping.values import JSON

__all__ = ["OURS", "covers", "leads_to", "listed", "objects", "overlay", "replace_ours", "settle", "target_of"]

# The only extensions that we write on elements; any other there is somebody else's.
OURS = (
    "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
    "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation",
    "http://hl7.org/fhir/StructureDefinition/patient-birthTime",
)

# A relative reference, perhaps to one version (R4 references.html#literal). The id goes into the path of a request.
_RELATIVE = re.compile(r"(?P<target>[A-Za-z]+/(?!\.+(?:/|$))[\w.-]+)(?:/_history/[^/?#]+)?", re.ASCII)
_PORTS = {"http": 80, "https": 443}


def overlay(existing: JSON, desired: JSON, owned: Collection[str]) -> JSON:
    """`existing` with its `owned` members as `desired` has them: a member that `desired` lacks goes.

    An extension of the object itself is owned by its URL.
    """
    if existing.keys().isdisjoint(desired) and existing.keys().isdisjoint(("extension", *owned)):
        return existing | desired  # nothing of ours stands there yet
    extensions = existing.get("extension")
    if isinstance(extensions, list):
        ours = {*owned, *(one["url"] for one in desired.get("extension", []))}
        merged = replace_ours(extensions, desired.get("extension", []), lambda one: str(one.get("url")) in ours)
        desired = desired | {"extension": merged}
        if not merged:
            existing = {key: value for key, value in existing.items() if key != "extension"}
            del desired["extension"]
    kept = {key: value for key, value in existing.items() if key in desired or key not in owned}
    return kept | {key: settle(existing.get(key), value) for key, value in desired.items()}


def listed(value: Any) -> list[Any]:
    """The items of a list; none where anything else stands, since anyone may have written it."""
    return value if isinstance(value, list) else []


def objects(value: Any) -> list[JSON]:
    """The objects of a list, likewise."""
    return [item for item in listed(value) if isinstance(item, dict)]


def leads_to(reference: Any, target: str, base: str) -> bool:
    """Whether a Reference is one to `target`, Type/id, of the FHIR server at `base`."""
    return bool(target) and target_of(reference, base) == target


def target_of(reference: Any, base: str) -> str:
    """What a Reference leads to on the FHIR server at `base`, as Type/id; "" if it leads elsewhere or nowhere.

    Some servers answer absolute URLs. A version in it makes no other resource.
    """
    literal = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(literal, str):
        return ""
    match = _RELATIVE.fullmatch(_below(literal, base) if "://" in literal else literal)
    return match["target"] if match else ""


def _below(url: str, base: str) -> str:
    """The rest of a URL behind `base`, "" if it is not below it."""
    try:
        ours, theirs = urlsplit(base), urlsplit(url)
        same = [(one.scheme, one.hostname, one.port or _PORTS.get(one.scheme)) for one in (ours, theirs)]
    except ValueError:  # no port, or no address
        return ""
    path = f"{ours.path.rstrip('/')}/"
    if same[0] != same[1] or theirs.query or not theirs.path.startswith(path):
        return ""
    return theirs.path.removeprefix(path)


def replace_ours(existing: Any, desired: list[JSON], is_ours: Callable[[JSON], bool]) -> list[Any]:
    """A list with our items as desired and the foreign ones as they were, behind ours."""
    items = listed(existing)
    ours = [item for item in items if isinstance(item, dict) and is_ours(item)]
    return [*settle(ours, desired), *(item for item in items if item not in ours)]


def settle(old: Any, new: Any) -> Any:
    """`new`, or `old` where it says the same, and with the id, extensions and `_` siblings that stand on `old`."""
    if covers(old, new):
        return old
    if isinstance(old, dict) and isinstance(new, dict):
        extensions = [*listed(new.get("extension")), *_ours_and_theirs(old, new)[1]]
        kept = {name: value for name, value in old.items() if name == "id" or name.startswith("_")}
        return kept | new | ({"extension": extensions} if extensions else {})
    if isinstance(old, list) and isinstance(new, list):
        rest = list(old)
        return [_take(rest, item) for item in new]
    return new


def _take(rest: list[Any], item: Any) -> Any:
    """The item of `rest` that says what `item` says, taken out of it; else `item`."""
    for position, candidate in enumerate(rest):
        if covers(candidate, item):
            return rest.pop(position)
    return item


def _ours_and_theirs(old: JSON, new: JSON) -> tuple[list[Any], list[Any]]:
    """The extensions of an element that are ours, by their URL, and those that are not."""
    urls = {*OURS, *(str(one.get("url")) for one in objects(new.get("extension")))}
    found = listed(old.get("extension"))
    ours = [one for one in found if isinstance(one, dict) and str(one.get("url")) in urls]
    return ours, [one for one in found if one not in ours]


def covers(old: Any, new: Any) -> bool:
    """Whether `old` says all that `new` says, and no more than ids, extensions and `_` siblings beside it."""
    if isinstance(old, dict) and isinstance(new, dict):
        if any(key not in new and key not in ("id", "extension") and not key.startswith("_") for key in old):
            return False
        if not covers(_ours_and_theirs(old, new)[0], listed(new.get("extension"))):
            return False
        return all(key in old and covers(old[key], value) for key, value in new.items() if key != "extension")
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(covers, old, new))
    if isinstance(old, str) and isinstance(new, str):
        return old == new or _same_moment(old, new)
    return type(old) is type(new) and bool(old == new)


def _same_moment(old: str, new: str) -> bool:
    """Servers rewrite a dateTime (`Z` for `+00:00`, a fraction): the same moment in the same zone is no change."""
    if len(old) < 20 or len(new) < 20 or old[:13] != new[:13] or old[10] != "T":
        return False
    try:
        first, second = datetime.fromisoformat(old), datetime.fromisoformat(new)
    except ValueError:
        return False
    return first == second and first.utcoffset() == second.utcoffset()
