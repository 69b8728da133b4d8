"""How far a backfill is, how fast it goes, and how long it will take. Pure."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import timedelta

from dicomcast.model import Outcome

__all__ = ["Progress"]

# By so many looks at the clock the pace is judged.
_LOOKS = 50


@dataclass(slots=True)
class Progress:
    """How far a backfill is. While studies are `listed`, how many there are is not known (None).

    `before` were settled by earlier runs, `outcomes` are those of this one.
    """

    listed: int = 0
    total: int | None = None
    before: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    _looks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_LOOKS))

    @property
    def settled(self) -> int:
        """How many studies are settled, by this run and earlier ones."""
        return self.before + self.outcomes.total()

    @property
    def left(self) -> int | None:
        """How many are still to be cast."""
        return None if self.total is None else max(0, self.total - self.settled)

    def look(self, moment: float) -> None:
        """Note how many are settled at a moment, in seconds of any clock."""
        self._looks.append((moment, self.settled))

    @property
    def rate(self) -> float | None:
        """Studies a second of late."""
        if len(self._looks) < 2 or self._looks[0][0] == self._looks[-1][0]:
            return None
        (began, before), (now, settled) = self._looks[0], self._looks[-1]
        return (settled - before) / (now - began)

    @property
    def eta(self) -> timedelta | None:
        """How long it will take at that rate."""
        return timedelta(seconds=round(self.left / self.rate)) if self.left is not None and self.rate else None
