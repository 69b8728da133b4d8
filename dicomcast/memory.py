"""What the FHIR server holds, as far as we looked: one search for many, and what was just written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from dicomcast.bundle import Method, Write, weight_of
from dicomcast.fhir import FhirServer, Identifier, Written, identifiers_of
from dicomcast.mapping.values import JSON

__all__ = ["Memory"]

# What we wrote ourselves is known for so many seconds, and so much of it, where an instance that is listed weighs 1:
# more than the largest study that is listed by default.
_FRESH, _WEIGHT = 300.0, 12_000


# (type, identifier): what is looked for.
Key = tuple[str, Identifier]


class Memory:
    """Resources by type and identifier.

    Forgotten after some hundred studies, so that nobody else's change is missed for long. What we wrote ourselves is
    kept for longer where the server has versions: should somebody change it, our next update is refused (If-Match).
    """

    def __init__(self, fhir: FhirServer) -> None:
        self._fhir = fhir
        self._found: dict[Key, list[JSON]] = {}
        self._near: set[Key] = set()
        # The keys under which a resource was found, by its type and id.
        self._keys: dict[tuple[str, str], set[Key]] = {}
        # When we wrote what stands there alone, the newest last.
        self._written: dict[Key, float] = {}

    async def look_up(self, kind: str, identifiers: Iterable[Identifier]) -> None:
        """Search for all of them at once, those that are known left out."""
        unknown = {identifier for identifier in identifiers if (kind, identifier) not in self._found}
        if unknown:
            found, near = await self._fhir.find(kind, unknown)
            self._near |= {(kind, identifier) for identifier in near}
            for identifier, resources in found.items():
                if (kind, identifier) not in self._found:  # What was written meanwhile is newer.
                    self._keep((kind, identifier), resources)

    async def get(self, kind: str, identifier: Identifier) -> list[JSON]:
        """The resources that carry an identifier."""
        await self.look_up(kind, [identifier])
        return self._found[kind, identifier]

    def near(self, kind: str, identifier: Identifier) -> bool:
        """Whether the server found for an identifier what does not carry it: it compares in another way than we do."""
        return (kind, identifier) in self._near

    def remember(self, write: Write, written: Written) -> None:
        """Keep what was written; where the server does not tell its version, look again next time."""
        resource, kind = write.resource, write.resource["resourceType"]
        ids = {written.id or resource["id"], resource["id"]}
        # Others may have written anything among the identifiers; what is no text was not searched for.
        carried = {(kind, one) for one in identifiers_of(resource) if all(isinstance(part, str) for part in one)}
        for key in set().union(carried & self._found.keys(), *(self._keys.get((kind, one), ()) for one in ids)):
            others = [one for one in self._found.pop(key) if one["id"] not in ids]
            self._written.pop(key, None)
            if write.method is Method.DELETE:
                self._keep(key, others)
            # A conditional create that found one (200) did not write ours.
            elif written.version and key in carried and not _found(write, written):
                before = resource.get("meta")
                meta = (before if isinstance(before, dict) else {}) | {"versionId": written.version}
                self._keep(key, [*others, resource | {"id": written.id or resource["id"], "meta": meta}])
                if not others and kind in self._fhir.capabilities.versioned:
                    self._written[key] = _now()

    def _keep(self, key: Key, resources: list[JSON]) -> None:
        self._found[key] = resources
        for one in resources:
            self._keys.setdefault((key[0], one["id"]), set()).add(key)

    def renew(self) -> None:
        """Forget everything but what we wrote a short while ago."""
        written, found = self._written, self._found
        self.clear()
        weight = 0
        for key, moment in reversed(written.items()):
            weight += sum(map(weight_of, found[key]))
            if weight > _WEIGHT or moment < _now() - _FRESH:
                break
            self._keep(key, found[key])
        self._written = {key: moment for key, moment in written.items() if key in self._found}

    def clear(self) -> None:
        """Forget everything."""
        self._found, self._near, self._keys, self._written = {}, set(), {}, {}


def _now() -> float:
    return asyncio.get_running_loop().time()


def _found(write: Write, written: Written) -> bool:
    return write.method is Method.POST and written.status == 200
