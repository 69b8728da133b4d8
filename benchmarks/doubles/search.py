"""The resources of the FHIR double, found by id, by identifier, and by what else its clients search for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["Index"]

JSON = dict[str, Any]

_ESCAPED = re.compile(r"\\(.)")


class Index:
    """Resources by type and id; identifiers lead to them."""

    def __init__(self) -> None:
        self._resources: dict[str, dict[str, JSON]] = defaultdict(dict)
        self._identified: dict[tuple[str, str, str], dict[str, None]] = defaultdict(dict)

    def get(self, kind: str, id: str) -> JSON | None:
        """A resource, None if it is not there."""
        return self._resources[kind].get(id)

    def all(self, kind: str) -> Iterable[JSON]:
        """All resources of a type."""
        return self._resources[kind].values()

    def put(self, resource: JSON) -> None:
        """Store the newest version of a resource."""
        kind, id = resource["resourceType"], resource["id"]
        self.delete(kind, id)
        self._resources[kind][id] = resource
        for one in _identifiers(resource):
            self._identified[kind, *one][id] = None

    def delete(self, kind: str, id: str) -> None:
        """Forget a resource, if it is there."""
        before = self._resources[kind].pop(id, None)
        for one in _identifiers(before or {}):
            self._identified[kind, *one].pop(id, None)

    def find(self, kind: str, query: Mapping[str, str]) -> list[JSON]:
        """The matches of a search, whose parameters are all of those that are known here."""
        resources = self._resources[kind]
        if "identifier" in query:
            ids = (id for one in _tokens(query["identifier"]) for id in self._identified.get((kind, *one), ()))
            return [resources[id] for id in dict.fromkeys(ids)]
        if "_id" in query:
            return [resources[query["_id"]]] if query["_id"] in resources else []
        if "subject" in query:
            return [one for one in resources.values() if one["subject"]["reference"] == query["subject"]]
        return [one for one in resources.values() if one.get("name") == query.get("name")]


def _identifiers(resource: JSON) -> Iterator[tuple[str, str]]:
    return ((one.get("system", ""), one["value"]) for one in resource.get("identifier", ()))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """`system|value` and alternatives of it between commas, with what is escaped (R4 search.html#escaping)."""
    for alternative in re.split(r"(?<!\\),", text):
        system, _, value = alternative.partition("|")
        yield _ESCAPED.sub(r"\1", system), _ESCAPED.sub(r"\1", value)
