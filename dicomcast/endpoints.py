"""The Endpoint of each partition of the archive, to which every study of it refers: made sure of once."""

from __future__ import annotations

import asyncio

from dicomcast.bundle import Method, Write
from dicomcast.dicom.feed import Feed
from dicomcast.errors import Rejected, Retriable
from dicomcast.fhir import FhirServer, version_of
from dicomcast.identity import endpoint_id, origin, origin_of, sourced
from dicomcast.mapping.endpoint import ENDPOINT_NAME, endpoint
from dicomcast.mapping.values import JSON
from dicomcast.memory import Memory
from dicomcast.overlay import listed, overlay
from dicomcast.patients import identifier_of

__all__ = ["Endpoints"]


class Endpoints:
    """The Endpoints of one source."""

    def __init__(self, fhir: FhirServer, memory: Memory, feed: Feed) -> None:
        self._fhir = fhir
        self._memory = memory
        self._feed = feed
        self._references: dict[str, str] = {}
        self._lock = asyncio.Lock()

    def forget(self) -> None:
        """Make sure of them again."""
        self._references.clear()

    async def reference(self, partition: str) -> str:
        """The reference of a partition's Endpoint.

        Raises:
            Retriable: the server will not have it. Every study refers to it: this is no study's fault.
        """
        async with self._lock:
            if partition not in self._references:
                try:
                    self._references[partition] = await self._ensure(partition)
                except Rejected as error:
                    said = f"the archive's Endpoint cannot be written ({error})"
                    raise Retriable(said, peer="fhir", status=error.status, codes=error.codes) from None
            return self._references[partition]

    async def _ensure(self, partition: str) -> str:
        desired = endpoint(self._feed.base_url(partition))
        own = endpoint_id(self._feed.source, partition)
        identifier = identifier_of(desired)
        found = await self._memory.get("Endpoint", identifier)
        by_id = await self._fhir.read("Endpoint", own) if not found else None
        if not found and by_id is None and not partition:
            found = await self._of_the_predecessor()
        # Of several, ours; else always the same, whatever order the server answers them in.
        existing = min(found, key=lambda one: (origin_of(one)[0] != self._feed.source, one["id"]), default=by_id)
        if existing is None:
            by_put = self._fhir.creates_by_put("Endpoint")
            write = Write(Method.PUT if by_put else Method.POST, desired | {"id": own}, unless=identifier, new=True)
            written = (await self._fhir.write([write]))[0]
            return f"Endpoint/{written.id or own}"
        if origin_of(existing)[0] == self._feed.source:
            theirs = [one for one in listed(existing.get("identifier")) if one != desired["identifier"][0]]
            ours = {name: value for name, value in desired.items() if name != "meta"}
            after = overlay(existing, ours | {"identifier": [*desired["identifier"], *theirs]}, ())
            if after != existing:
                await self._fhir.write([Write(Method.PUT, after, version=version_of(existing))])
        return f"Endpoint/{existing['id']}"

    async def _of_the_predecessor(self) -> list[JSON]:
        """The Endpoint that DICOM Cast made: it has no identifier, and its name and address alone tell whose it is."""
        try:
            named = await self._fhir.search("Endpoint", {"name": ENDPOINT_NAME})
        except Rejected:  # A server that cannot search by it.
            return []
        ours = (self._feed.source, "")
        # HAPI gives what has no source one that is a fragment alone.
        nobodys = [one for one in named if origin_of(one)[0].partition("#")[0] == ""]
        made = [one for one in nobodys if origin(str(one.get("address"))) == ours]
        return [{**one, "meta": sourced(one.get("meta"), self._feed.base_url(""))} for one in made]
