"""What DICOM Cast left in the tables of a storage account: how far it came, and what it could not store.

Its cursor is taken over once. A row beside it says so, since a state that was lost, or is new on purpose, must not skip
what DICOM Cast had settled long ago, perhaps in another FHIR server. Nothing of its own is changed, so that it can be
started again. The text of its exceptions may hold a patient, and is not even asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from dicomcast.model import Parked, Stage, StudyKey
from dicomcast.state.azure_entities import entity, text_of
from dicomcast.state.azure_table import Table, connect
from dicomcast.state.store import TableAccess

__all__ = ["DicomCast"]

_T = TypeVar("_T")
_CURSOR, _PARTITION, _ROW = "SyncStateTable", "SyncStatePartitionKey", "SyncStateRowKey"
_NOTE, _IMPORT = "TakenOverByDicomcast", "ImportedByDicomcast"


@dataclass(frozen=True, slots=True)
class _Failure:
    """Where a study stopped, and what our row says of it."""

    stage: Stage
    reason: str


# Its tables of failures, the gravest first.
_FAILURES = {
    "FhirFailToStoreExceptionTable": _Failure(Stage.WRITE, reason="dicom-cast-fhir"),
    "DicomFailToStoreExceptionTable": _Failure(Stage.MAP, reason="dicom-cast-dicom"),
    "TransientFailureExceptionTable": _Failure(Stage.WRITE, reason="dicom-cast-gave-up"),
    "InvalidDicomTagExceptionTable": _Failure(Stage.MAP, reason="dicom-cast-tag"),
    "TransientRetryExceptionTable": _Failure(Stage.WRITE, reason="dicom-cast-retried"),
}
_COLUMNS = ("StudyUid", "ChangeFeedSequence")


class DicomCast:
    """The tables of one deployment, in the account and with the prefix of our own."""

    def __init__(self, account: str, access: TableAccess) -> None:
        self._account = account
        self._access = access

    async def cursor(self) -> int | None:
        """The sequence that it settled last; None where it left none, or where that was taken over before."""
        return await self._with(_CURSOR, _cursor)

    async def note(self, source: str, sequence: int) -> None:
        """Note that its cursor was taken over."""
        told = f"{source}, behind sequence {sequence}"
        await self._with(_CURSOR, lambda table: table.write([("upsert", entity(_PARTITION, _NOTE, told), None)]))

    async def noted(self) -> str:
        """By whom its cursor was taken over, "" if it was not."""

        def work(table: Table) -> str:
            found = table.get(_PARTITION, _NOTE)
            return text_of(found[0]) if found else ""

        return await self._with(_CURSOR, work)

    async def failures(self, source: str, now: datetime) -> tuple[list[Parked], datetime | None]:
        """What it could not store since the last import, as dead letters, and until when it wrote of that.

        There is a row for each study, of the gravest failure that it had.
        """
        before = await self._with(_CURSOR, _imported)
        found: dict[StudyKey, Parked] = {}
        until = before
        for name, failure in _FAILURES.items():
            for row in await self._with(name, lambda table: list(table.all(_COLUMNS))):
                uid, written = str(row.get("StudyUid") or "").strip(), row["Timestamp"]
                if not uid or (before is not None and written <= before):
                    continue
                until = written if until is None else max(until, written)
                key, sequence = StudyKey(source, "", uid), _number(row.get("ChangeFeedSequence"))
                dead = Parked(key, sequence, sequence, failure.stage, failure.reason, first_seen=now, last_seen=now)
                found[key] = _joined(found.get(key), dead)
        return list(found.values()), until

    async def note_import(self, until: datetime) -> None:
        """Note what was imported, so that what is retried since does not come back as a dead letter."""
        told = entity(_PARTITION, _IMPORT, until.isoformat())
        await self._with(_CURSOR, lambda table: table.write([("upsert", told, None)]))

    async def _with(self, name: str, work: Callable[[Table], _T]) -> _T:
        access = self._access

        def call() -> _T:
            table = connect(
                self._account,
                connection_string=access.connection_string,
                table=access.prefix + name,
                client_id=access.client_id,
            )()
            try:
                return work(table)
            finally:
                table.close()

        return await asyncio.to_thread(call)


def _cursor(table: Table) -> int | None:
    found = table.get(_PARTITION, _ROW)
    if found is None or table.get(_PARTITION, _NOTE) is not None:
        return None
    sequence = _number(found[0].get("SyncedSequence"))
    return sequence if sequence > 0 else None


def _number(value: Any) -> int:
    """An Int64, which the SDK hands out with its type; 0 for what is no number."""
    plain = getattr(value, "value", value)
    return int(plain) if isinstance(plain, int) and not isinstance(plain, bool) else 0


def _imported(table: Table) -> datetime | None:
    found = table.get(_PARTITION, _IMPORT)
    return datetime.fromisoformat(text_of(found[0])) if found else None


def _joined(one: Parked | None, other: Parked) -> Parked:
    if one is None:
        return other
    first, last = min(one.first_sequence, other.first_sequence), max(one.last_sequence, other.last_sequence)
    return Parked(
        one.key, first, last, one.stage, one.reason,
        attempts=one.attempts + other.attempts, first_seen=one.first_seen, last_seen=one.last_seen,
    )  # fmt: skip
