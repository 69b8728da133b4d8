"""The status page: the vitals for people who would rather look than read. Pure: vitals and a moment in, HTML out.

It stands alone: one document, without anything from elsewhere, and `POLICY` has the browser see to that. What is on it
is known by hash: the style, and a script that fetches the page anew, and says so when nobody answers any more.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import quote

from dicomcast.model import Outcome
from dicomcast.page.plot import plot
from dicomcast.page.verdict import PEERS, verdict
from dicomcast.page.words import number, span
from dicomcast.standing import Condition
from dicomcast.vitals import Deed, Peer, Vitals

__all__ = ["POLICY", "render"]

_STYLE, _SCRIPT, _PAGE = (
    (files(__package__) / name).read_text("utf-8") for name in ("style.css", "script.js", "page.html")
)


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)

# A shape beside each colour: a tick, arrows, a pause, an exclamation mark, a cross.
_MARKS = {
    "good": "M6 12.5l4 4 8-9",
    "busy": "M5 8l5 4-5 4M12 8l5 4-5 4",
    "idle": "M9 7v10M15 7v10",
    "warn": "M12 6v7M12 16.5v.5",
    "bad": "M7.5 7.5l9 9M16.5 7.5l-9 9",
}
_COLOURS = {"good": "#17784c", "busy": "#1d62b3", "idle": "#5a6675", "warn": "#9a6200", "bad": "#b92d24"}
_UNKNOWN = "not known"
_DEEDS = {
    "window": "Window of the feed",
    "retry": "Parked, tried again",
    "replay": "Replay",
    "backfill": "Backfill",
}
_TONES = {
    Condition.UNASKED: "idle",
    Condition.UP: "good",
    Condition.THROTTLED: "warn",
    Condition.REFUSED: "bad",
    Condition.AWAY: "bad",
}


def render(vitals: Vitals, now: datetime, *, version: str, alive: bool = True) -> str:
    """The whole page; not `alive` is a process whose event loop has stopped turning."""
    said = verdict(vitals, now, alive=alive)
    values = {
        "title": f"{said.title} · dicomcast",
        "icon": _icon(said.tone),
        "tone": said.tone,
        "mark": _MARKS[said.tone],
        "headline": said.title,
        "sentence": said.sentence,
        "moment": f"{now:%H:%M:%S} UTC",
        "version": version,
        "source": vitals.source or "the archive",
    }
    parts = {
        "style": _STYLE,
        "script": _SCRIPT,
        "tiles": _tiles(vitals, now),
        "plot": plot(vitals.trend.samples, now),
        "peers": "".join(_peer(one, now) for one in vitals.peers) or _none("No server is known yet."),
        "worker": _worker(vitals, now),
        "deeds": _deeds(vitals.deeds, now),
        "parked": _parked(vitals),
    }
    return Template(_PAGE).substitute({name: escape(value) for name, value in values.items()} | parts)


def _icon(tone: str) -> str:
    """For the tab of a browser, and so that it asks for no other."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><circle cx="12" cy="12" r="12" '
        f'fill="{_COLOURS[tone]}"/><path d="{_MARKS[tone]}" fill="none" stroke="#fff" stroke-width="2.6" '
        'stroke-linecap="round" stroke-linejoin="round"/></svg>'
    )
    return f"data:image/svg+xml,{quote(svg)}"


def _tiles(vitals: Vitals, now: datetime) -> str:
    backlog = vitals.backlog
    measured = backlog is not None and backlog.entries is not None
    behind = span(vitals.lag_seconds(now))
    left = f"{number(backlog.entries)} entries" if backlog and measured else _UNKNOWN
    oldest = backlog.oldest_seconds(now) if backlog else None
    parked, dead = (backlog.parked, backlog.dead) if backlog else (None, None)
    waits = f"the oldest for {span(oldest)}" if parked else _UNKNOWN if parked is None else "nothing waits"
    act = "wait for somebody" if dead else _UNKNOWN if dead is None else "nobody has to act"
    tiles = (
        ("Behind", behind, left, ""),
        ("Parked, tried again", number(parked), waits, "warn" if parked else ""),
        ("Dead letters", number(dead), act, "bad" if dead else ""),
        ("Studies settled", number(vitals.report.outcomes.total()), f"since {vitals.started:%d %b %H:%M} UTC", ""),
    )
    return "".join(
        f'<div class="tile {tone}"><dt>{name}</dt><dd><b>{value}</b><small>{below}</small></dd></div>'
        for name, value, below, tone in tiles
    )


