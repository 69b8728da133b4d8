"""From the entries of a window to one delta for each study. Pure.

The state that an entry was read with decides, not its action: entries are append-only, but `state` and
`metadata` tell the present at the time of reading. So of several entries of one instance the one
that was read last speaks, whatever it reports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.tags import tag
from dicomcast.model import Action, Entry, EntryState, Instance, InstanceKey, StudyDelta, StudyKey, Window

__all__ = ["deltas", "group", "is_uid"]

_UIDS = {
    "StudyInstanceUID": "study_uid",
    "SeriesInstanceUID": "series_uid",
    "SOPInstanceUID": "instance_uid",
}

# Looser than PS3.5 section 9.1, as the service is, which lets letters and hyphens pass; but not dots alone.
_UID = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9.-]{1,64}")


@lru_cache(maxsize=1000)
def is_uid(text: str) -> bool:
    """Whether an archive can be asked for it: all else means something in a URL, or in a search."""
    return _UID.fullmatch(text) is not None


def deltas(source: str, window: Window) -> list[StudyDelta]:
    """One delta for each study of a window: of its entries, or a snapshot where it names the study alone."""
    snapshots = [_snapshot(StudyKey(source, "", uid), window.end.sequence) for uid in dict.fromkeys(window.studies)]
    return group(source, window.entries) + snapshots


def _snapshot(key: StudyKey, sequence: int) -> StudyDelta:
    if not is_uid(key.study_uid):
        fault = "the archive names a StudyInstanceUID that is no UID"
        return StudyDelta(StudyKey(key.source, key.partition, ""), sequences=(sequence,), fault=fault)
    return StudyDelta(key, snapshot=True, sequences=(sequence,))


def group(source: str, entries: Iterable[Entry]) -> list[StudyDelta]:
    """One delta for each study of a window, in the order in which the studies appear.

    Entries whose study has no name that can be used share a delta without one: nobody can ask for such a study.
    """
    studies: dict[StudyKey, list[Entry]] = {}
    for entry in entries:
        key = StudyKey(source, entry.partition, entry.study_uid if is_uid(entry.study_uid) else "")
        studies.setdefault(key, []).append(entry)
    return [_delta(key, entries) for key, entries in studies.items()]


def _delta(key: StudyKey, entries: list[Entry]) -> StudyDelta:
    last = {InstanceKey(entry.series_uid, entry.instance_uid): entry for entry in entries}
    deleted = frozenset(one for one, entry in last.items() if entry.state is EntryState.DELETED)
    return StudyDelta(
        key=key,
        instances={one: Instance(one, entry.metadata) for one, entry in last.items() if one not in deleted},
        deleted=deleted,
        sequences=tuple(entry.sequence for entry in entries),
        fault=next(filter(None, map(fault, entries)), ""),
    )


def fault(entry: Entry) -> str:
    """Why an entry cannot be acted upon, "" if it can: its study is then read whole, later."""
    where = f"entry {entry.sequence} of the change feed"
    if not (entry.study_uid and entry.series_uid and entry.instance_uid):
        return f"{where} names no study, series or instance"
    if not is_uid(entry.study_uid):
        return f"{where} names a StudyInstanceUID that is no UID"
    if entry.action is Action.OTHER or entry.state is EntryState.OTHER:
        return f"{where} has an action or state that is not known"
    if entry.metadata is None or entry.state is EntryState.DELETED:
        return ""
    dataset = Dataset(entry.metadata)
    for keyword, attribute in _UIDS.items():
        if dataset.text(tag(keyword)) not in ("", getattr(entry, attribute)):
            return f"{where} carries metadata of another instance: its {keyword} is not the entry's"
    return ""
