"""What searches find on a server whose index runs behind, as those of some clouds do for seconds."""

from __future__ import annotations

from collections import deque

from dicomcast.demo.fhir_store import FhirStore


class LateIndex:
    """A copy of a store as it was `behind` requests ago; reads of a resource by its id are never late."""

    def __init__(self, store: FhirStore, behind: int) -> None:
        self._store = store
        self._copy = FhirStore() if behind else store
        # How much had been written when each of the last requests came.
        self._marks = deque([0] * behind, maxlen=behind)

    @property
    def store(self) -> FhirStore:
        """What a search looks through."""
        return self._copy

    def tick(self) -> None:
        """Another request has come."""
        if self._marks:
            self._add(self._marks[0])
            self._marks.append(len(self._store.log))

    def catch_up(self) -> None:
        """Time has passed without a request."""
        if self._marks:
            self._add(len(self._store.log))

    def _add(self, end: int) -> None:
        for version in self._store.log[len(self._copy.log) : end]:
            self._copy.append(version)
