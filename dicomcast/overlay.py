"""Lay what we map over what stands in a resource: what others wrote stays, byte for byte (law 4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from dicomcast.mapping.values import JSON

__all__ = ["leads_to", "listed", "objects", "overlay", "replace_ours", "target_of"]

# The only extensions that we write on elements; any other there is somebody else's.
_OURS = (
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
    extensions = existing.get("extension")
    if isinstance(extensions, list):
        ours = {*owned, *(one["url"] for one in desired.get("extension", []))}
        merged = replace_ours(extensions, desired.get("extension", []), lambda one: str(one.get("url")) in ours)
        desired = desired | {"extension": merged}
        if not merged:
            existing = {key: value for key, value in existing.items() if key != "extension"}
            del desired["extension"]
    kept = {key: value for key, value in existing.items() if key in desired or key not in owned}
    return kept | {key: _settle(existing.get(key), value) for key, value in desired.items()}


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
    return [*_settle(ours, desired), *(item for item in items if item not in ours)]


def _settle(old: Any, new: Any) -> Any:
    """`new`, or `old` where it says the same, and with the id, extensions and `_` siblings that stand on `old`."""
    if _covers(old, new):
        return old
    if isinstance(old, dict) and isinstance(new, dict):
        extensions = [*new.get("extension", []), *_foreign_extensions(old)]
        kept = {name: value for name, value in old.items() if name == "id" or name.startswith("_")}
        return kept | new | ({"extension": extensions} if extensions else {})
    if isinstance(old, list) and isinstance(new, list):
        rest = list(old)
        return [_take(rest, item) for item in new]
    return new


def _take(rest: list[Any], item: Any) -> Any:
    """The item of `rest` that says what `item` says, taken out of it; else `item`."""
    for position, candidate in enumerate(rest):
        if _covers(candidate, item):
            return rest.pop(position)
    return item


def _foreign_extensions(element: JSON) -> list[Any]:
    """The extensions of an element that are not ours."""
    extensions = listed(element.get("extension"))
    return [one for one in extensions if not (isinstance(one, dict) and one.get("url") in _OURS)]


def _covers(old: Any, new: Any) -> bool:
    """Whether `old` says all that `new` says, and no more than ids, extensions and `_` siblings beside it."""
    if isinstance(old, dict) and isinstance(new, dict):
        extra = [key for key in old if key not in new and key != "id" and not key.startswith("_")]
        if any(key != "extension" for key in extra):
            return False
        if "extension" in extra and len(_foreign_extensions(old)) != len(listed(old["extension"])):
            return False
        return all(key in old and _covers(old[key], value) for key, value in new.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_covers, old, new))
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
