"""The row of a study that stepped aside: why, since when, and when it is tried again. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from dicomcast.errors import Rejected, Retriable, Unauthorized
from dicomcast.model import Parked, Stage, StudyDelta, StudyKey

__all__ = ["Failure", "drop", "due_now", "park", "undropped", "waits"]

# What a study can be parked for.
Failure = Rejected | Retriable | Unauthorized

_FIRST_RETRY, _LAST_RETRY = timedelta(minutes=1), timedelta(hours=6)
# 1, 2, 4 … 256 minutes, then every 6 hours: about a week. After that it is a dead letter.
_ATTEMPTS = 36
_MESSAGE = 256
_DROPPED = "dropped"


def park(delta: StudyDelta, row: Parked | None, error: Failure, now: datetime) -> Parked:
    """The row of a study that could not be cast; `row` is the one it had before."""
    row = row if row and row.reason != _DROPPED else None
    attempts = row.attempts + 1 if row else 1
    sequences = [*delta.sequences, *((row.first_sequence, row.last_sequence) if row else ())] or [0]
    wait = min(_FIRST_RETRY * 2 ** min(attempts - 1, 16), _LAST_RETRY)
    # A study that cannot even be named has nothing to be read again.
    hopeless = attempts >= _ATTEMPTS or not delta.key.study_uid
    return Parked(
        key=delta.key,
        first_sequence=min(sequences),
        last_sequence=max(sequences),
        stage=_stage(delta, error),
        reason=error.reason,
        message=str(error)[:_MESSAGE],
        status=error.status,
        codes=error.codes,
        attempts=attempts,
        first_seen=row.first_seen if row else now,
        last_seen=now,
        next_attempt=None if hopeless else now + wait,
    )


def _stage(delta: StudyDelta, error: Failure) -> Stage:
    if delta.fault:
        return Stage.FEED
    return {"dicom": Stage.READ, "fhir": Stage.WRITE}.get(error.peer, Stage.MAP)


def due_now(key: StudyKey, row: Parked | None, now: datetime) -> Parked:
    """The row by which the active worker is asked to cast a study at its next turn; a dead letter lives again."""
    if row is not None and row.reason != _DROPPED:
        return replace(row, attempts=0, next_attempt=now)
    return Parked(
        key=key,
        first_sequence=0,
        last_sequence=0,
        stage=Stage.FEED,
        reason="replay-requested",
        attempts=0,
        first_seen=now,
        last_seen=now,
        next_attempt=now,
    )


def waits(row: Parked, now: datetime) -> bool:
    """Whether later entries of the study fold into its row, until its time has come.

    A dead letter has no such time: a change may be what heals it. A study that cannot be named is never read.
    """
    return not row.key.study_uid or (row.next_attempt is not None and row.next_attempt > now)


def drop(row: Parked) -> Parked:
    """A row that nobody wants to see again. It stays, so that the study's next change reads what it missed."""
    return replace(row, reason=_DROPPED, next_attempt=None)


def undropped(rows: Iterable[Parked]) -> list[Parked]:
    """The rows that are still somebody's concern."""
    return [row for row in rows if row.reason != _DROPPED]
