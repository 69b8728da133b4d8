"""What the FHIR server holds, as far as we looked: one search for many, and what was just written."""

from __future__ import annotations

from collections.abc import Iterable

from dicomcast.bundle import Method, Write
from dicomcast.fhir import FhirServer, Identifier, Written, has_identifier
from dicomcast.mapping.values import JSON

__all__ = ["Memory"]


class Memory:
    """Resources by type and identifier.

    Forgotten after some hundred studies, so that nobody else's change is missed for long.
    """

    def __init__(self, fhir: FhirServer) -> None:
        self._fhir = fhir
        self._found: dict[tuple[str, Identifier], list[JSON]] = {}
        self._near: set[tuple[str, Identifier]] = set()

    async def look_up(self, kind: str, identifiers: Iterable[Identifier]) -> None:
        """Search for all of them at once, those that are known left out."""
        unknown = {identifier for identifier in identifiers if (kind, identifier) not in self._found}
        if unknown:
            found, near = await self._fhir.find(kind, unknown)
            self._near |= {(kind, identifier) for identifier in near}
            for identifier, resources in found.items():
                # What was written meanwhile is newer.
                self._found.setdefault((kind, identifier), resources)

    async def get(self, kind: str, identifier: Identifier) -> list[JSON]:
        """The resources that carry an identifier."""
        await self.look_up(kind, [identifier])
        return self._found[kind, identifier]

    def near(self, kind: str, identifier: Identifier) -> bool:
        """Whether the server found for an identifier what does not carry it: it compares in another way than we do."""
        return (kind, identifier) in self._near

    def remember(self, write: Write, written: Written) -> None:
        """Keep what was written; where the server does not tell its version, look again next time."""
        kind, resource_id = write.resource["resourceType"], written.id or write.resource["id"]
        for (known, identifier), resources in list(self._found.items()):
            others = [one for one in resources if one["id"] not in (resource_id, write.resource["id"])]
            if known != kind or (len(others) == len(resources) and not has_identifier(write.resource, identifier)):
                continue
            if write.method is Method.DELETE:
                self._found[known, identifier] = others
            # A conditional create that found one (200) did not write ours.
            elif written.version and has_identifier(write.resource, identifier) and not _found(write, written):
                before = write.resource.get("meta")
                meta = (before if isinstance(before, dict) else {}) | {"versionId": written.version}
                self._found[known, identifier] = [*others, write.resource | {"id": resource_id, "meta": meta}]
            else:
                del self._found[known, identifier]

    def clear(self) -> None:
        """Forget everything."""
        self._found.clear()
        self._near.clear()


def _found(write: Write, written: Written) -> bool:
    return write.method is Method.POST and written.status == 200
