"""All that an Azure table holds of one feed, written so that everything or nothing of it is there.

Every write is a transaction that replaces the head under its ETag, so there is one order of writes, and what was read
under a head is true for as long as that head is. What does not fit into one transaction is settled by a journal: its
parts are written first, under a key that nobody looks at; the head that names them settles them; then they are brought
into their rows, each batch with the head, which counts them. Whoever finds such a head goes on with that. Parts that no
head ever named are of a version that has passed, and are cleared away.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import uuid4

from dicomcast.errors import CursorMoved, LeaseLost, StateError
from dicomcast.state.azure_entities import (
    BACKFILL,
    HEAD,
    INVENTORY,
    JOURNAL,
    PARKED,
    Changes,
    Head,
    Journal,
    batches,
    entity,
    journal_key,
    partition_key,
    text_of,
)
from dicomcast.state.azure_table import Moved, Operation, Table

__all__ = ["Content", "Feed", "Known"]

_CONTENDED = "STATE__URL: others write to this feed all the time, or a part of a journal was deleted"
# How often a write is tried anew because somebody else wrote meanwhile.
_ATTEMPTS = 50
# How much of a journal stands in one entity.
_PART = 300_000
# The ends of ranges: no key has a character behind this one.
_END = "~"

# The texts of a kind of rows, by their key.
Content = dict[str, str]


@dataclass(frozen=True, slots=True)
class Known:
    """A head, with its ETag: "" where there is none yet."""

    head: Head
    etag: str = ""


class Feed:
    """The head of a feed and its rows of all kinds; what was read is kept for as long as it is true."""

    def __init__(self, table: Table, feed: str, *, read_only: bool) -> None:
        self._table = table
        self._feed = feed
        self._partition = partition_key(feed)
        self._read_only = read_only
        self._known: Known | None = None
        self._contents: dict[str, tuple[int, Content]] = {}

    # --- Reading ---

    def look(self) -> Known:
        """The head as it stands."""
        found = self._table.get(self._partition, HEAD)
        self._known = Known(Head(self._feed)) if found is None else Known(Head.of(text_of(found[0])), found[1])
        return self._known

    def read(self, prefix: str) -> Content:
        """The rows of a kind as they stand."""
        for _ in range(_ATTEMPTS):
            try:
                return self.content(prefix, self._finished(self.look()))
            except Moved:
                continue
        raise StateError(_CONTENDED)

    def content(self, prefix: str, known: Known) -> Content:
        """The rows of a kind as they were under a head.

        Raises:
            Moved: they are others by now.
        """
        version = _version(known.head, prefix)
        kept = self._contents.get(prefix)
        if kept is not None and kept[0] == version:
            return kept[1]
        found = self._stored(prefix)
        if known.head.journal:  # Who only reads brings nothing into the rows.
            _apply(found, prefix, self._journal(known.head.journal))
        now = self.look().head
        if (_version(now, prefix), now.journal) != (version, known.head.journal):
            raise Moved
        self._contents[prefix] = version, found
        return found

    def _stored(self, prefix: str) -> Content:
        rows = self._table.between(self._partition, prefix, prefix + _END)
        return {str(row["RowKey"]): text_of(row) for row in rows}

    # --- Writing ---

    def write(self, decide: Callable[[Known], tuple[Head, Changes]]) -> Head:
        """Write what is decided by the head as it stands; anew where somebody else was faster.

        What is known may be old: that nothing is to be written, or that it must not be, is said of a fresh head alone.
        """
        known, fresh = (self._known, False) if self._known is not None else (self.look(), True)
        for _ in range(_ATTEMPTS):
            try:
                known = self._finished(known)
                after, changes = decide(known)
                if after != known.head or changes:
                    return self._settle(known, after, changes)
                if fresh:
                    return after
            except (CursorMoved, LeaseLost):
                if fresh:
                    raise
            except Moved:
                pass
            known, fresh = self.look(), True
        raise StateError(_CONTENDED)

    def _settle(self, known: Known, after: Head, changes: Changes) -> Head:
        version = known.head.version + 1
        after = replace(
            after,
            version=version,
            write=uuid4().hex,
            rows=version if _touches(changes, PARKED) else after.rows,
            inventory=version if _touches(changes, INVENTORY) else after.inventory,
            backfill=version if _touches(changes, BACKFILL) else after.backfill,
        )
        together = list(batches(changes.items()))
        if len(together) <= 1:
            self._replace(known, after, dict(changes))
        else:
            parts = self._write_journal(version, after.write, changes)
            after = replace(after, journal=Journal(after.write, parts))
            self._replace(known, after, {})
        self._keep(known.head, after, changes)
        if after.journal and self._known is not None:
            with suppress(Moved, StateError):  # It is settled; whoever comes next brings it into the rows.
                self._finished(self._known)
        return after

    def _replace(self, known: Known, after: Head, changes: Changes) -> None:
        """One transaction: the head, and rows that go with it.

        Raises:
            Moved: the head is another by now.
        """
        content = entity(self._partition, HEAD, after.text())
        head: Operation = ("update", content, known.etag) if known.etag else ("create", content, None)
        rows = [self._operation(key, text) for key, text in changes.items()]
        try:
            self._known = Known(after, self._table.write([head, *rows]))
        except Moved:
            # The answer to our own write may have been lost, and the write repeated.
            if self.look().head.write != after.write:
                raise
        except StateError:
            self._known = None  # Nobody knows whether it was done.
            raise

    def _operation(self, key: str, text: str | None) -> Operation:
        if text is None:
            return "delete", {"PartitionKey": self._partition, "RowKey": key}, None
        return "upsert", entity(self._partition, key, text), None

    def _keep(self, before: Head, after: Head, changes: Changes) -> None:
        """What is known of the rows goes on being known."""
        for prefix, (version, content) in list(self._contents.items()):
            if version == _version(before, prefix):
                _apply(content, prefix, changes)
                self._contents[prefix] = _version(after, prefix), content

    # --- The journal ---

    def _write_journal(self, version: int, id: str, changes: Changes) -> int:
        text = json.dumps(list(changes.items()))
        parts = [text[start : start + _PART] for start in range(0, len(text), _PART)]
        for batch in batches((journal_key(version, id, number), part) for number, part in enumerate(parts)):
            self._table.write([self._operation(key, part) for key, part in batch])
        return len(parts)

    def _journal(self, journal: Journal) -> dict[str, str | None]:
        """All changes of a journal.

        Raises:
            Moved: it is done with, and cleared away.
        """
        parts = [text for key, text in sorted(self._stored(JOURNAL).items()) if f"|{journal.id}|" in key]
        if len(parts) != journal.parts:
            raise Moved
        return dict(json.loads("".join(parts)))

    def _finished(self, known: Known) -> Known:
        """A head without a journal: what it names is brought into the rows first."""
        if self._read_only:
            return known
        while (journal := known.head.journal) is not None:
            left = list(self._journal(journal).items())[journal.done :]
            batch = next(batches(left), [])
            rest = replace(journal, done=journal.done + len(batch)) if len(batch) < len(left) else None
            after = replace(known.head, version=known.head.version + 1, write=uuid4().hex, journal=rest)
            self._replace(known, after, dict(batch))
            assert self._known is not None
            known = self._known
            if rest is None:
                self.clear(known.head.version)
        return known

    def clear(self, version: int) -> None:
        """Clear away journals up to a version that names none: they are done with, or never came to be settled."""
        keys = self._table.between(self._partition, JOURNAL, journal_key(version + 1), keys=True)
        gone: dict[str, str | None] = {str(row["RowKey"]): None for row in keys}
        for batch in batches(gone.items()):
            try:
                self._table.write([self._operation(key, None) for key, _ in batch])
            except Moved:  # Somebody else clears them away.
                return


def _version(head: Head, prefix: str) -> int:
    return {PARKED: head.rows, INVENTORY: head.inventory, BACKFILL: head.backfill}[prefix]


def _touches(changes: Changes, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in changes)


def _apply(content: Content, prefix: str, changes: Changes) -> None:
    for key, text in changes.items():
        if not key.startswith(prefix):
            continue
        if text is None:
            content.pop(key, None)
        else:
            content[key] = text
