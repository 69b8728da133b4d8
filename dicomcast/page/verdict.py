"""What the page says first: is all as it should be, in one word, one sentence and one colour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicomcast.page.words import number, span, unidentified
from dicomcast.vitals import Phase, Vitals

__all__ = ["PEERS", "Verdict", "verdict"]

PEERS = {"dicom": "DICOM archive", "fhir": "FHIR server"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`tone` is good, busy, idle, warn or bad: the colour, and the shape beside it."""

    tone: str
    title: str
    sentence: str


def verdict(vitals: Vitals, now: datetime, *, alive: bool) -> Verdict:
    """The worst comes first: a process that stands still knows nothing of the rest."""
    for_so_long = span((now - vitals.since).total_seconds())
    if not alive:
        return Verdict("bad", "Stuck", "The process has stopped turning: what stands below is old. Restart it.")
    match vitals.phase:
        case Phase.BLOCKED:
            why = unidentified(vitals.reason or vitals.trouble)
            return Verdict("bad", "Blocked", f"Nothing gets through for {for_so_long}: {_ended(why)}")
        case Phase.STANDBY:
            return Verdict(
                "idle",
                "Standing by",
                f"{vitals.reason[:1].upper()}{_ended(vitals.reason[1:])} This one takes over if it goes away.",
            )
        case Phase.STARTING:
            return Verdict(
                "idle", "Starting", f"Started {for_so_long} ago; meeting both servers, and finding the place."
            )
    trouble = next((one for one in vitals.peers if one.trouble), None)
    if trouble is not None:
        who, why = PEERS.get(trouble.peer, trouble.peer), unidentified(trouble.trouble)
        return Verdict("warn", "In trouble", f"The {who} gives no usable answers: {_ended(why)}")
    return _at_work(vitals, now)


def _at_work(vitals: Vitals, now: datetime) -> Verdict:
    backlog, polled = vitals.backlog, vitals.polled_at
    looked = f"The archive was last read to its end {span((now - polled).total_seconds())} ago." if polled else ""
    if backlog is None:
        return Verdict("busy", "At work", "How far behind it is will show after the first window.")
    if backlog.entries is None:
        return Verdict("good" if polled else "busy", "In step" if polled else "Catching up", looked or "A first sweep.")
    if backlog.entries == 0:
        waiting = backlog.parked + backlog.dead
        but = f", but for {number(waiting)} {'study' if waiting == 1 else 'studies'} that could not be cast" * bool(
            waiting
        )
        tone = "warn" if backlog.dead else "good"
        return Verdict(tone, "In step", f"FHIR has all that the archive told{but}. {looked}".strip())
    left = f"{number(backlog.entries)} {'entry' if backlog.entries == 1 else 'entries'} of the change feed to go"
    lag = vitals.lag_seconds(now)
    return Verdict("busy", "Catching up", f"{left}{f', the oldest {span(lag)} old' if lag is not None else ''}.")


def _ended(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
