"""What a feed looks like in an Azure table: keys, and JSON cut to what a property holds. Pure.

Every entity is a JSON text in the properties `body`, `body1` …, in ASCII, so that a character is one of the 32 Ki that
a property has. Keys are made of letters, digits, `.`, `-` and `|`, none of which a table refuses.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from dicomcast.model import Cursor, Lease, Parked, Stage, StudyKey

__all__ = [
    "BACKFILL",
    "HEAD",
    "INVENTORY",
    "JOURNAL",
    "PARKED",
    "Changes",
    "Head",
    "Journal",
    "backfill_key",
    "batches",
    "entity",
    "journal_key",
    "lease_of",
    "parked_key",
    "parked_of",
    "parked_text",
    "partition_key",
    "study_key",
    "text_of",
]

HEAD, PARKED, INVENTORY, BACKFILL, JOURNAL = "head", "parked|", "study|", "backfill|", "journal|"
# A property holds 64 KiB of UTF-16, an entity 1 MiB, and a transaction 100 entities and 4 MiB.
_PROPERTY, _ENTITY = 32_000, 480_000
_ENTITIES, _BYTES, _OVERHEAD = 99, 3_000_000, 1_000  # one entity is the head's

# What becomes of rows by their key: their text, or None where they go.
Changes = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Journal:
    """Changes that are settled and may not be in their rows yet: in how many entities they are, and how many are in."""

    id: str
    parts: int
    done: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """The row that everything of a feed is written with: `version` grows by one with each write, whose id is `write`.

    `rows`, `inventory` and `backfill` are the versions with which those were last changed.
    """

    feed: str
    version: int = 0
    write: str = ""
    revision: int = 0
    updated_at: str | None = None
    cursor: Mapping[str, Any] | None = None
    lease: Mapping[str, Any] | None = None
    rows: int = 0
    inventory: int = 0
    backfill: int = 0
    journal: Journal | None = None

    def text(self) -> str:
        """As it is stored."""
        return _json(asdict(self))

    @classmethod
    def of(cls, text: str) -> Head:
        """From what is stored."""
        found = json.loads(text)
        journal = found.pop("journal")
        return cls(**found, journal=Journal(**journal) if journal else None)

    def at(self, cursor: Cursor, moment: datetime) -> Head:
        """With a cursor, and so another revision."""
        told = {"sequence": cursor.sequence, "timestamp": cursor.timestamp, "position": dict(cursor.position)}
        return replace(self, cursor=told, revision=self.revision + 1, updated_at=_moment_text(moment))

    def leased(self, lease: Lease) -> Head:
        """With a lease."""
        told = {"owner": lease.owner, "epoch": lease.epoch, "expires_at": _moment_text(lease.expires_at)}
        return replace(self, lease=told)


def lease_of(head: Head) -> Lease | None:
    """The lease in a head."""
    if head.lease is None:
        return None
    return Lease(head.feed, head.lease["owner"], head.lease["epoch"], datetime.fromisoformat(head.lease["expires_at"]))


def partition_key(feed: str) -> str:
    """Where all of a feed is kept: readable, and different for different feeds."""
    return f"{re.sub('[^0-9A-Za-z.]+', '-', feed)[:200]}-{hashlib.sha256(feed.encode()).hexdigest()[:16]}"


def parked_key(key: StudyKey) -> str:
    """The key of a parked study."""
    return PARKED + hashlib.sha256(_json([key.partition, key.study_uid]).encode()).hexdigest()


def backfill_key(key: StudyKey) -> str:
    """The key of a study that a backfill has still to cast."""
    return BACKFILL + hashlib.sha256(_json([key.partition, key.study_uid]).encode()).hexdigest()


def study_key(study_uid: str) -> str:
    """The key of a study in the inventory, which sorts as the UID does."""
    raw = study_uid.encode(errors="surrogatepass")
    return INVENTORY + (raw.hex() if len(raw) <= 200 else f"{raw[:200].hex()}-{hashlib.sha256(raw).hexdigest()}")


def journal_key(version: int, id: str = "", part: int = 0) -> str:
    """The key of a part of a journal, behind those of all versions before it."""
    return f"{JOURNAL}{version:020}" + (f"|{id}|{part:05}" if id else "")


def parked_text(row: Parked) -> str:
    """A parked row as it is stored.

    Raises:
        TypeError, ValueError: it is none.
    """
    key, moments = row.key, (row.first_seen, row.last_seen, row.next_attempt)
    numbers = [int(row.first_sequence), int(row.last_sequence), int(row.attempts)]
    text = [key.source, key.partition, key.study_uid, row.stage.value, row.reason, row.message]
    return _json([*text, row.status, list(row.codes), *numbers, *map(_moment_text, moments)])


def parked_of(text: str) -> Parked:
    """A parked row from what is stored."""
    source, partition, uid, stage, reason, message, status, codes, first, last, attempts, *moments = json.loads(text)
    times = [datetime.fromisoformat(moment) if moment else None for moment in moments]
    key = StudyKey(source, partition, uid)
    return Parked(key, first, last, Stage(stage), reason, message, status, tuple(codes), attempts, *times)


def entity(partition: str, key: str, text: str) -> dict[str, str]:
    """A text as an entity.

    Raises:
        ValueError: it is too long for one.
    """
    if len(text) > _ENTITY:
        raise ValueError("it is more than an entity of a table holds")
    cut = [text[start : start + _PROPERTY] for start in range(0, len(text), _PROPERTY)]
    return {"PartitionKey": partition, "RowKey": key} | {f"body{n or ''}": piece for n, piece in enumerate(cut)}


def text_of(stored: Mapping[str, Any]) -> str:
    """The text of an entity."""
    text = str(stored["body"])
    number = 1
    while f"body{number}" in stored:
        text, number = text + str(stored[f"body{number}"]), number + 1
    return text


def batches(changes: Iterable[tuple[str, str | None]]) -> Iterator[list[tuple[str, str | None]]]:
    """What fits into a transaction each, beside the head."""
    batch, size = list[tuple[str, str | None]](), 0
    for key, text in changes:
        more = len(_json(text)) + _OVERHEAD  # as it is sent, in which a quote is two bytes
        if batch and (len(batch) == _ENTITIES or size + more > _BYTES - _ENTITY):
            yield batch
            batch, size = [], 0
        batch.append((key, text))
        size += more
    if batch:
        yield batch


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _moment_text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="microseconds") if moment else None
