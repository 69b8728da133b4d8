"""Studies that others created and that the archive holds too: which partition of it has taken one over.

The series of the archive name the Endpoint of their partition; nothing else on the resource says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dicomcast.errors import Rejected
from dicomcast.fhir import FhirServer
from dicomcast.identity import origin
from dicomcast.mapping.values import JSON
from dicomcast.overlay import listed, objects, target_of

__all__ = ["Adoptions"]


class Adoptions:
    """What the Endpoints say that series of others' studies refer to. Forgotten with every some hundred studies."""

    def __init__(self, fhir: FhirServer, source: str) -> None:
        self._fhir = fhir
        self._source = source
        self._partitions: dict[str, str | None] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._partitions.clear()

    async def holders(self, study: JSON) -> dict[str, str]:
        """The partitions whose series stand in a study, and the reference of the Endpoint of each."""
        return await self.named(listed(study.get("series")))

    async def named(self, elements: Iterable[Any]) -> dict[str, str]:
        """The partitions whose Endpoints these elements name, and the references."""
        endpoints = (one for element in objects(list(elements)) for one in listed(element.get("endpoint")))
        targets = {target_of(one, self._fhir.base_url) for one in endpoints}
        found = {await self._partition(target): target for target in sorted(targets)}
        return {partition: target for partition, target in found.items() if partition is not None}

    async def _partition(self, target: str) -> str | None:
        """The partition of our archive whose DICOMweb base URL is an Endpoint's identifier."""
        kind, _, resource_id = target.partition("/")
        if kind != "Endpoint":
            return None
        if target not in self._partitions:
            try:
                endpoint = await self._fhir.read(kind, resource_id) or {}
            except Rejected:  # No id that this server could have given.
                endpoint = {}
            origins = (origin(str(one.get("value"))) for one in objects(endpoint.get("identifier")))
            self._partitions[target] = next(
                (partition for source, partition in origins if source == self._source), None
            )
        return self._partitions[target]
