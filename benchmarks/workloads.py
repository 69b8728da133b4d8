"""What is measured: feeds, how the peers answer, and how much of it the predecessor can be asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.feed import Feed, hospital, one_study, small_studies

__all__ = ["Sizes", "Workload", "workloads"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is of everything; small ones show that all of it works."""

    study: int = 2000
    studies: int = 1000
    backlog: int = 100_000
    latency: float = 0.02
    # So many windows a study trickles in over.
    windows: int = 100
    # Of what would take the predecessor very long it does every so many-th study, and it is scaled.
    of_the_slow: int = 100
    of_the_long: int = 60


@dataclass(frozen=True, slots=True)
class Workload:
    """A feed to follow to its end. What the predecessor needs too long for is scaled, unless all is wanted:

    from every `stride`-th study of the feed (0: it is not asked at all), or from what `doubles` names, which is the
    same with half of the instances, and from the half of that. `same_as` names where it did the same already.
    """

    name: str
    title: str
    feed: Feed
    latency: float = 0.0
    settings: Mapping[str, str] = field(default_factory=dict)
    stride: int = 1
    doubles: str = ""
    same_as: str = ""


def workloads(sizes: Sizes) -> list[Workload]:
    """All of them, in the order in which they are measured."""
    n, window = sizes.study, sizes.study // sizes.windows
    small, backlog = small_studies(sizes.studies), sizes.backlog
    return [
        Workload("empty", "empty feed (cold start)", Feed()),
        Workload("half", f"one study of {n // 2:,} instances", one_study(n // 2)),
        Workload("study", f"one study of {n:,} instances", one_study(n)),
        Workload("double", f"one study of {2 * n:,} instances", one_study(2 * n), doubles="study"),
        Workload(
            "trickle",
            f"{n:,} instances in {sizes.windows} windows",
            one_study(n),
            settings={"WORKER__WINDOW": str(window)},
            same_as="study",
        ),
        Workload("small", f"{sizes.studies:,} studies of 2-10 instances", small),
        Workload(
            "far",
            f"the same, {1000 * sizes.latency:.0f} ms per answer",
            small,
            latency=sizes.latency,
            stride=sizes.of_the_slow,
        ),
        Workload("tenth", f"a backlog of {backlog // 10:,} entries", hospital(backlog // 10), stride=0),
        Workload("backlog", f"a backlog of {backlog:,} entries", hospital(backlog), stride=sizes.of_the_long),
    ]
