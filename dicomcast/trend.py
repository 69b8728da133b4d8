"""The last day, minute by minute, in memory: how far behind, whether all was well, how many studies were cast. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ["MINUTE", "Sample", "Trend", "buckets"]

MINUTE = 60
_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Sample:
    """The worst of a stretch of time that begins at `start` (Unix time); a lag of None was not known."""

    start: int
    lag: float | None
    well: bool
    studies: int


class Trend:
    """Samples of a minute each, the newest last; what is older than a day is forgotten."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=_DAY)
        self._counted = 0

    def note(self, now: datetime, lag: float | None, well: bool, studies: int) -> None:
        """Note how it is now; `studies` is the count since the start, of which the trend takes what is new."""
        start = int(now.timestamp()) // MINUTE * MINUTE
        sample = Sample(start, lag, well, studies - self._counted)
        self._counted = studies
        if self._samples and self._samples[-1].start >= start:  # a clock that is set back makes no second minute
            self._samples.append(_worst(self._samples.pop(), sample))
        else:
            self._samples.append(sample)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All there are, oldest first; a minute in which nothing could be noted is not there."""
        return tuple(self._samples)


def buckets(samples: Sequence[Sample], end: int, width: int, count: int) -> list[Sample | None]:
    """The worst of each of `count` stretches of `width` seconds up to `end`; None where there is no sample."""
    first = end - width * count
    found: list[Sample | None] = [None] * count
    for sample in samples:
        at = (sample.start - first) // width
        if 0 <= at < count:
            before = found[at]
            found[at] = sample if before is None else _worst(before, sample)
    return found


def _worst(one: Sample, other: Sample) -> Sample:
    known = [lag for lag in (one.lag, other.lag) if lag is not None]
    return Sample(one.start, max(known, default=None), one.well and other.well, one.studies + other.studies)
