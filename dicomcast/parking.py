"""The row of a study that stepped aside: why, since when, and when it is tried again. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from dicomcast.errors import Rejected, Retriable
from dicomcast.model import Parked, Stage, StudyDelta, StudyKey

__all__ = ["due_now", "park"]

_FIRST_RETRY, _LAST_RETRY = timedelta(minutes=1), timedelta(hours=6)
# 1, 2, 4 … 256 minutes, then every 6 hours: about a week. After that it is a dead letter.
_ATTEMPTS = 36
_MESSAGE = 256


def park(delta: StudyDelta, row: Parked | None, error: Rejected | Retriable, now: datetime) -> Parked:
    """The row of a study that could not be cast; `row` is the one it had before."""
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
        reason=error.reason if isinstance(error, Rejected) else "no-usable-answer",
        message=str(error)[:_MESSAGE],
        status=error.status,
        codes=error.codes,
        attempts=attempts,
        first_seen=row.first_seen if row else now,
        last_seen=now,
        next_attempt=None if hopeless else now + wait,
    )


def _stage(delta: StudyDelta, error: Rejected | Retriable) -> Stage:
    if delta.fault:
        return Stage.FEED
    return {"dicom": Stage.READ, "fhir": Stage.WRITE}.get(error.peer, Stage.MAP)


def due_now(key: StudyKey, row: Parked | None, now: datetime) -> Parked:
    """The row by which the active worker is asked to cast a study at its next turn; a dead letter lives again."""
    if row is not None:
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
