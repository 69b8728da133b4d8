"""The nouns of dicomcast (the vocabulary is in docs/explanation/design.md): frozen, without behaviour of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

__all__ = [
    "Action",
    "Checkpoint",
    "Cursor",
    "Entry",
    "EntryState",
    "Extra",
    "Instance",
    "InstanceKey",
    "Issue",
    "Lease",
    "MissingId",
    "Outcome",
    "Parked",
    "Severity",
    "Stage",
    "StudyDelta",
    "StudyKey",
    "Window",
]

# A DICOM JSON dataset as parsed (PS3.18 Annex F): {"0020000D": {"vr": "UI", "Value": [...]}, ...}
Metadata = Mapping[str, Any]


class Action(StrEnum):
    """What an entry of the change feed reports. `OTHER` is anything that we do not know (yet)."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    OTHER = "other"


class EntryState(StrEnum):
    """What had become of the instance when the entry was read; `OTHER` is anything unknown."""

    CURRENT = "current"
    REPLACED = "replaced"
    DELETED = "deleted"
    OTHER = "other"


class Extra(StrEnum):
    """An element that is mapped only where a site asks for it: it is noise, private, or ambiguous elsewhere."""

    STUDY_ID = "study-id"
    ENCOUNTER = "encounter"
    ALL_MODALITIES = "all-modalities"
    SEX_PARAMETERS = "sex-parameters"
    DEVICE = "device"
    IMAGE_TYPE = "image-type"
    FRAMES = "frames"
    OTHER_IDS = "other-ids"
    OTHER_NAMES = "other-names"
    UNKNOWN_GENDER = "unknown-gender"
    GENDER_IDENTITY = "gender-identity"
    BIRTH_TIME = "birth-time"
    ANIMAL = "animal"


class MissingId(StrEnum):
    """What becomes of a study without PatientID."""

    SKIP = "skip"
    SURROGATE = "surrogate"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """How bad an `Issue` is."""

    WARNING = "warning"
    ERROR = "error"


class Stage(StrEnum):
    """Where a study stopped."""

    FEED = "feed"
    READ = "read"
    MAP = "map"
    WRITE = "write"


class Outcome(StrEnum):
    """What came of casting a delta. All of them are settled."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    SKIPPED = "skipped"
    PARKED = "parked"


@dataclass(frozen=True, slots=True, order=True)
class StudyKey:
    """A study: `source` is the archive's base URL, `partition` is "" where there are none."""

    source: str
    partition: str
    study_uid: str


@dataclass(frozen=True, slots=True, order=True)
class InstanceKey:
    """An instance within its study."""

    series_uid: str
    instance_uid: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the change feed. `timestamp` stays text: it has 100 ns ticks, which datetime has not.

    `size` is how many bytes it had as it was sent.
    """

    sequence: int
    partition: str
    study_uid: str
    series_uid: str
    instance_uid: str
    action: Action
    state: EntryState
    timestamp: str
    metadata: Metadata | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a feed; the feed that wrote it is the only one that reads `position`, but for what we add.

    `whole` in it is the newest sequence when the feed was begun at its beginning: up to there the feed tells all of a
    study that is not in FHIR yet. `kind` is the feed's, `backfill` how many studies are to be cast beside it.

    `sequence` is the highest sequence that was settled, for people, lag, and the check that the
    archive is still the same.
    """

    sequence: int = 0
    timestamp: str = ""
    position: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A durable cursor. `revision` grows by one with every settled window, and guards it."""

    feed: str
    cursor: Cursor | None
    revision: int = 0
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to settle a feed, until `expires_at`. `epoch` grows with every new owner, and fences the old one."""

    feed: str
    owner: str
    epoch: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """Entries that are settled together, in the order they were read, and the cursor behind them.

    A feed that tells which studies changed, but not how, names them in `studies` instead: they are read whole. `seen`
    is what the archive said of studies before that, by StudyInstanceUID: a fingerprint, "" for one that is gone.
    """

    entries: tuple[Entry, ...]
    end: Cursor
    studies: tuple[str, ...] = ()
    seen: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Issue:
    """Something in the data that a person may want to know; never carries the value.

    `tag` is the DICOM attribute (eight hex digits) or FHIR element, `rule` a short slug.
    """

    tag: str
    rule: str
    severity: Severity = Severity.WARNING


@dataclass(frozen=True, slots=True)
class Instance:
    """A present instance and its metadata (None: the feed did not say; it must be read)."""

    key: InstanceKey
    metadata: Metadata | None


@dataclass(frozen=True, slots=True)
class StudyDelta:
    """All that a window, or a snapshot, says about one study.

    As a `snapshot` it is the whole truth: what `instances` does not list is gone. `counts` is how many instances each
    series has where they are too many to be listed: then `instances` are those that speak for all. `fault` is why
    the entries could not be understood; such a delta is parked, and its retry reads a snapshot.
    """

    key: StudyKey
    instances: Mapping[InstanceKey, Instance] = field(default_factory=dict)
    deleted: frozenset[InstanceKey] = frozenset()
    snapshot: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    sequences: tuple[int, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Parked:
    """A study that could not be cast, to be retried from a snapshot at `next_attempt`.

    Later entries of the study fold into the row. `next_attempt` None makes it a dead letter. No
    patient data: reasons and codes only.
    """

    key: StudyKey
    first_sequence: int
    last_sequence: int
    stage: Stage
    reason: str
    message: str = ""
    status: int | None = None
    codes: tuple[str, ...] = ()
    attempts: int = 1
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    next_attempt: datetime | None = None
