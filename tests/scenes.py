"""Workers as the status page meets them: nothing yet, under load, blocked, with parked rows, standing by."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dicomcast.model import Cursor, Outcome
from dicomcast.standing import Condition, Standing
from dicomcast.vitals import Backlog, Deed, Phase, Vitals

__all__ = ["NOW", "SCENES", "Seen"]

NOW = datetime(2026, 3, 2, 14, 25, 40, tzinfo=UTC)
_ARCHIVE, _FHIR = "https://dicom.hospital.example", "https://fhir.hospital.example/r4"
_MINUTE = timedelta(minutes=1)


@dataclass
class Seen:
    """A peer as it is counted."""

    peer: str
    base_url: str
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    trouble: str = ""
    standing: Standing = field(default_factory=lambda: Standing(since=NOW))


def _peers(since: datetime, requests: int) -> tuple[Seen, Seen]:
    return (
        Seen("dicom", _ARCHIVE, requests // 3, 2, requests / 30, "", Standing(Condition.UP, since)),
        Seen("fhir", _FHIR, requests, 14, requests / 4, "", Standing(Condition.UP, since)),
    )


def _running(
    hours: float, settled: int, latest: int, *, tail: int = 0, lag: int = 0, well: bool = True, studies: int = 0
) -> Vitals:
    """A worker that has been active for so long, with a day as a hospital has it.

    In its last `tail` minutes the lag grows by `lag` seconds and `studies` are settled each minute, `well` or not.
    """
    began = NOW - timedelta(hours=hours)
    vitals = Vitals(
        source=_ARCHIVE,
        owner="dicomcast-7d9f8b6c5-x2x7q:1:5f0c2a9e",
        leads=True,
        phase=Phase.ACTIVE,
        since=began,
        started=began,
        windows=int(hours * 60),
        polled_at=NOW - timedelta(seconds=23),
        backlog=Backlog(Cursor(settled, "2026-03-02T14:21:00Z"), Cursor(latest, "2026-03-02T14:25:00Z")),
        peers=_peers(began, int(hours * 410)),
    )
    total, minutes = 0, int(hours * 60)
    for minute in range(minutes + 1):
        moment, into = began + minute * _MINUTE, minute - (minutes - tail)
        busy = max(0.0, math.sin((moment.hour * 60 + moment.minute - 360) / 1440 * 2 * math.pi))
        behind = 25 + 40 * busy * (1 + math.sin(minute / 11)) + (200 * busy if minute % 97 < 9 else 0)
        if tail and into > 0:
            total += studies * (4 + minute % 3) // 5
            vitals.trend.note(moment, 60 + lag * into, well, total)
        else:
            total += int(7 * busy * (1 + math.sin(minute / 7)) + busy)
            vitals.trend.note(moment, behind, True, total)
    vitals.report.outcomes = Counter({Outcome.CREATED: total * 3 // 4, Outcome.UPDATED: total - total * 3 // 4})
    return vitals


def _deeds(*some: tuple[str, float, dict[Outcome, int]]) -> tuple[Deed, ...]:
    return tuple(Deed(what, NOW - timedelta(seconds=ago), outcomes) for what, ago, outcomes in some)


def empty() -> Vitals:
    """A worker that has only just begun."""
    return Vitals(
        source=_ARCHIVE,
        since=NOW - timedelta(seconds=4),
        started=NOW - timedelta(seconds=4),
        peers=(Seen("dicom", _ARCHIVE), Seen("fhir", _FHIR)),
    )


def in_step() -> Vitals:
    """A good day."""
    vitals = _running(24, 81_302, 81_302)
    vitals.deeds = _deeds(
        ("window", 83, {Outcome.CREATED: 3, Outcome.UPDATED: 1}),
        ("window", 203, {Outcome.CREATED: 1}),
        ("window", 443, {Outcome.UPDATED: 2, Outcome.DELETED: 1}),
    )
    return vitals


def load() -> Vitals:
    """A night's import: far behind, and catching up."""
    vitals = _running(3, 181_302, 1_240_000, tail=44, lag=60, studies=610)
    vitals.caught_up_at = NOW - timedelta(minutes=44)
    vitals.peers[1].standing.condition = Condition.THROTTLED  # type: ignore[attr-defined]
    vitals.peers[1].standing.since = NOW - timedelta(seconds=38)  # type: ignore[attr-defined]
    vitals.deeds = _deeds(
        ("window", 6, {Outcome.CREATED: 184, Outcome.UPDATED: 2, Outcome.PARKED: 1}),
        ("window", 21, {Outcome.CREATED: 191}),
        ("retry", 22, {Outcome.CREATED: 1}),
        ("window", 37, {Outcome.CREATED: 177, Outcome.UNCHANGED: 12, Outcome.SKIPPED: 3}),
        ("window", 53, {Outcome.CREATED: 190}),
    )
    vitals.backlog = Backlog(
        Cursor(181_302, "2026-03-02T13:41:00Z"), Cursor(1_240_000), 1, 0, NOW - 3 * _MINUTE, True, {"refused": 1}
    )
    return vitals


def blocked() -> Vitals:
    """The FHIR server is away, and a study's name stands in the reason."""
    vitals = _running(9, 81_302, 81_377, tail=41, lag=60, well=False)
    since = NOW - timedelta(minutes=41)
    vitals.phase, vitals.since, vitals.polled_at = Phase.BLOCKED, since, since
    vitals.reason = f"fhir at {_FHIR} cannot be reached: nobody listens on that port (DICOMCAST_FHIR__URL)"
    fhir = vitals.peers[1]
    assert isinstance(fhir, Seen)
    fhir.trouble, fhir.standing = vitals.reason, Standing(Condition.AWAY, since)
    fhir.retries = 212
    vitals.deeds = _deeds(("window", 2520, {Outcome.CREATED: 2}), ("window", 2640, {Outcome.UPDATED: 1}))
    return vitals


def parked() -> Vitals:
    """In step, but for some."""
    vitals = in_step()
    reasons = {"multiple-match": 9, "metadata-unreadable": 4, "conflict": 1, "instance-left-out": 1}
    settled = Cursor(81_302, "2026-03-02T14:21:00Z")
    vitals.backlog = Backlog(settled, settled, 12, 3, NOW - timedelta(days=4, hours=7), True, reasons)
    vitals.deeds = _deeds(("retry", 35, {Outcome.PARKED: 2}), ("retry", 95, {Outcome.CREATED: 1})) + vitals.deeds
    return vitals


def standby() -> Vitals:
    """The second of two."""
    vitals = Vitals(source=_ARCHIVE, owner="dicomcast-7d9f8b6c5-q9k4m:1:81d3aa07", peers=_peers(NOW, 0))
    vitals.started = vitals.since = NOW - timedelta(hours=31)
    vitals.phase = Phase.STANDBY
    vitals.reason = "another worker (dicomcast-7d9f8b6c5-x2x7q:1:5f0c2a9e) is active on this source"
    return vitals


SCENES = {one.__name__.replace("_", "-"): one for one in (empty, in_step, load, blocked, parked, standby)}
