"""Rows of the change feed, as JSON, to entries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dicomcast.dicom.ticks import ticks
from dicomcast.errors import NotItself, Retriable
from dicomcast.identity import DEFAULT_PARTITION
from dicomcast.mapping.dataset import clean, is_damaged
from dicomcast.mapping.table import select
from dicomcast.model import Action, Entry, EntryState

__all__ = ["entries", "entry"]

_FIELDS = frozenset(
    "sequence partitionName filePath studyInstanceUid seriesInstanceUid sopInstanceUid action timestamp state "
    "metadata".split()
)
_SPELT = {name.lower(): name for name in _FIELDS}
_ACTIONS = {one.value: one for one in Action}
_STATES = {one.value: one for one in EntryState}


def entries(page: Any, size: int = 0) -> Iterator[Entry]:
    """The entries of a page of `size` bytes. A 204, `null` and a single bare object are pages too.

    Raises:
        Retriable: what came is not a page of the change feed; nothing was taken from it.
    """
    rows = [] if page is None else page if isinstance(page, list) else [page]
    for row in rows:
        yield entry(row, size // len(rows))


def entry(row: Any, size: int = 0) -> Entry:
    """One row; keys and enum values in any case, unknown fields ignored."""
    if not isinstance(row, dict):
        raise NotItself("the change feed sent a row that is not an object; see DICOM__URL", peer="dicom")
    # As the service writes them, or in another case.
    fields = row if row.keys() <= _FIELDS else {_SPELT.get(key.lower(), key): value for key, value in row.items()}
    sequence, timestamp = fields.get("sequence"), fields.get("timestamp")
    if not isinstance(sequence, int) or not 0 <= sequence < 2**63 or not isinstance(timestamp, str):
        raise NotItself("the change feed sent a row without sequence or timestamp; see DICOM__URL", peer="dicom")
    try:
        ticks(timestamp)
    except ValueError:
        raise Retriable(f"entry {sequence} of the change feed has a timestamp that cannot be read") from None
    metadata = fields.get("metadata")
    partition = _text(fields.get("partitionName"))
    return Entry(
        sequence=sequence,
        partition="" if partition == DEFAULT_PARTITION else partition,
        study_uid=_text(fields.get("studyInstanceUid")),
        series_uid=_text(fields.get("seriesInstanceUid")),
        instance_uid=_text(fields.get("sopInstanceUid")),
        action=_ACTIONS.get(_word(fields.get("action")), Action.OTHER),
        state=_STATES.get(_word(fields.get("state")), EntryState.OTHER),
        timestamp=timestamp,
        metadata=select(metadata) if isinstance(metadata, dict) else None,
        size=size,
    )


def _word(value: Any) -> str:
    return _text(value).lower()


def _text(value: Any) -> str:
    # A lone surrogate fits in no URL, request or row, and what is left of a damaged UID may be another's.
    return clean(value) if type(value) is str and not is_damaged(value) else ""
