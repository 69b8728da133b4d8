"""The tables, in Markdown: the ratios first."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Sequence

from benchmarks.contenders import Contender
from benchmarks.suite import Figure, Results
from benchmarks.verdict import Criterion, after_start, criteria
from benchmarks.workloads import Workload

__all__ = ["report"]

_A, _B, _C = Contender.PREDECESSOR, Contender.DICOMCAST, Contender.FLOOR
_NONE = "–"


def report(results: Results, works: Sequence[Workload]) -> str:
    """All of it, and on what it was measured."""
    machine = f"Measured in one run on {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}."
    known = {work.name: work for work in works}
    wanted = (_criterion(one) for one in criteria(results, known))
    return "\n\n".join(
        [
            machine,
            "How many times as much the predecessor needs as dicomcast, and dicomcast as the floor:",
            _table(_RATIOS, (_ratios(results, work) for work in works)),
            "What each of them needs:",
            _table(_COSTS, (row for work in works for row in _costs(results, work))),
            "What was wanted:",
            _table(["", "wanted", "measured", "met"], wanted),
        ]
    )


_RATIOS = ["", "requests", "sent", "received", "time", "processor", "dicomcast / floor, processor after start-up"]
_COSTS = ["", "", "requests", "MB sent", "MB received", "s", "s of processor", "µs of it an instance", "MB of memory"]


def _criterion(one: Criterion) -> list[str]:
    wanted, measured = map(one.written.format, (one.wanted, one.measured))
    return [one.what, f"{'at least' if one.least else 'at most'} {wanted}", measured, "yes" if one.met else "no"]


def _ratios(results: Results, work: Workload) -> list[str]:
    mine, theirs = results[work.name, _B].cost, results.get((work.name, _A))
    floor = after_start(results, work.name, _C)
    mark = "≈ " if theirs and theirs.scaled else ""
    names = ("requests", "sent", "received", "wall", "cpu")
    times = [
        f"{mark}{_number(getattr(theirs.cost, name) / getattr(mine, name))}" if theirs else _NONE for name in names
    ]
    above = f"{after_start(results, work.name, _B) / floor:.1f}" if work.feed.sizes and floor > 0 else _NONE
    return [work.title, *times, above]


def _costs(results: Results, work: Workload) -> Iterator[list[str]]:
    title = work.title
    for contender in Contender:
        figure = results.get((work.name, contender))
        if figure is not None:
            each = _NONE
            if work.feed.sizes:
                each = f"{after_start(results, work.name, contender) * 1e6 / len(work.feed):,.0f}"
            yield [title, str(contender), *_row(figure, each)]
            title = ""


def _row(figure: Figure, each: str) -> list[str]:
    cost, mark = figure.cost, "≈ " if figure.scaled else ""
    figures = [f"{cost.requests:,.0f}", _number(cost.sent / 1e6), _number(cost.received / 1e6)]
    figures += [_number(cost.wall), _number(cost.cpu), each, f"{cost.memory:.0f}"]
    return [mark + one for one in figures]


def _number(value: float) -> str:
    """Three digits that matter, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
