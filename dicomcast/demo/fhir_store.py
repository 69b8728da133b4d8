"""Every version of every resource, in memory, kept as the bytes it was served with.

The newest versions are also held parsed, and indexed by identifier and by what they refer to. What the
store hands out parsed is its own: look, don't touch (`resources` gives copies).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson

Resource = dict[str, Any]

# https://hl7.org/fhir/R4/references.html#literal: a relative reference, perhaps to one version
_RELATIVE = re.compile(r"([A-Za-z]+/[A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a resource; `json` is None where it was deleted."""

    type: str
    id: str
    number: int
    at: datetime
    json: bytes | None

    @property
    def reference(self) -> str:
        """The relative reference to the resource."""
        return f"{self.type}/{self.id}"

    @property
    def location(self) -> str:
        """The relative address of this very version."""
        return f"{self.reference}/_history/{self.number}"

    @property
    def etag(self) -> str:
        """The weak ETag that FHIR prescribes (R4 http.html#concurrency)."""
        return f'W/"{self.number}"'


class FhirStore:
    """Versioned resources, of any type and unvalidated: what to refuse is the server's affair.

    `log` is what was written, in order.
    """

    def __init__(self) -> None:
        self._history: dict[str, list[Version]] = {}
        self._current: defaultdict[str, dict[str, Resource]] = defaultdict(dict)
        self._identified: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        self._referrers: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._written: list[Version] | None = None
        self.log: list[Version] = []

    def put(self, resource: Resource) -> Version:
        """Write the next version of a resource, under a new id if it brings none."""
        kind, id = resource["resourceType"], resource.get("id") or str(uuid4())
        number, at = self._next(kind, id)
        meta = {**resource.get("meta", {}), "versionId": str(number), "lastUpdated": instant(at)}
        head = {"resourceType": kind, "id": id, "meta": meta}
        return self.append(Version(kind, id, number, at, orjson.dumps({**head, **resource, **head})))

    def delete(self, kind: str, id: str) -> Version:
        """Write a version that says: deleted."""
        return self.append(Version(kind, id, *self._next(kind, id), None))

    def append(self, version: Version) -> Version:
        """Add a version that is complete already, as those of another store's `log` are."""
        self._history.setdefault(version.reference, []).append(version)
        self._index(version.type, version.id)
        self.log.append(version)
        if self._written is not None:
            self._written.append(version)
        return version

    @contextmanager
    def transaction(self) -> Iterator[list[Version]]:
        """Yield the list of what is being written; if anything is raised, none of it was."""
        written = self._written = []
        try:
            yield written
        except BaseException:
            del self.log[len(self.log) - len(written) :]
            for version in reversed(written):
                self._history[version.reference].pop()
                self._index(version.type, version.id)
            raise
        finally:
            self._written = None

    def history(self, kind: str, id: str) -> Sequence[Version]:
        """All versions, oldest first; none if there never was such a resource."""
        return self._history.get(f"{kind}/{id}", [])

    def histories(self) -> Iterable[Sequence[Version]]:
        """The versions of each resource that there ever was, deleted ones too."""
        return [history for history in self._history.values() if history]

    def latest(self, kind: str, id: str) -> Version | None:
        """The newest version, which may be a deletion; None if there never was such a resource."""
        history = self.history(kind, id)
        return history[-1] if history else None

    def current(self, kind: str) -> Iterable[Resource]:
        """The resources of a type, without the deleted ones."""
        return self._current[kind].values()

    def identified(self, kind: str, value: str) -> Iterable[Resource]:
        """The resources of a type that have an identifier with this value, of whatever system."""
        return (self._current[kind][id] for id in self._identified.get((kind, value), ()))

    def exists(self, reference: str) -> bool:
        """Is there, undeleted, what this relative reference points to?"""
        kind, _, id = reference.partition("/")
        return id in self._current[kind]

    def references(self, version: Version) -> Iterable[str]:
        """The references that a resource makes to others, as they are written there."""
        resource = self._current[version.type].get(version.id, {})
        contained = {f"#{inner['id']}" for inner in resource.get("contained", ()) if "id" in inner}
        return (reference for reference in _references(resource) if reference not in contained)

    def referrers(self, version: Version) -> Iterable[str]:
        """Who refers to a resource, as relative references."""
        return self._referrers.get(version.reference, {})

    def resources(self, kind: str) -> list[Resource]:
        """Copies of all resources of a type, without the deleted ones."""
        return [orjson.loads(orjson.dumps(resource)) for resource in self.current(kind)]

    def versions(self, kind: str, id: str) -> int:
        """How often a resource was written, deletions included."""
        return len(self.history(kind, id))

    def total_versions(self) -> int:
        """How often anything was written, deletions included."""
        return sum(map(len, self._history.values()))

    def _next(self, kind: str, id: str) -> tuple[int, datetime]:
        return self.versions(kind, id) + 1, datetime.now(UTC)

    def _index(self, kind: str, id: str) -> None:
        """Make the indexes say what the newest version says."""
        current, reference = self._current[kind], f"{kind}/{id}"
        before = current.get(id, {})
        for value in _identifier_values(before):
            self._identified[kind, value].pop(id, None)
        for target in _targets(before):
            self._referrers[target].pop(reference, None)

        latest = self.latest(kind, id)
        if latest is None or latest.json is None:
            current.pop(id, None)
            return
        after = current[id] = orjson.loads(latest.json)
        for value in _identifier_values(after):
            self._identified[kind, value][id] = None
        for target in _targets(after):
            self._referrers[target][reference] = None


def instant(at: datetime) -> str:
    """A FHIR instant, to the millisecond."""
    return at.isoformat(timespec="milliseconds")


def relative_target(reference: str) -> str | None:
    """The `Type/id` that a relative reference points to; None if it is not one."""
    match = _RELATIVE.fullmatch(reference)
    return match[1] if match else None


def _identifier_values(resource: Resource) -> Iterator[str]:
    return (identifier["value"] for identifier in resource.get("identifier", ()) if "value" in identifier)


def _targets(resource: Resource) -> Iterator[str]:
    return (target for reference in _references(resource) if (target := relative_target(reference)))


def _references(node: Any) -> Iterator[str]:
    """Every `Reference.reference` in a tree, wherever it is."""
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
    elif isinstance(node, dict):
        if isinstance(node.get("reference"), str):
            yield node["reference"]
        for value in node.values():
            if isinstance(value, dict | list):
                yield from _references(value)
