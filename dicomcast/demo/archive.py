"""An archive and its change feed in memory: the DICOM service without its HTTP.

It imitates microsoft/dicom-server, whose SQL has two properties that matter to a reader of the feed. Rows
are only ever appended, but their `state` and `metadata` are joined in when they are read, so they tell of
the instance as it is now. And a row takes its sequence and timestamp before it is committed, so it can
appear behind a reader that is already past it (`hold` and `release` make that happen).
"""

from __future__ import annotations

import math
import re
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from pydicom import Dataset

from dicomcast.demo import ticks
from dicomcast.demo.bulk_update import BulkUpdate, changed, validate
from dicomcast.demo.dicom_json import (
    INSTANCE_UID,
    PATIENT_ID,
    SERIES_UID,
    SOP_CLASS_UID,
    STUDY_UID,
    Metadata,
    metadata_of,
    text,
    without_bulk,
)

DEFAULT_PARTITION = "Microsoft.Default"
PARTITION_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
UID = re.compile(r"[A-Za-z0-9.-]{1,64}")  # the service is looser than PS3.5 section 9.1


class StoreStatus(IntEnum):
    """What came of storing an instance: 0, or the FailureReason (0008,1197) of the STOW-RS response."""

    STORED = 0
    UNREADABLE = 272
    INVALID = 43264
    OTHER_STUDY = 43265
    EXISTS = 45070
    PENDING = 45071


class Fault(StrEnum):
    """What can be wrong with the stored metadata of an instance."""

    MISSING = "missing"
    CORRUPT = "corrupt"


class NotFound(KeyError):
    """The archive has no such study, series or instance."""


