"""A table in memory that refuses what Azure's refuses, and that dies at a request of the test's choice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from dicomcast.errors import StateError
from dicomcast.state.azure_table import Moved, Operation
from dicomcast.state.azure_tables import AzureTablesStore
from dicomcast.state.store import TableAccess
from tests.servers.azurite import connection_string

__all__ = ["Shelf", "store_on"]

Entities = dict[tuple[str, str], tuple[dict[str, str], int]]


class Shelf:
    """Has the methods of `Table`. It dies at the request of number `lives` from now: before it, or `late`, after it."""

    def __init__(self) -> None:
        self.entities: Entities = {}
        self.requests = 0
        self.lives: int | None = None
        self.late = False
        self.twice = False  # every write is repeated, since its answer is lost
        self._etag = 0

    def get(self, partition: str, key: str) -> tuple[dict[str, Any], str] | None:
        self._die(late=False)
        found = self.entities.get((partition, key))
        self._die(late=True)
        return (dict(found[0]), str(found[1])) if found else None

    def between(self, partition: str, low: str, high: str, *, keys: bool = False) -> Iterator[dict[str, Any]]:
        self._die(late=False)
        for (where, key), (content, _) in sorted(self.entities.items()):
            if where == partition and low <= key < high:
                yield {"RowKey": key} if keys else dict(content)

    def write(self, operations: Sequence[Operation]) -> str:
        self._die(late=False)
        etag = self._write(operations)
        self._die(late=True)
        return self._write(operations) if self.twice else etag

    def close(self) -> None:
        """Nothing is open."""

    def _die(self, *, late: bool) -> None:
        if not late:
            self.requests += 1
            self.lives = None if self.lives is None else self.lives - 1
        if self.lives is not None and (self.lives < 0 or (self.lives == 0 and late == self.late)):
            raise StateError("no connection")

    def _write(self, operations: Sequence[Operation]) -> str:
        assert 1 <= len(operations) <= 100
        keys = [(content["PartitionKey"], content["RowKey"]) for _, content, _ in operations]
        assert len(set(keys)) == len(keys) and len({partition for partition, _ in keys}) == 1
        assert sum(len(text) + 500 for _, content, _ in operations for text in content.values()) < 4 << 20
        for key, (verb, content, etag) in zip(keys, operations, strict=True):
            assert all(re.fullmatch(r"[^/\\#?%\x00-\x1f\x7f-\x9f]{1,500}", part) for part in key)
            assert all(len(text.encode("utf-16-le")) <= 64 << 10 for text in content.values())
            assert sum(len(text.encode("utf-16-le")) for text in content.values()) < 1 << 20
            there = self.entities.get(key)
            if (verb == "create") == (there is not None) and verb != "upsert":
                raise Moved
            if etag is not None and (there is None or str(there[1]) != etag):
                raise Moved
        for key, (verb, content, _) in zip(keys, operations, strict=True):
            self._etag += 1
            if verb == "delete":
                del self.entities[key]
            else:
                self.entities[key] = dict(content), self._etag
        return str(self.entities[keys[0]][1]) if keys[0] in self.entities else ""


def store_on(shelf: Shelf, *, read_only: bool = False) -> AzureTablesStore:
    """A store as a new process has it, whose table is in memory."""
    access = TableAccess(connection_string("https://127.0.0.1:1/devstoreaccount1"))
    store = AzureTablesStore("", access, read_only=read_only)
    store._connect = lambda: shelf  # type: ignore[assignment,return-value]
    return store
