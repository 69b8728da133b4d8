"""What the worker is doing, in plain numbers: written by the worker alone, read by health, metrics and status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from dicomcast.dicom.ticks import TICKS, ticks
from dicomcast.model import Cursor, Issue, Outcome, Parked
from dicomcast.parking import undropped
from dicomcast.standing import Standing
from dicomcast.trend import Trend

__all__ = ["Backlog", "Deed", "Peer", "Phase", "Report", "Vitals"]

# So many of the last deeds are kept.
_DEEDS = 6


class Phase(StrEnum):
    """What the worker is at. `blocked` waits for a peer, `standby` for the lease of another worker."""

    STARTING = "starting"
    ACTIVE = "active"
    STANDBY = "standby"
    BLOCKED = "blocked"


@dataclass(slots=True)
class Report:
    """How many studies were cast, by outcome, how many were left to another worker, and which were nowhere.

    `issues` counts the studies that were cast with an issue, by its tag and rule: there are only so many of these.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    issues: Counter[tuple[str, str]] = field(default_factory=Counter)
    absent: list[str] = field(default_factory=list)
    handed_over: int = 0

    def count(self, outcome: Outcome) -> None:
        """Count what came of a study."""
        self.outcomes[outcome] += 1

    def note(self, issue: Issue) -> None:
        """Count an issue of a study."""
        self.issues[issue.tag, issue.rule] += 1

    def __str__(self) -> str:
        counts = ", ".join(f"{self.outcomes[outcome]} {outcome.value}" for outcome in Outcome if self.outcomes[outcome])
        handed = f"{self.handed_over} handed to the active worker, for its next poll" if self.handed_over else ""
        return ", ".join(filter(None, [counts, handed])) or "nothing new"

    @property
    def facts(self) -> dict[str, int]:
        """The same for programs."""
        return {outcome.value: self.outcomes[outcome] for outcome in Outcome} | {"handed_over": self.handed_over}


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far behind the feed we are: the newest entry settled, the newest there is, and the rows that wait.

    Not `measurable` is what is left of an archive that is listed, or still to be listed for the first time. `reasons`
    counts the rows, parked and dead, by why they are there.
    """

    settled: Cursor = field(default_factory=Cursor)
    latest: Cursor = field(default_factory=Cursor)
    parked: int = 0
    dead: int = 0
    oldest: datetime | None = None
    measurable: bool = True
    reasons: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, settled: Cursor, latest: Cursor, rows: Iterable[Parked], *, measurable: bool = True) -> Backlog:
        """From a cursor, the feed's newest entry, and all rows of the store."""
        seen = undropped(rows)
        dead = sum(row.next_attempt is None for row in seen)
        oldest = min((row.first_seen for row in seen if row.first_seen), default=None)
        reasons = Counter(row.reason for row in seen)
        return cls(settled, latest, len(seen) - dead, dead, oldest, measurable, reasons)

    @property
    def entries(self) -> int | None:
        """Entries that are not settled; gaps of the sequence count too. None where that is not known."""
        return max(0, self.latest.sequence - self.settled.sequence) if self.measurable else None

    def seconds(self, now: datetime, caught_up_at: datetime | None) -> float | None:
        """How long the oldest entry that is not settled may be waiting: no longer than since we were in step.

        None while nothing is settled, for nobody knows how old the beginning of the feed is, or where nothing tells.
        """
        if self.entries is None:
            return None
        if not self.entries:
            return 0.0
        newest = _moment(self.latest.timestamp)
        if self.entries == 1 and newest:
            return max(0.0, (now - newest).total_seconds())
        known = [moment for moment in (_moment(self.settled.timestamp), caught_up_at) if moment]
        return max(0.0, (now - max(known)).total_seconds()) if known else None

    def oldest_seconds(self, now: datetime) -> float | None:
        """The age of the oldest row that is parked or dead, None if there is none."""
        return max(0.0, (now - self.oldest).total_seconds()) if self.oldest else None


class Peer(Protocol):
    """What is counted of a peer, `seconds` of waiting for it too.

    `trouble` is why it gives no usable answers, "" while it does.
    """

    peer: str
    base_url: str
    requests: int
    retries: int
    seconds: float
    trouble: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Deed:
    """What was settled together: a `window`, a `retry` of parked studies, a `replay`, or a part of a `backfill`."""

    what: str
    at: datetime
    outcomes: Mapping[Outcome, int]


@dataclass(slots=True)
class Vitals:
    """The present state of the process. Moments are aware and in UTC; `beat` is of the monotonic clock.

    `backlog` is None while it is not known: nobody should take that for being in step. `leads` says whether we hold the
    lease, under the name `owner`. `deeds` are the last ones, newest first.
    """

    source: str = ""
    owner: str = ""
    leads: bool = False
    beat: float = 0.0
    phase: Phase = Phase.STARTING
    reason: str = ""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    report: Report = field(default_factory=Report)
    windows: int = 0
    leases_lost: int = 0
    backlog: Backlog | None = None
    polled_at: datetime | None = None
    caught_up_at: datetime | None = None
    peers: Sequence[Peer] = ()
    deeds: tuple[Deed, ...] = ()
    trend: Trend = field(default_factory=Trend)

    def did(self, what: str, outcomes: Mapping[Outcome, int]) -> None:
        """Note what was settled together."""
        self.deeds = (Deed(what, datetime.now(UTC), outcomes), *self.deeds[: _DEEDS - 1])

    def sample(self, now: datetime) -> None:
        """Note for the trend how it is now."""
        well = self.phase is not Phase.BLOCKED and not self.trouble  # and starting is no trouble
        self.trend.note(now, self.lag_seconds(now), well, self.report.outcomes.total())

    def enter(self, phase: Phase, reason: str = "") -> bool:
        """Note what the worker is at; True if that is news."""
        news = (phase, reason) != (self.phase, self.reason)
        if phase != self.phase:
            self.since = datetime.now(UTC)
        if phase is Phase.STANDBY:
            self.backlog = None  # Another worker moves the cursor by now.
        self.phase, self.reason = phase, reason
        return news

    def stock(self, backlog: Backlog) -> None:
        """Note how far the feed is settled."""
        self.backlog = backlog
        if backlog.entries == 0:
            self.caught_up_at = datetime.now(UTC)

    @property
    def trouble(self) -> str:
        """Why a peer gives no usable answers at present, "" if both do."""
        return next((one.trouble for one in self.peers if one.trouble), "")

    @property
    def ready(self) -> bool:
        """Whether all is as it should be: at work or standing by, and both peers there."""
        return self.phase in (Phase.ACTIVE, Phase.STANDBY) and not self.trouble

    def lag_seconds(self, now: datetime) -> float | None:
        """How far FHIR may be behind; while nothing can be asked, since when. None while that is not known."""
        if self.phase is Phase.BLOCKED:
            behind = self.backlog.seconds(now, self.caught_up_at) if self.backlog else None
            return max((now - (self.polled_at or self.started)).total_seconds(), behind or 0.0)
        return self.backlog.seconds(now, self.caught_up_at) if self.backlog else None


def _moment(timestamp: str) -> datetime | None:
    return datetime.fromtimestamp(ticks(timestamp) / TICKS, UTC) if timestamp else None
