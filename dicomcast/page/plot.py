"""The last hours as inline SVG: how far behind, whether all was well, and how many studies were settled.

The shapes are stretched to the width there is; what is written beside them is HTML, so that it keeps its size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from dicomcast.page.words import number, span
from dicomcast.trend import MINUTE, Sample, buckets

__all__ = ["plot"]

_HOUR = 3600
# (hours shown, width of a bucket in seconds): the shortest that has room for all samples is taken.
_RANGES = ((1, MINUTE), (3, MINUTE), (6, 2 * MINUTE), (12, 4 * MINUTE), (24, 6 * MINUTE))
# What the axis of the lag may end with, in seconds.
_TOPS = (60, 120, 300, 600, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_HIGH, _BARS = 100, 36


def plot(samples: Sequence[Sample], now: datetime) -> str:
    """Two pictures and a strip, or a sentence where there is nothing to show yet."""
    if not samples:
        return '<p class="none">Nothing yet: the picture begins with the first minute.</p>'
    end = (int(now.timestamp()) // MINUTE + 1) * MINUTE
    age = end - samples[0].start
    hours, width = next((one for one in _RANGES if one[0] * _HOUR + one[1] >= age), _RANGES[-1])
    # The clock may stand within a minute that is not noted yet; whole buckets keep the steps in place.
    found = buckets(samples, -(-end // width) * width, width, hours * _HOUR // width)
    return "".join((_lag(found, hours), _strip(found, width, hours), _studies(found, hours), _axis(hours)))


def _lag(found: Sequence[Sample | None], hours: int) -> str:
    known = [one.lag for one in found if one and one.lag is not None]
    if not known:
        return '<p class="none">How far behind it is cannot be told at present.</p>'
    worst = max(known)
    top = next((one for one in _TOPS if one >= worst), -(-int(worst) // 86_400) * 86_400)
    heights = [None if one is None or one.lag is None else _HIGH * (1 - min(1.0, one.lag / top)) for one in found]
    said = f"How far behind in the last {_hours(hours)}: at most {span(worst)}, last {span(known[-1])}."
    grid = "".join(f'<line class="grid" x1="0" x2="{len(found)}" y1="{y}" y2="{y}"/>' for y in (0, 50, 100))
    shapes = "".join(_area(first, run) for first, run in _runs(heights))
    scale = f'<span class="top">{span(top)}</span><span class="middle">{span(top / 2)}</span>'
    return (
        f'<h3>Behind <small>at most {span(worst)}</small></h3><div class="frame lag">{scale}'
        f"{_svg(len(found), _HIGH, said, grid + shapes)}</div>"
    )


def _runs(heights: Sequence[float | None]) -> Iterator[tuple[int, list[float]]]:
    """Stretches without a gap: where each begins, and its values."""
    run: list[float] = []
    for at, height in enumerate([*heights, None]):
        if height is not None:
            run.append(height)
        elif run:
            yield at - len(run), run
            run = []


def _area(first: int, heights: Sequence[float]) -> str:
    steps = "".join(f"V{height:.4g}h1" for height in heights)
    line = f"M{first} {heights[0]:.4g}{steps}"
    return f'<path class="area" d="M{first} {_HIGH}{steps}V{_HIGH}z"/><path class="line" d="{line}"/>'


def _strip(found: Sequence[Sample | None], width: int, hours: int) -> str:
    """A band below the lag: well, or in trouble; nothing where the process did not run."""
    minutes = sum(one is not None and not one.well for one in found) * width // MINUTE
    said = f"Trouble in {minutes} of the last {hours * 60} minutes." if minutes else "No trouble in that time."
    kinds = ["" if one is None else "well" if one.well else "trouble" for one in found]
    parts = []
    at = 0
    while at < len(kinds):
        end = next((other for other in range(at, len(kinds)) if kinds[other] != kinds[at]), len(kinds))
        if kinds[at]:
            parts.append(f'<rect class="{kinds[at]}" x="{at}" y="0" width="{end - at}" height="4"/>')
        at = end
    return f'<div class="frame strip">{_svg(len(found), 4, said, "".join(parts))}</div>'


def _studies(found: Sequence[Sample | None], hours: int) -> str:
    counts = [one.studies if one else 0 for one in found]
    most, total = max(counts), sum(counts)
    said = f"{number(total)} studies were settled in the last {_hours(hours)}."
    bars = "".join(
        f'<rect class="bar" x="{at + 0.1:.1f}" y="{_BARS * (1 - count / most):.4g}" width="0.8"'
        f' height="{_BARS * count / most:.4g}"/>'
        for at, count in enumerate(counts)
        if count
    )
    return (
        f"<h3>Studies settled <small>{number(total)}</small></h3>"
        f'<div class="frame studies">{_svg(len(found), _BARS, said, bars)}</div>'
    )


def _axis(hours: int) -> str:
    marks = (f"{hours} h ago", f"{span(hours * _HOUR / 2)} ago", "now")
    return '<p class="axis" aria-hidden="true">' + "".join(f"<span>{mark}</span>" for mark in marks) + "</p>"


def _svg(width: int, height: int, said: str, content: str) -> str:
    return (
        f'<svg role="img" aria-label="{said}" viewBox="0 0 {width} {height}" preserveAspectRatio="none">{content}</svg>'
    )


def _hours(hours: int) -> str:
    return "hour" if hours == 1 else f"{hours} hours"
