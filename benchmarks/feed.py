"""What a change feed holds: studies of given sizes, each in some series, arriving one after another or side by side.

The archive's double makes its entries of it, and knows by it what FHIR has to hold at the end.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

__all__ = ["Entry", "Feed", "hospital", "one_study", "small_studies"]

_ROOT = "1.2.826.0.1.3680043.10.4712"


@dataclass(frozen=True, slots=True)
class Entry:
    """An instance that was created, by numbers from 1."""

    study: int
    series: int
    number: int
    patient: int

    @property
    def study_uid(self) -> str:
        return f"{_ROOT}.{self.study}"

    @property
    def series_uid(self) -> str:
        return f"{self.study_uid}.{self.series}"

    @property
    def instance_uid(self) -> str:
        return f"{self.series_uid}.{self.number}"


@dataclass(frozen=True, slots=True)
class Feed:
    """`sizes` are the instances of each study; `beside` studies arrive at once; a patient has `each` of them."""

    sizes: tuple[int, ...] = ()
    beside: int = 1
    each: int = 1

    def __len__(self) -> int:
        return sum(self.sizes)

    def sampled(self, stride: int) -> Feed:
        """Every so many-th study of it."""
        return replace(self, sizes=self.sizes[::stride])

    def entries(self) -> Iterator[Entry]:
        """All entries in the order of their sequence, which starts at 1."""
        waiting = enumerate(self.sizes, start=1)
        arriving = [self._study(*one) for one in islice(waiting, self.beside)]
        while arriving:
            study = arriving.pop(0)
            entry = next(study, None)
            if entry is not None:
                yield entry
                arriving.append(study)
            elif (following := next(waiting, None)) is not None:
                arriving.append(self._study(*following))

    def _study(self, study: int, size: int) -> Iterator[Entry]:
        series = min(5, 1 + size // 5)
        for index in range(size):
            yield Entry(study, 1 + index * series // size, 1 + index, 1 + (study - 1) // self.each)


def one_study(instances: int) -> Feed:
    """A study, nothing else."""
    return Feed((instances,))


def small_studies(studies: int) -> Feed:
    """Studies of 2 to 10 instances, as a department of plain radiography sends them."""
    return Feed(tuple(2 + number % 9 for number in range(studies)))


def hospital(entries: int) -> Feed:
    """Studies of all sizes, three arriving at a time, two of each patient; as many as make up so many entries."""
    chance, sizes, left = random.Random(4712), list[int](), entries
    while left:
        most = chance.choice((4, 10, 100, 500))
        sizes.append(min(left, chance.randint(1, most)))
        left -= sizes[-1]
    return Feed(tuple(sizes), beside=3, each=2)