def _peer(peer: Peer, now: datetime) -> str:
    standing = peer.standing
    tone = _TONES[standing.condition]
    since = "" if standing.condition is Condition.UNASKED else f" for {span((now - standing.since).total_seconds())}"
    asked = f"{number(peer.requests)} requests, {number(peer.retries)} of them sent again"
    asked += f", {peer.seconds / peer.requests:.2f} s each" if peer.requests else ""
    return (
        f"<li>{_dot(tone)}<div><strong>{escape(PEERS.get(peer.peer, peer.peer))}</strong>"
        f'<span class="pill {tone}">{standing.condition.value}{since}</span>'
        f"<small>{escape(peer.base_url)}<br>{asked}</small></div></li>"
    )


def _dot(tone: str) -> str:
    return (
        f'<svg class="dot {tone}" aria-hidden="true" viewBox="0 0 24 24"><circle cx="12" cy="12" r="11"/>'
        f'<path d="{_MARKS[tone]}"/></svg>'
    )


def _worker(vitals: Vitals, now: datetime) -> str:
    backlog = vitals.backlog
    cursor = f"{number(backlog.settled.sequence)} of {number(backlog.latest.sequence)}" if backlog else "–"
    if backlog and backlog.entries is None:
        cursor = number(backlog.settled.sequence)
    rows = {
        "State": f"{vitals.phase.value} for {span((now - vitals.since).total_seconds())}",
        "Lease": "held by this worker" if vitals.leads else "not held by this worker",
        "Worker": vitals.owner or "–",
        "Cursor": cursor,
        "Last read to the end": f"{span((now - vitals.polled_at).total_seconds())} ago" if vitals.polled_at else "–",
        "Windows settled": number(vitals.windows),
        "Running for": span((now - vitals.started).total_seconds()),
    }
    return "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows.items())


def _deeds(deeds: Iterable[Deed], now: datetime) -> str:
    rows = "".join(
        f"<tr><td>{_DEEDS[one.what]}<small>{span((now - one.at).total_seconds())} ago</small></td>"
        f"<td>{_chips(one)}</td></tr>"
        for one in deeds
    )
    head = '<tr><th scope="col">What</th><th scope="col">Studies</th></tr>'
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>" if rows else _none("Nothing was settled yet.")


def _chips(deed: Deed) -> str:
    return "".join(
        f'<span class="chip {outcome.value}">{number(deed.outcomes[outcome])} {outcome.value}</span>'
        for outcome in Outcome
        if deed.outcomes.get(outcome)
    )


def _parked(vitals: Vitals) -> str:
    backlog = vitals.backlog
    if backlog is None:
        return _none("Not known here.")
    if not backlog.reasons:
        return _none("No study waits: all that were read are cast.")
    most = max(backlog.reasons.values())
    worst_first = sorted(backlog.reasons.items(), key=lambda row: (-row[1], row[0]))
    rows = "".join(
        f'<tr><td><code>{escape(reason)}</code><svg class="share" aria-hidden="true" viewBox="0 0 100 1" '
        f'preserveAspectRatio="none"><rect width="{100 * count / most:.4g}" height="1"/></svg></td>'
        f'<td class="count">{number(count)}</td></tr>'
        for reason, count in worst_first
    )
    head = '<tr><th scope="col">Reason</th><th scope="col" class="count">Studies</th></tr>'
    command = f"dicomcast parked list --reason {escape(worst_first[0][0])}"
    return (
        f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
        f'<p class="hint">Which ones: <code>{command}</code></p>'
    )


def _none(text: str) -> str:
    return f'<p class="none">{text}</p>'
