"""From what should be written to the Bundle that writes it. Pure.

A transaction where the server has them; else the same entries in the same order as batches: every id is
known beforehand there, so the references already point right.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from urllib.parse import urlencode
from uuid import UUID, uuid5

from dicomcast.mapping.values import JSON, without_empty
from dicomcast.overlay import listed, objects

__all__ = ["Method", "Write", "batches", "escape", "reference", "token", "transaction", "weight_of"]

_NAMESPACE = UUID("5a3c5d7e-52f1-5b0b-8b39-0f4b6b1f1b52")


class Method(StrEnum):
    """How a resource is written. `PUT` is also how one is created where the server lets clients choose ids."""

    PUT = "PUT"
    POST = "POST"
    DELETE = "DELETE"


@dataclass(frozen=True, slots=True)
class Write:
    """One resource to write.

    `version` is what the resource was read as (`meta.versionId`, opaque), "" if it was not there: it
    becomes If-Match. `unless` is the identifier (system, value) of a conditional create. `new` says that nothing
    was found, so that this makes it: some servers tell no versions.
    """

    method: Method
    resource: JSON
    version: str = ""
    unless: tuple[str, str] | None = None
    new: bool = False


def escape(value: str) -> str:
    """A value as it stands in a FHIR search parameter (R4 search.html#escaping)."""
    for character in "\\$,|":
        value = value.replace(character, f"\\{character}")
    return value


def token(system: str, value: str) -> str:
    """The token search value of an identifier (R4 search.html#token)."""
    return f"{escape(system)}|{escape(value)}"


def reference(write: Write) -> str:
    """How other entries of the bundle refer to what `write` makes."""
    kind, resource_id = write.resource["resourceType"], write.resource["id"]
    if write.method is Method.POST:
        return f"urn:uuid:{uuid5(_NAMESPACE, f'{kind}/{resource_id}')}"
    return f"{kind}/{resource_id}"


def transaction(writes: list[Write]) -> JSON:
    """All of them or none."""
    return without_empty({"resourceType": "Bundle", "type": "transaction", "entry": list(map(_entry, writes))})


def batches(writes: list[Write]) -> list[JSON]:
    """For servers without transactions: one batch for each run of one kind of resource, in the order of `writes`."""
    runs = groupby(writes, key=lambda write: write.resource["resourceType"])
    return [{"resourceType": "Bundle", "type": "batch", "entry": list(map(_entry, run))} for _, run in runs]


def weight_of(resource: JSON) -> int:
    """How large a resource is, roughly: 1, and 1 for each series and each instance that is listed in it."""
    series = objects(resource.get("series"))
    return 1 + len(series) + sum(len(listed(one.get("instance"))) for one in series)


def _entry(write: Write) -> JSON:
    url = f"{write.resource['resourceType']}/{write.resource['id']}"
    request: JSON = {"method": write.method.value, "url": url}
    if write.version:
        request["ifMatch"] = f'W/"{write.version}"'
    if write.method is Method.DELETE:
        return {"request": request}
    if write.method is Method.PUT:
        return {"resource": _sendable(write.resource), "request": request}
    request = {"method": "POST", "url": write.resource["resourceType"]}
    if write.unless is not None:
        request["ifNoneExist"] = urlencode({"identifier": token(*write.unless)})
    resource = {name: value for name, value in _sendable(write.resource).items() if name != "id"}
    return {"fullUrl": reference(write), "resource": resource, "request": request}


def _sendable(resource: JSON) -> JSON:
    """Without what the server sets itself (R4 resource.html#Meta)."""
    before = resource["meta"] if isinstance(resource.get("meta"), dict) else {}
    meta = {name: value for name, value in before.items() if name not in ("versionId", "lastUpdated")}
    rest = {name: value for name, value in resource.items() if name != "meta"}
    return {"resourceType": rest.pop("resourceType"), **({"meta": meta} if meta else {}), **rest}
