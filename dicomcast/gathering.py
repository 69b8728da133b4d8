"""A study that is read whole, instance by instance, and what has to be kept of it. Pure.

All that is mapped is kept of the instances that speak for their series; of the others, what an instance is listed
with, and what it tells of its side and its patient. Of a study of more instances than are to be listed, not even
that: the instances are counted, and of those that tell the same one stands for all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.disagreement import WHOSE
from dicomcast.mapping.instance import INSTANCE, Voice, voice_of
from dicomcast.mapping.rows import Facts
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.series import SIDES
from dicomcast.mapping.tags import tag
from dicomcast.mapping.values import is_id
from dicomcast.model import Extra, Instance, InstanceKey, Metadata, StudyDelta, StudyKey

__all__ = ["Gathering"]

_TELLING = WHOSE | SIDES
_BRIEF = _TELLING.union(tag(keyword) for row in INSTANCE.rows for keyword in row.attributes)
# Every issue that any site may want to hear of.
_ALL = Rules("", extras=frozenset(Extra))


class Gathering:
    """Gathers the snapshot of a study, of which at most `most` instances are to be listed (None: all).

    `kept` are those that stay listed all the same, because others wrote something on them.
    """

    def __init__(self, key: StudyKey, most: int | None = None, kept: Collection[InstanceKey] = ()) -> None:
        self._key = key
        self._most = most
        self._kept = kept
        self._uids: dict[str, set[str]] = {}
        self._count = 0
        self._listed: dict[InstanceKey, Instance] = {}
        self._speakers: dict[str, tuple[Voice, Instance]] = {}
        # Where there are too many to be listed: one for all that tell the same.
        self._told: dict[Any, Instance] = {}
        # The last of each element: thousands of instances mostly agree to the letter, and then share it.
        self._last: dict[str, Any] = {}

    def add(self, instance: Instance) -> None:
        """Take in one more; the same once more tells nothing."""
        series_uid, instance_uid = instance.key.series_uid, instance.key.instance_uid
        uids = self._uids.setdefault(series_uid, set())
        if instance_uid in uids:
            return
        uids.add(instance_uid)
        metadata = instance.metadata or {}
        if is_id(series_uid) and is_id(instance_uid):
            self._count += 1
            heard = voice_of(instance_uid, Dataset(metadata))
            if series_uid not in self._speakers or heard < self._speakers[series_uid][0]:
                self._speakers[series_uid] = heard, instance
        self._listed[instance.key] = replace(instance, metadata=self._brief(metadata))
        if self._is_large:
            self._fold()

    @property
    def _is_large(self) -> bool:
        return self._most is not None and self._count > self._most

    def _brief(self, metadata: Metadata) -> Metadata:
        brief = {}
        for name in _BRIEF.intersection(metadata):
            element = metadata[name]
            with suppress(RecursionError):  # junk, deeper than Python compares
                if self._last.get(name) == element:
                    element = self._last[name]
            brief[name] = self._last[name] = element
        return brief

    def _fold(self) -> None:
        for key, instance in self._listed.items():
            if key in self._kept:
                self._told[key] = instance
            else:
                self._told.setdefault(_telling(instance), instance)
        self._listed.clear()

    def delta(self) -> StudyDelta:
        """The snapshot of all that was added."""
        speakers = {instance.key: instance for _, instance in self._speakers.values()}
        if not self._is_large:
            return StudyDelta(self._key, self._listed | speakers, snapshot=True)
        some = {instance.key: instance for instance in self._told.values()} | speakers
        counts = {uid: _countable(uids) for uid, uids in self._uids.items() if is_id(uid)}
        return StudyDelta(self._key, some, snapshot=True, counts=counts)


def _countable(uids: Iterable[str]) -> int:
    return sum(map(is_id, uids))


def _telling(instance: Instance) -> Any:
    """What an instance that is not listed tells all the same, as a key."""
    metadata = instance.metadata or {}
    dataset = Dataset(metadata)
    INSTANCE.elements(Facts(dataset, _ALL))
    series_uid, instance_uid = instance.key.series_uid, instance.key.instance_uid
    try:
        told = repr([metadata.get(name) for name in sorted(_TELLING)])
    except RecursionError:
        told = ""
    return is_id(series_uid) and series_uid, is_id(instance_uid), told, frozenset(dataset.issues)