class MetadataUnreadable(Exception):
    """The metadata of an instance is poisoned, and fails every read that includes it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


class InstanceKey(NamedTuple):
    """Identifies an instance: the same UIDs in another partition are another instance."""

    partition: str
    study: str
    series: str
    instance: str


@dataclass(slots=True, eq=False)
class _Version:
    """The metadata that one operation wrote. Versions are told apart by being different objects."""

    metadata: Metadata
    fault: Fault | None = None

    def read(self) -> Metadata:
        if self.fault is not None:
            raise MetadataUnreadable(self.fault)
        return self.metadata


@dataclass(frozen=True, slots=True)
class _Row:
    sequence: int
    ticks: int
    key: InstanceKey
    action: str
    version: _Version


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _serialised(method: Callable[Concatenate[Archive, _P], _R]) -> Callable[Concatenate[Archive, _P], _R]:
    """One caller at a time: a test drives the archive while the server's thread reads it."""

    @wraps(method)
    def locked(self: Archive, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with self._lock:
            return method(self, *args, **kwargs)

    return locked


class Archive:
    """Instances and the feed of their changes. Metadata handed out is shared: read it, do not write it."""

    def __init__(self, *, partitions: bool = False, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.partitions = partitions
        self._clock = clock
        self._lock = threading.RLock()
        self._to_hold: float = 0
        self._held: list[_Row] = []
        self.reset()

    @_serialised
    def store(self, metadata: Metadata, partition: str = DEFAULT_PARTITION) -> StoreStatus:
        """Store an instance given as DICOM JSON. What exists is refused: delete it first, as STOW-RS asks."""
        if partition != DEFAULT_PARTITION and not (self.partitions and PARTITION_NAME.fullmatch(partition)):
            raise ValueError(f"not a partition of this archive: {partition!r}")
        key = InstanceKey(partition, *(text(metadata, tag) for tag in (STUDY_UID, SERIES_UID, INSTANCE_UID)))
        if not all(UID.fullmatch(uid) for uid in key[1:]):
            return StoreStatus.INVALID
        if self._current(key) is not None:
            return StoreStatus.EXISTS
        if any(row.key == key for row in self._held):
            return StoreStatus.PENDING
        now = self._now()
        self._created.setdefault(partition, now)
        self._append(now, key, "Create", _Version(without_bulk(metadata)))
        return StoreStatus.STORED

    def store_dataset(self, dataset: Dataset, partition: str = DEFAULT_PARTITION) -> StoreStatus:
        """Store a DICOM dataset by the rules of v2 STOW-RS: PatientID may be empty but not absent."""
        metadata = metadata_of(dataset)
        if PATIENT_ID not in metadata or not text(metadata, SOP_CLASS_UID):
            return StoreStatus.INVALID
        return self.store(metadata, partition)

    @_serialised
    def delete(self, partition: str, study: str, series: str | None = None, instance: str | None = None) -> None:
        """Delete a study, series or instance: one row per instance, all of the same time."""
        now = self._now()
        for key, version in self._select(partition, study, series, instance):
            self._append(now, key, "Delete", version)

    @_serialised
    def bulk_update(self, partition: str, study_uids: Sequence[str], change_dataset: Metadata) -> BulkUpdate:
        """Change patient and study attributes: one row per instance, all of the same time.

        ValueError when the request is refused as a whole; a study that is absent or unreadable fails alone.
        """
        validate(study_uids, change_dataset)
        now = self._now()
        result = BulkUpdate()
        for study in dict.fromkeys(study_uids):
            try:
                versions = [
                    (key, _Version(changed(old.read(), change_dataset))) for key, old in self._select(partition, study)
                ]
            except (NotFound, MetadataUnreadable):
                result.failed.append(study)
                continue
            for key, version in versions:
                self._append(now, key, "Update", version)
            result.updated[study] = len(versions)
        return result

    @_serialised
    def latest_v1(self, *, include_metadata: bool = True) -> dict[str, Any] | None:
        """The entry of the highest sequence, or None."""
        return self._entry(self._by_sequence[-1], include_metadata) if self._by_sequence else None

    @_serialised
    def latest_v2(self, *, include_metadata: bool = True) -> dict[str, Any] | None:
        """The entry of the highest (timestamp, sequence), which can be another one."""
        return self._entry(self._by_time[-1], include_metadata) if self._by_time else None

    @_serialised
    def page_v1(self, offset: int = 0, limit: int = 10, *, include_metadata: bool = True) -> list[dict[str, Any]]:
        """The entries with `offset < sequence <= offset + limit`: none of them does not mean no more of them."""
        first = bisect_right(self._by_sequence, offset, key=_sequence)
        last = bisect_right(self._by_sequence, offset + limit, key=_sequence)
        return [self._entry(row, include_metadata) for row in self._by_sequence[first:last]]

    @_serialised
    def page_v2(
        self,
        offset: int = 0,
        limit: int = 100,
        start: str | None = None,
        end: str | None = None,
        *,
        include_metadata: bool = True,
    ) -> list[dict[str, Any]]:
        """At most `limit` entries of `start <= timestamp < end`, by (timestamp, sequence), after skipping `offset`."""
        first = bisect_left(self._by_time, (ticks.parse(start) if start else ticks.MIN, 0), key=_time)
        last = bisect_left(self._by_time, (ticks.parse(end) if end else ticks.MAX, 0), key=_time)
        rows = self._by_time[first:last][offset : offset + limit]
        return [self._entry(row, include_metadata) for row in rows]

    @_serialised
    def metadata(
        self, partition: str, study: str, series: str | None = None, instance: str | None = None
    ) -> list[Metadata]:
        """The metadata of a study, series or instance (WADO-RS)."""
        return [version.read() for _, version in self._select(partition, study, series, instance)]

    @_serialised
    def catalogue(self, partition: str) -> list[Metadata]:
        """The metadata of all instances of a partition, for QIDO-RS: an index, so poison does not reach it."""
        return [
            version.metadata
            for (name, _), study in self._studies.items()
            if name == partition
            for version in study.values()
        ]

    @_serialised
    def partition_list(self) -> list[dict[str, Any]]:
        """The partitions that were ever stored to, in the form of `GET /partitions`."""
        return [
            {"partitionKey": number, "partitionName": name, "createdDate": ticks.text(created)}
            for number, (name, created) in enumerate(self._created.items(), start=1)
        ]

    @property
    @_serialised
    def length(self) -> int:
        """How many entries the feed has."""
        return len(self._by_sequence)

    # What follows makes happen what a real service does rarely, and at a bad time.

    @_serialised
    def skip_sequences(self, count: int) -> None:
        """Lose sequences, as an identity column does after a failover."""
        self._sequence += count

    @_serialised
    def hold(self, stores: float = math.inf) -> None:
        """So many stores take their sequence and time, but are not committed: nobody sees them."""
        self._to_hold = stores

    @_serialised
    def release(self) -> None:
        """Commit what was held, however far the feed has gone in the meantime."""
        held, self._held, self._to_hold = self._held, [], 0
        for row in held:
            self._commit(row)

    @_serialised
    def poison(self, study: str, series: str, instance: str, kind: str, partition: str = DEFAULT_PARTITION) -> None:
        """Make an instance's metadata "missing" or "corrupt": every page and read that includes it fails."""
        for _, version in self._select(partition, study, series, instance):
            version.fault = Fault(kind)

    @_serialised
    def heal(self, study: str, series: str, instance: str, partition: str = DEFAULT_PARTITION) -> None:
        """Undo `poison`."""
        for _, version in self._select(partition, study, series, instance):
            version.fault = None

    @_serialised
    def reset(self) -> None:
        """Start over, as if the service had been deleted and created again: sequences restart at 1."""
        self._sequence = 0
        self._by_sequence: list[_Row] = []
        self._by_time: list[_Row] = []
        self._held, self._to_hold = [], 0
        self._studies: dict[tuple[str, str], dict[InstanceKey, _Version]] = {}
        self._created: dict[str, int] = {}

    def _now(self) -> int:
        return ticks.of(self._clock())

    def _current(self, key: InstanceKey) -> _Version | None:
        return self._studies.get(key[:2], {}).get(key)

    def _select(
        self, partition: str, study: str, series: str | None = None, instance: str | None = None
    ) -> Iterator[tuple[InstanceKey, _Version]]:
        found = [
            (key, version)
            for key, version in self._studies.get((partition, study), {}).items()
            if series in (None, key.series) and instance in (None, key.instance)
        ]
        if not found:
            raise NotFound("instance" if instance else "series" if series else "study")
        return iter(found)

    def _append(self, now: int, key: InstanceKey, action: str, version: _Version) -> None:
        self._sequence += 1
        row = _Row(self._sequence, now, key, action, version)
        if self._to_hold and action == "Create":
            self._to_hold -= 1
            self._held.append(row)
        else:
            self._commit(row)

    def _commit(self, row: _Row) -> None:
        study = self._studies.setdefault(row.key[:2], {})
        if row.action == "Delete":
            del study[row.key]
        else:
            study[row.key] = row.version
        if not study:
            del self._studies[row.key[:2]]
        insort(self._by_sequence, row, key=_sequence)
        insort(self._by_time, row, key=_time)

    def _entry(self, row: _Row, include_metadata: bool) -> dict[str, Any]:
        current = self._current(row.key)
        entry: dict[str, Any] = {
            "sequence": row.sequence,
            "partitionName": row.key.partition,
            "studyInstanceUid": row.key.study,
            "seriesInstanceUid": row.key.series,
            "sopInstanceUid": row.key.instance,
            "action": row.action,
            "timestamp": ticks.text(row.ticks),
            "state": "Deleted" if current is None else "Current" if current is row.version else "Replaced",
        }
        if include_metadata and current is not None:
            entry["metadata"] = current.read()
        return entry


def _sequence(row: _Row) -> int:
    return row.sequence


def _time(row: _Row) -> tuple[int, int]:
    return row.ticks, row.sequence
