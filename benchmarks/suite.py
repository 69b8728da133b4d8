"""Measuring: each workload with each contender, on the same servers, and all of them have to do the same work."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from benchmarks.contenders import Contender, Cost, run
from benchmarks.servers import Servers, servers
from benchmarks.workloads import Workload

__all__ = ["Figure", "Results", "measure"]

# Runs are repeated for as long as all repetitions take no more than so many seconds.
_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class Figure:
    """What a contender's run cost, what it made the servers do, and whether it is scaled from a smaller run."""

    cost: Cost
    counts: Mapping[str, int] = field(default_factory=dict)
    scaled: bool = False


Results = dict[tuple[str, Contender], Figure]


@dataclass(frozen=True, slots=True)
class _Bench:
    servers: Servers
    folder: Path
    repeats: int
    tell: Callable[[str], object]

    def run(self, work: Workload, *contenders: Contender) -> dict[Contender, Figure]:
        """The least of some runs of each of them, in turn; what stands in FHIR afterwards is what the archive holds."""
        figures: dict[Contender, Figure] = {}
        began = time.monotonic()
        for turn in range(1, 1 + self.repeats):
            for contender in contenders:
                cost, counts = self._run_once(contender, work)
                known = figures.get(contender)
                figures[contender] = Figure(cost.least(known.cost) if known else cost, counts)
            if (time.monotonic() - began) * (turn + 1) / turn > _PATIENCE:
                break
        for contender, figure in figures.items():
            self.tell(f"{work.title}: {contender} {figure.cost.wall:.2f} s, of the processor {figure.cost.cpu:.2f} s")
        return figures

    def _run_once(self, contender: Contender, work: Workload) -> tuple[Cost, dict[str, int]]:
        self.servers.prepare(work.feed, work.latency, keep_bundles=contender is Contender.DICOMCAST)
        cost = run(contender, self.servers, self.folder, work.settings)
        if not self.servers.holds_all():
            raise RuntimeError(f"{contender} did not do the work: {work.title}")
        counts = self.servers.counts()
        if contender is Contender.DICOMCAST:
            self.servers.save_bundles(self.folder / "bundles")
        return cost, counts

    def predecessor(self, work: Workload, results: Results, *, full: bool) -> Figure | None:
        """Its run, or what that would cost by smaller runs."""
        me = Contender.PREDECESSOR
        if work.same_as:
            return results[work.same_as, me]
        if full or (work.stride == 1 and not work.doubles):
            return self.run(work, me)[me]
        start = results["empty", me].cost
        if work.doubles:
            return Figure(_doubled(start, results["half", me].cost, results[work.doubles, me].cost), scaled=True)
        if not work.stride:
            return None
        sample = work.feed.sampled(work.stride)
        part = replace(work, feed=sample, title=f"{work.title}, {len(sample):,} instances of it")
        return Figure(_scaled(start, self.run(part, me)[me].cost, len(work.feed) / len(sample)), scaled=True)


def measure(
    works: Iterable[Workload], *, full: bool = False, repeats: int = 3, tell: Callable[[str], object] = print
) -> Results:
    """Measure all of them; with `full`, nothing is scaled. `tell` hears how far it is.

    Raises:
        RuntimeError: a contender failed, or FHIR does not hold afterwards what the archive holds.
    """
    results: Results = {}
    with servers() as peers, tempfile.TemporaryDirectory() as folder:
        bench = _Bench(peers, Path(folder), repeats, tell)
        for work in works:
            for contender, figure in bench.run(work, Contender.DICOMCAST, Contender.FLOOR).items():
                results[work.name, contender] = figure
            theirs = bench.predecessor(work, results, full=full)
            if theirs is not None:
                results[work.name, Contender.PREDECESSOR] = theirs
    return results


def _each(*costs: Cost, of: Callable[..., float]) -> Cost:
    """Figure by figure; the memory stays that of the last."""
    names = [one.name for one in fields(Cost)]
    made = {name: of(*(getattr(cost, name) for cost in costs)) for name in names}
    return replace(Cost(**made), memory=costs[-1].memory)


def _scaled(start: Cost, part: Cost, factor: float) -> Cost:
    """As much again for each instance as for those that were done, and the start once."""
    return _each(start, part, of=lambda begin, cost: begin + (cost - begin) * factor)


def _doubled(start: Cost, half: Cost, whole: Cost) -> Cost:
    """Twice the whole: each figure grows as a·n + b·n², which the half and the whole give."""
    return _each(start, half, whole, of=lambda begin, less, more: begin + 6 * (more - begin) - 8 * (less - begin))
