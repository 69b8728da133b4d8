"""What was wanted, and whether it came out so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.contenders import Contender
from benchmarks.suite import Results
from benchmarks.workloads import Workload

__all__ = ["Criterion", "after_start", "criteria"]

_A, _B, _C = Contender.PREDECESSOR, Contender.DICOMCAST, Contender.FLOOR


@dataclass(frozen=True, slots=True)
class Criterion:
    """A figure that is to be at most, or with `least` at least, so much; `written` is the format of both."""

    what: str
    wanted: float
    measured: float
    written: str = "{:.1f}"
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.measured >= self.wanted if self.least else self.measured <= self.wanted


def _less(results: Results, work: str, figure: str) -> float:
    """How many times as much the predecessor needs."""
    theirs, mine = (getattr(results[work, one].cost, figure) for one in (_A, _B))
    return float(theirs / mine)


def after_start(results: Results, work: str, contender: Contender, figure: str = "cpu") -> float:
    """A figure without what the same contender needs on an empty feed."""
    whole, start = (getattr(results[one, contender].cost, figure) for one in (work, "empty"))
    return float(whole - start)


def criteria(results: Results, works: Mapping[str, Workload]) -> Iterator[Criterion]:
    """All that was wanted."""
    study, times = works["study"].title, "{:.0f}x"
    mine = results["study", _B].cost
    yield Criterion(f"{study}: requests", 40, mine.requests, "{:.0f}")
    yield Criterion(f"{study}: MB sent", 1.5, mine.sent / 1e6, "{:.2f}")
    yield Criterion(f"{study}: requests less", 200, _less(results, "study", "requests"), times, least=True)
    yield Criterion(f"{study}: bytes sent less", 140, _less(results, "study", "sent"), times, least=True)
    for work, wanted in (("study", 40), ("small", 8), ("far", 60)):
        faster = _less(results, work, "wall")
        yield Criterion(f"{works[work].title}: faster", wanted, faster, times, least=True)
    for what, figure in (("time", "wall"), ("processor time", "cpu")):
        growth = after_start(results, "double", _B, figure) / after_start(results, "study", _B, figure)
        yield Criterion(f"twice the instances of a study: {what} after start-up", 2.1, growth, "{:.2f}x")
    trickle = works["trickle"]
    windows = len(trickle.feed) // int(trickle.settings["WORKER__WINDOW"])
    counts = results["trickle", _B].counts
    yield Criterion(f"{trickle.title}: versions of the study", windows, counts["versions"], "{:.0f}")
    again = counts["read_back"] + counts["metadata"]
    yield Criterion(f"{trickle.title}: studies and metadata read again", 0, again, "{:.0f}")
    for work in ("study", "small", "backlog"):
        more = after_start(results, work, _B) / after_start(results, work, _C)
        yield Criterion(f"{works[work].title}: processor time after start-up, of the floor's", 2.5, more, "{:.1f}x")
    yield Criterion("cold start, seconds", 0.6, results["empty", _B].cost.wall, "{:.2f}")
    yield Criterion(f"{works['backlog'].title}: MB of memory", 150, results["backlog", _B].cost.memory, "{:.0f}")
    flat = results["backlog", _B].cost.memory / results["tenth", _B].cost.memory
    yield Criterion("memory of ten times the backlog", 1.1, flat, "{:.2f}x")
